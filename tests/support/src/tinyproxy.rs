//! tinyproxy, the reference for whatever it can do.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use tempfile::TempDir;

use crate::{Place, Process, Reservation, StartError, scratch_dir};

/// A running tinyproxy.
#[derive(Debug)]
pub struct Tinyproxy {
    addresses: Vec<SocketAddr>,
    process: Process,
    directory: TempDir,
}

impl Tinyproxy {
    /// Listens on this port of both addresses of a place; 0 takes a free one. `settings` are further lines of its file.
    ///
    /// # Errors
    /// tinyproxy is missing or does not start.
    pub fn start_at(place: &Place, port: u16, settings: &str) -> Result<Self, StartError> {
        let directory = scratch_dir().map_err(StartError::prepare("a directory"))?;
        let reserved = place.reserve_both(port).map_err(StartError::prepare("a port"))?;
        let addresses: Vec<_> = reserved.iter().map(Reservation::address).collect();
        let listen: String = addresses.iter().map(|address| format!("Listen {}\n", address.ip())).collect();
        let config = format!("Port {}\n{listen}Timeout 60\n{settings}", addresses[0].port());
        let file = directory.path().join("tinyproxy.conf");
        fs::write(&file, config).map_err(StartError::prepare("tinyproxy.conf"))?;
        drop(reserved);
        let mut command = place.command("tinyproxy");
        command.args(["-d", "-c"]).arg(&file).current_dir(directory.path());
        let mut process = Process::spawn(&command)?;
        for address in &addresses {
            process.wait_for_port(place, *address, Duration::from_secs(20))?;
        }
        Ok(Self { addresses, process, directory })
    }

    /// Where it listens: IPv4, IPv6.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Its working directory, removed at the end.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Everything it wrote; its log, unless it has another place for that.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal.
    pub fn signal(&mut self, signal: crate::Signal) {
        self.process.signal(signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Connection, Origin};

    #[test]
    fn it_is_a_forward_proxy() {
        let origin = Origin::start().unwrap();
        let tinyproxy = Tinyproxy::start_at(&Place::Loopback, 0, "").unwrap();
        for address in tinyproxy.addresses() {
            let mut client = Connection::open(*address).unwrap();
            let host = origin.address();
            let response = client.exchange(format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n")).unwrap();
            assert_eq!((response.status, &*response.body), (200, &*origin.site().page.1));
        }
        assert!(tinyproxy.output().contains("Connect (file descriptor"), "{}", tinyproxy.output());
    }
}
