//! The proxies, each set up as its manual says a reverse proxy is: connections kept on both sides, no access log.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    time::Duration,
};

use test_support::{Credentials, Process, StartError};

use crate::{Running, place};

/// A proxy that is running.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    pub(crate) process: Running,
}

/// What they are started with.
pub(crate) struct Setup<'a> {
    pub(crate) root: &'a Path,
    pub(crate) origin: SocketAddr,
    /// Programs that we built.
    pub(crate) lockgate: &'a str,
    pub(crate) bare: &'a str,
    /// What is shown to clients where TLS is spoken; both versions of HTTP are then offered.
    pub(crate) credentials: Option<&'a Credentials>,
}

pub(crate) type Start = fn(&Setup<'_>) -> Result<Contender, StartError>;

/// Bare pingora first: the others are compared with it.
pub(crate) const ALL: [Start; 6] = [bare_pingora, lockgate, nginx, haproxy, caddy, tinyproxy];
/// Those that are compared where TLS is spoken, with nginx.
pub(crate) const OVER_TLS: [Start; 3] = [nginx, lockgate, haproxy];

/// For `map_err`: the system refused to make `what`.
pub(crate) fn prepare(what: &str) -> impl FnOnce(io::Error) -> StartError {
    let what = what.to_owned();
    move |source| StartError::Prepare { what, source }
}

/// nginx with static files.
pub(crate) fn origin(root: &Path) -> Result<(SocketAddr, Running), StartError> {
    let address = free()?;
    let config = format!("server {{ listen {address} backlog=4096; root {}; }}", root.display());
    Ok((address, start_nginx(root, "origin", address, &config)?))
}

fn bare_pingora(setup: &Setup<'_>) -> Result<Contender, StartError> {
    let address = free()?;
    let mut command = place().command(setup.bare);
    command.args([address.to_string(), setup.origin.to_string()]);
    started("bare pingora", address, &command)
}

fn lockgate(setup: &Setup<'_>) -> Result<Contender, StartError> {
    let (address, origin) = (free()?, setup.origin);
    let tls = setup.credentials.map_or_else(String::new, |Credentials { certificate, key }| {
        let (certificate, key) = (certificate.display(), key.display());
        format!("tls = true\n[[certificate]]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n")
    });
    let config = format!(
        "[[listener]]\nname = \"http\"\naddress = [\"{address}\"]\n{tls}\
         [[authenticator]]\nname = \"memory\"\nuse = \"standalone\"\n\
         [[route]]\nchain = [{{ use = \"acme-challenge\", authenticator = \"memory\" }}, {{ use = \"upstream\", servers = [\"{origin}\"] }}]\n"
    );
    let file = write(setup.root, "lockgate.toml", &config)?;
    let mut command = place().command(setup.lockgate);
    command.args(["run", "--config", &file]);
    started("lockgate", address, &command)
}

fn nginx(setup: &Setup<'_>) -> Result<Contender, StartError> {
    let (address, origin) = (free()?, setup.origin);
    // TLS 1.3 is not in this version's defaults. Without the temporary file it keeps nothing of an answer that a client
    // reads slowly, like the others.
    let (listen, tls) = setup.credentials.map_or_else(Default::default, |Credentials { certificate, key }| {
        let (certificate, key) = (certificate.display(), key.display());
        let tls = format!(
            "ssl_certificate {certificate}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;\n\
             proxy_max_temp_file_size 0;\n"
        );
        ("ssl http2", tls)
    });
    let config = format!(
        "upstream origin {{ server {origin}; keepalive 64; keepalive_requests 100000000; }}\n\
         server {{ listen {address} {listen} backlog=4096;\n{tls}location / {{ proxy_pass http://origin; proxy_http_version 1.1; \
         proxy_set_header Connection \"\"; proxy_set_header Host $host; }} }}"
    );
    let process = start_nginx(setup.root, "nginx", address, &config)?;
    Ok(Contender { name: "nginx", address, process })
}

fn haproxy(setup: &Setup<'_>) -> Result<Contender, StartError> {
    let (address, origin) = (free()?, setup.origin);
    let mut tls = String::new();
    if let Some(credentials) = setup.credentials {
        let read = |file: &Path| fs::read_to_string(file).map_err(prepare("the certificate"));
        let both = read(&credentials.certificate)? + &read(&credentials.key)?;
        // The others take what the client likes best, too.
        tls = format!("ssl crt {} alpn h2,http/1.1 prefer-client-ciphers", write(setup.root, "haproxy.pem", &both)?);
    }
    let config = format!(
        "defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n http-reuse always\n\
         frontend f\n bind {address} {tls}\n default_backend b\nbackend b\n server s {origin}\n"
    );
    let file = write(setup.root, "haproxy.cfg", &config)?;
    let mut command = place().command("haproxy");
    command.args(["-db", "-f", &file]);
    started("haproxy", address, &command)
}

fn caddy(setup: &Setup<'_>) -> Result<Contender, StartError> {
    let (root, address, origin) = (setup.root, free()?, setup.origin);
    let config = format!(
        "{{\n admin off\n auto_https off\n}}\nhttp://:{} {{\n bind {}\n reverse_proxy {origin}\n}}\n",
        address.port(),
        address.ip()
    );
    let file = write(root, "Caddyfile", &config)?;
    let mut command = place().command("caddy");
    command.args(["run", "--adapter", "caddyfile", "--config", &file]).env("HOME", root);
    started("caddy", address, &command)
}

fn tinyproxy(setup: &Setup<'_>) -> Result<Contender, StartError> {
    let (root, address, origin) = (setup.root, free()?, setup.origin);
    let config = format!(
        "Port {}\nListen {}\nTimeout 60\nMaxClients 200\nLogLevel Critical\nReverseOnly Yes\nReversePath \"/\" \"http://{origin}/\"\n",
        address.port(),
        address.ip()
    );
    let file = write(root, "tinyproxy.conf", &config)?;
    let mut command = place().command("tinyproxy");
    command.args(["-d", "-c", &file]);
    started("tinyproxy", address, &command)
}

fn start_nginx(root: &Path, name: &str, address: SocketAddr, servers: &str) -> Result<Running, StartError> {
    let directory = root.display();
    let config = format!(
        "daemon off;\nuser root;\nworker_processes auto;\npid {directory}/{name}.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 4096; }}\nhttp {{\naccess_log off;\nkeepalive_requests 100000000;\nsendfile on;\n\
         client_body_temp_path {directory}/{name}-body;\nproxy_temp_path {directory}/{name}-proxy;\n\
         fastcgi_temp_path {directory}/{name}-f;\nuwsgi_temp_path {directory}/{name}-u;\nscgi_temp_path {directory}/{name}-s;\n\
         {servers}\n}}\n"
    );
    let file = write(root, &format!("{name}.conf"), &config)?;
    let mut command = place().command("nginx");
    command.args(["-c", &file, "-p"]).arg(root).args(["-e", "stderr"]);
    let mut process = Process::spawn(&command)?;
    process.wait_for_port(&place(), address, DEADLINE)?;
    Ok(process)
}

fn started(name: &'static str, address: SocketAddr, command: &Command) -> Result<Contender, StartError> {
    let mut process = Process::spawn(command)?;
    process.wait_for_port(&place(), address, DEADLINE)?;
    Ok(Contender { name, address, process })
}

/// A port that was free a moment ago.
fn free() -> Result<SocketAddr, StartError> {
    Ok(place().reserve(Ipv4Addr::LOCALHOST, 0).map_err(prepare("a port"))?.address())
}

fn write(root: &Path, name: &str, text: &str) -> Result<String, StartError> {
    let file = root.join(name);
    fs::write(&file, text).map_err(prepare(name))?;
    Ok(file.display().to_string())
}

const DEADLINE: Duration = Duration::from_secs(20);
