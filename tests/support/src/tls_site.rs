//! A site over TLS: nginx, with a certificate of an authority that only the tests know.

use std::{
    fmt::Write as _,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use tempfile::TempDir;

use crate::{Place, Process, Reservation, StartError, scratch_dir};

/// A running nginx that serves a directory by https.
#[derive(Debug)]
pub struct TlsSite {
    directory: TempDir,
    addresses: Vec<SocketAddr>,
    _process: Process,
}

impl TlsSite {
    /// Serves on this port of both addresses of a place, as `names` and as these addresses; 0 takes a free port.
    ///
    /// # Errors
    /// nginx is missing or does not start.
    pub fn start_at(place: &Place, port: u16, names: &[&str]) -> Result<Self, StartError> {
        let directory = scratch_dir().map_err(StartError::prepare("a directory"))?;
        fs::create_dir(directory.path().join("www")).map_err(StartError::prepare("the site's directory"))?;
        make_certificates(directory.path(), place, names).map_err(StartError::prepare("certificates"))?;
        let reserved = place.reserve_both(port).map_err(StartError::prepare("a port"))?;
        let addresses: Vec<_> = reserved.iter().map(Reservation::address).collect();
        let mut listen = String::new();
        for address in &addresses {
            let _ = writeln!(listen, "listen {address} ssl backlog=4096;");
        }
        let config = CONFIG.replace("@DIR@", &directory.path().display().to_string()).replace("@LISTEN@", &listen);
        let file = directory.path().join("nginx.conf");
        fs::write(&file, config).map_err(StartError::prepare("nginx.conf"))?;
        drop(reserved);
        let mut command = place.command("nginx");
        command.arg("-c").arg(&file).arg("-p").arg(directory.path()).args(["-e", "stderr"]);
        let mut process = Process::spawn(&command)?;
        for address in &addresses {
            process.wait_for_port(place, *address, Duration::from_secs(20))?;
        }
        Ok(Self { directory, addresses, _process: process })
    }

    /// Where it listens: IPv4, IPv6.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The directory whose files it serves; empty at first.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("www")
    }

    /// The authority's certificate, PEM.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }
}

fn make_certificates(directory: &Path, place: &Place, names: &[&str]) -> io::Result<()> {
    let ca_key = KeyPair::generate().map_err(io::Error::other)?;
    let mut ca = CertificateParams::new(Vec::new()).map_err(io::Error::other)?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.distinguished_name.push(DnType::CommonName, "authority of a Lockgate test");
    let ca_certificate = ca.self_signed(&ca_key).map_err(io::Error::other)?;
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut server = CertificateParams::new(names).map_err(io::Error::other)?;
    server.distinguished_name.push(DnType::CommonName, "a site of a Lockgate test");
    server.subject_alt_names.push(SanType::IpAddress(place.ipv4().into()));
    server.subject_alt_names.push(SanType::IpAddress(place.ipv6().into()));
    let certificate = server.signed_by(&key, &Issuer::new(ca, ca_key)).map_err(io::Error::other)?;
    fs::write(directory.join("ca.pem"), ca_certificate.pem())?;
    fs::write(directory.join("server.pem"), certificate.pem())?;
    fs::write(directory.join("server.key"), key.serialize_pem())
}

const CONFIG: &str = "
daemon off;
worker_processes 1;
pid @DIR@/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path @DIR@/body;
    proxy_temp_path @DIR@/proxy;
    fastcgi_temp_path @DIR@/fastcgi;
    uwsgi_temp_path @DIR@/uwsgi;
    scgi_temp_path @DIR@/scgi;
    default_type application/octet-stream;
    types { text/html html; }
    server {
        @LISTEN@
        ssl_certificate @DIR@/server.pem;
        ssl_certificate_key @DIR@/server.key;
        root @DIR@/www;
    }
}
";
