//! squid as a forward proxy to compare with: no cache, everybody is served.

use std::{fmt::Write as _, fs, net::SocketAddr, time::Duration};

use tempfile::TempDir;

use crate::{Place, Process, Reservation, StartError, scratch_dir};

/// A running squid.
#[derive(Debug)]
pub struct Squid {
    addresses: Vec<SocketAddr>,
    process: Process,
    _directory: TempDir,
}

impl Squid {
    /// Listens on this port of both addresses of a place; 0 takes a free one. `settings` are further lines of its file.
    ///
    /// # Errors
    /// squid is missing or does not start.
    pub fn start_at(place: &Place, port: u16, settings: &str) -> Result<Self, StartError> {
        let directory = scratch_dir().map_err(StartError::prepare("a directory"))?;
        let reserved = place.reserve_both(port).map_err(StartError::prepare("a port"))?;
        let addresses: Vec<_> = reserved.iter().map(Reservation::address).collect();
        let mut config = CONFIG.replace("@DIR@", &directory.path().display().to_string());
        for address in &addresses {
            let _ = writeln!(config, "http_port {address}");
        }
        config += settings;
        let file = directory.path().join("squid.conf");
        fs::write(&file, config).map_err(StartError::prepare("squid.conf"))?;
        drop(reserved);
        let mut command = place.command("squid");
        // Squids of one name share memory; this one is alone.
        let alone = format!("lg{}p{}", std::process::id(), addresses[0].port());
        command.args(["-N", "-d", "1", "-n", &alone, "-f"]).arg(&file).current_dir(directory.path());
        let mut process = Process::spawn(&command)?;
        for address in &addresses {
            process.wait_for_port(place, *address, Self::DEADLINE)?;
        }
        Ok(Self { addresses, process, _directory: directory })
    }

    /// How long it may take to start.
    pub const DEADLINE: Duration = Duration::from_secs(30);

    /// Where it listens: IPv4, IPv6.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Squid {
    fn drop(&mut self) {
        // Its shared memory has names in /dev/shm, which only an orderly end removes.
        self.process.signal(crate::Signal::TERM);
        let _ = self.process.wait(Duration::from_secs(5));
    }
}

const CONFIG: &str = "
visible_hostname squid.example
http_access allow all
cache deny all
cache_mem 0
access_log none
cache_log /dev/stderr
pid_filename none
netdb_filename none
coredump_dir @DIR@
pinger_enable off
shutdown_lifetime 0 seconds
dns_timeout 1 second
half_closed_clients on
http_upgrade_request_protocols OTHER allow all
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Connection, Origin};

    #[test]
    fn it_is_a_forward_proxy() {
        let origin = Origin::start().unwrap();
        let squid = Squid::start_at(&Place::Loopback, 0, "").unwrap();
        for address in squid.addresses() {
            let mut client = Connection::open(*address).unwrap();
            let host = origin.address();
            let response = client.exchange(format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n")).unwrap();
            assert_eq!((response.status, &*response.body), (200, &*origin.site().page.1));
        }
    }
}
