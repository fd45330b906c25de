//! squid as a forward proxy to compare with: no cache, everybody is served.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::Path,
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tempfile::TempDir;

use crate::{Place, Process, Reservation, StartError, scratch_dir};

/// A running squid.
#[derive(Debug)]
pub struct Squid {
    addresses: Vec<SocketAddr>,
    process: Process,
    name: String,
    _directory: TempDir,
}

impl Squid {
    /// Listens on this port of both addresses of a place; 0 takes a free one. `settings` are further lines of its file.
    ///
    /// # Errors
    /// squid is missing or does not start.
    pub fn start_at(place: &Place, port: u16, settings: &str) -> Result<Self, StartError> {
        COLLECTED.call_once(collect);
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
        let name = Self::name(STARTED.fetch_add(1, Ordering::Relaxed));
        command.args(["-N", "-d", "1", "-n", &name, "-f"]).arg(&file).current_dir(directory.path());
        let mut process = Process::spawn(&command)?;
        for address in &addresses {
            process.wait_for_port(place, *address, Self::DEADLINE)?;
        }
        Ok(Self { addresses, process, name, _directory: directory })
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

impl Squid {
    /// A name for `squid -n`, which only allows letters and digits: squids of one name share memory.
    #[must_use]
    pub fn name(number: u32) -> String {
        format!("lg{}p{number}", std::process::id())
    }

    /// Removes what squid leaves in `/dev/shm` however it ends.
    pub fn remove_shared_memory(name: &str) {
        remove_shared_memory(|found| found == name);
    }
}

impl Drop for Squid {
    fn drop(&mut self) {
        self.process.kill();
        Self::remove_shared_memory(&self.name);
    }
}

fn remove_shared_memory(is_ours: impl Fn(&str) -> bool) {
    for entry in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        let file = entry.file_name();
        if file.to_str().and_then(|file| file.split_once("-cf__")).is_some_and(|(name, _)| is_ours(name)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A run that was killed could not tidy up.
fn collect() {
    let ended = |name: &str| {
        let pid = name.strip_prefix("lg").and_then(|rest| rest.split_once('p')).map(|(pid, _)| pid);
        pid.and_then(|pid| pid.parse::<u32>().ok())
            .is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists())
    };
    remove_shared_memory(ended);
}

static STARTED: AtomicU32 = AtomicU32::new(1);
static COLLECTED: Once = Once::new();

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
        let left = |name: &str| {
            let files =
                fs::read_dir("/dev/shm").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            files.filter(|file| file.starts_with(name)).count()
        };
        let name = format!("{}-", squid.name);
        assert!(left(&name) > 0);
        drop(squid);
        assert_eq!(left(&name), 0);
    }
}
