//! TLS in front of a server that has none: HAProxy, which passes on the bytes.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use tempfile::TempDir;

use crate::{Credentials, Place, Process, StartError, scratch_dir};

/// A running HAProxy that ends TLS.
#[derive(Debug)]
pub struct TlsFront {
    address: SocketAddr,
    _process: Process,
    _directory: TempDir,
}

impl TlsFront {
    /// Listens on this port of 127.0.0.1 (0 takes a free one) with these credentials, for the server at `behind`. Clients must
    /// have a certificate of the authority in `clients`, if that is given.
    ///
    /// # Errors
    /// HAProxy is missing or does not start.
    pub fn start(
        port: u16,
        credentials: &Credentials,
        behind: SocketAddr,
        clients: Option<&Path>,
    ) -> Result<Self, StartError> {
        let directory = scratch_dir().map_err(StartError::prepare("a directory"))?;
        let place = Place::Loopback;
        let pem = directory.path().join("both.pem");
        let both = [&credentials.certificate, &credentials.key].map(fs::read_to_string);
        let both = both.into_iter().collect::<Result<String, _>>().map_err(StartError::prepare("a certificate"))?;
        fs::write(&pem, both).map_err(StartError::prepare("a certificate"))?;
        let verify = clients.map_or(String::new(), |file| format!(" ca-file {} verify required", file.display()));
        let reserved = place.reserve(place.ipv4(), port).map_err(StartError::prepare("a port"))?;
        let address = reserved.address();
        let config = CONFIG
            .replace("@BIND@", &format!("{address} ssl crt {}{verify}", pem.display()))
            .replace("@SERVER@", &behind.to_string());
        let file = directory.path().join("haproxy.cfg");
        fs::write(&file, config).map_err(StartError::prepare("haproxy.cfg"))?;
        drop(reserved);
        let mut command = place.command("haproxy");
        command.arg("-db").arg("-f").arg(&file);
        let mut process = Process::spawn(&command)?;
        process.wait_for_port(&place, address, Duration::from_secs(20))?;
        Ok(Self { address, _process: process, _directory: directory })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

const CONFIG: &str = "
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend tls
    bind @BIND@
    default_backend plain
backend plain
    server one @SERVER@
";
