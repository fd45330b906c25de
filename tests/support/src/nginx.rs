//! nginx as the application: serves a site and knows nothing of Lockgate.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use tempfile::TempDir;

use crate::{Credentials, Place, Process, Site, StartError, scratch_dir, site};

/// A running nginx with a small page, a large file and an echo for POST.
#[derive(Debug)]
pub struct Nginx {
    directory: TempDir,
    addresses: Vec<SocketAddr>,
    _process: Process,
}

impl Nginx {
    /// Serves on this port of both addresses of a place; 0 takes a free one.
    ///
    /// # Errors
    /// nginx is missing or does not start.
    pub fn start_at(place: &Place, port: u16) -> Result<Self, StartError> {
        Self::serve(place, port, None)
    }

    /// The same over TLS, by HTTP/1.1 and HTTP/2.
    ///
    /// # Errors
    /// As [`Self::start_at`].
    pub fn secure_at(place: &Place, port: u16, credentials: &Credentials) -> Result<Self, StartError> {
        Self::serve(place, port, Some(credentials))
    }

    fn serve(place: &Place, port: u16, credentials: Option<&Credentials>) -> Result<Self, StartError> {
        let directory = scratch_dir().map_err(StartError::prepare("a directory"))?;
        let root = directory.path().join("www");
        let prepare = || StartError::prepare("the site's files");
        fs::create_dir(&root).map_err(prepare())?;
        fs::write(root.join("index.html"), site::PAGE).map_err(prepare())?;
        fs::write(root.join("big"), site::filler(DOWNLOAD)).map_err(prepare())?;
        let reserved = place.reserve_both(port).map_err(StartError::prepare("a port"))?;
        let addresses: Vec<_> = reserved.iter().map(crate::Reservation::address).collect();
        // In a namespace loopback is nobody else's, and a proxy beside the server dials that.
        let loopback = [Place::Loopback.ipv4().into(), Place::Loopback.ipv6().into()]
            .map(|ip: IpAddr| SocketAddr::new(ip, addresses[0].port()));
        let beside = if let Place::Namespace(_) = place { &loopback[..] } else { &[] };
        let all = addresses.iter().chain(beside);
        let tls = if credentials.is_some() { " ssl http2" } else { "" };
        let mut listen: String = all.map(|address| format!("listen {address}{tls} backlog=4096;\n")).collect();
        if let Some(Credentials { certificate, key }) = credentials {
            let (certificate, key) = (certificate.display(), key.display());
            listen += &format!("ssl_certificate {certificate};\nssl_certificate_key {key};\n");
            listen += "ssl_protocols TLSv1.2 TLSv1.3;\n";
        }
        let config = CONFIG
            .replace("@DIR@", &directory.path().display().to_string())
            .replace("@LISTEN@", &listen)
            .replace("@SERVED_AT@", site::SERVED_AT);
        let file = directory.path().join("nginx.conf");
        fs::write(&file, config).map_err(prepare())?;
        // nginx listens without SO_REUSEADDR conflicts only when nobody else holds the port.
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

    /// The directory whose files it serves.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("www")
    }

    /// What it serves.
    #[must_use]
    pub fn site(&self) -> Site {
        Site::new(self.addresses.clone(), "site.example", site::filler(DOWNLOAD))
    }
}

/// Large enough that its transfer spans the opening or closing of a gate.
const DOWNLOAD: usize = 8_000_000;

/// Echo: nginx answers a POST with its body through a second server that returns `$request_body`, which nginx reads when it
/// passes the request on.
const CONFIG: &str = r#"
daemon off;
worker_processes 1;
pid @DIR@/nginx.pid;
error_log stderr warn;
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path @DIR@/body;
    proxy_temp_path @DIR@/proxy;
    fastcgi_temp_path @DIR@/fastcgi;
    uwsgi_temp_path @DIR@/uwsgi;
    scgi_temp_path @DIR@/scgi;
    client_body_buffer_size 256k;
    default_type application/octet-stream;
    keepalive_requests 1000000;
    keepalive_timeout 300s;
    upstream echo { server unix:@DIR@/echo.sock; }
    server {
        @LISTEN@
        root @DIR@/www;
        add_header @SERVED_AT@ $server_addr always;
        location = /echo {
            proxy_pass http://echo;
            proxy_set_header X-Body $request_body;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
        }
        location / { }
    }
    server {
        listen unix:@DIR@/echo.sock;
        large_client_header_buffers 4 256k;
        location / { return 200 $http_x_body; }
    }
}
"#;
