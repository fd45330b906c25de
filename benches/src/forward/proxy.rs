//! The proxies, set up as their manuals say a forward proxy is: no cache, no access log.

use std::{
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    time::Duration,
};

use test_support::{Process, Squid, StartError};

use crate::{Running, contender::prepare, place};

/// One of those that are compared.
pub(crate) struct Proxy {
    pub(crate) name: &'static str,
    /// Whether it answers CONNECT. One that does not relays to fixed places.
    pub(crate) connects: bool,
    configure: fn(&Setup<'_>) -> (String, String),
    command: fn(&str, &str) -> Command,
}

struct Setup<'a> {
    directory: &'a Path,
    address: SocketAddr,
    /// Where it listens for whom, if it cannot be told by CONNECT.
    relays: &'a [(SocketAddr, SocketAddr)],
    /// How many there will be at once.
    tunnels: usize,
}

/// One that is running.
pub(crate) struct Started {
    pub(crate) address: SocketAddr,
    pub(crate) process: Running,
    relays: Vec<(SocketAddr, SocketAddr)>,
}

/// How a tunnel is opened: where to connect to, and whom to ask for then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) address: SocketAddr,
    pub(crate) connect: Option<SocketAddr>,
}

/// tinyproxy first: the others are compared with it.
pub(crate) const ALL: [Proxy; 4] = [
    Proxy {
        name: "tinyproxy",
        connects: true,
        configure: tinyproxy,
        command: |_, file| command("tinyproxy", &["-d", "-c", file]),
    },
    Proxy {
        name: "lockgate",
        connects: true,
        configure: lockgate,
        command: |lockgate, file| command(lockgate, &["run", "--config", file]),
    },
    Proxy {
        name: "squid",
        connects: true,
        configure: squid,
        command: |_, file| command("squid", &["-N", "-d", "0", "-n", &Squid::name(0), "-f", file]),
    },
    Proxy {
        name: "haproxy",
        connects: false,
        configure: haproxy,
        command: |_, file| command("haproxy", &["-db", "-f", file]),
    },
];

impl Proxy {
    /// Starts it; `targets` are where so many tunnels will lead.
    pub(crate) fn start(
        &self,
        root: &Path,
        lockgate: &str,
        targets: &[SocketAddr],
        tunnels: usize,
    ) -> Result<Started, StartError> {
        let address = free()?;
        let mut relays = Vec::new();
        for target in targets.iter().filter(|_| !self.connects) {
            relays.push((free()?, *target));
        }
        let setup = Setup { directory: root, address, relays: &relays, tunnels };
        let (name, text) = (self.configure)(&setup);
        let file = root.join(name);
        fs::write(&file, text).map_err(prepare("a configuration"))?;
        let mut process = Process::spawn(&(self.command)(lockgate, &file.display().to_string()))?;
        process.wait_for_port(&place(), address, DEADLINE)?;
        Ok(Started { address, process, relays })
    }
}

impl Proxy {
    /// What it says about its version.
    pub(crate) fn version(&self, lockgate: &str) -> String {
        let (program, argument) = if self.name == "lockgate" { (lockgate, "--version") } else { (self.name, "-v") };
        let output = place().command(program).arg(argument).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        text.lines().next().unwrap_or("an unknown version").to_owned()
    }
}

impl Started {
    /// How to get to one of the targets.
    pub(crate) fn way(&self, target: SocketAddr) -> Way {
        match self.relays.iter().find(|(_, to)| *to == target) {
            Some((relay, _)) => Way { address: *relay, connect: None },
            None => Way { address: self.address, connect: Some(target) },
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.process.kill();
        Squid::remove_shared_memory(&Squid::name(0));
    }
}

fn tinyproxy(setup: &Setup<'_>) -> (String, String) {
    let text = format!(
        "Port {}\nListen {}\nTimeout 600\nMaxClients 20000\nLogLevel Critical\nDisableViaHeader Yes\n",
        setup.address.port(),
        setup.address.ip()
    );
    ("tinyproxy.conf".to_owned(), text)
}

fn lockgate(setup: &Setup<'_>) -> (String, String) {
    let text = format!(
        "[[listener]]\nname = \"proxy\"\naddress = [\"{}\"]\n[[route]]\nchain = [{{ use = \"forward\" }}]\n",
        setup.address
    );
    ("forward.toml".to_owned(), text)
}

fn squid(setup: &Setup<'_>) -> (String, String) {
    let text = format!(
        "http_port {}\nvisible_hostname squid.example\nhttp_access allow all\ncache deny all\ncache_mem 0\naccess_log none\n\
         cache_log /dev/null\npid_filename none\nnetdb_filename none\ncoredump_dir {}\npinger_enable off\n\
         shutdown_lifetime 0 seconds\nvia off\nforwarded_for delete\nmax_filedescriptors 65536\nclient_db off\n",
        setup.address,
        setup.directory.display()
    );
    ("squid.conf".to_owned(), text)
}

/// Addresses in numbers only, and no CONNECT: that is what it can do of a forward proxy's job. Tunnels are plain relays.
fn haproxy(setup: &Setup<'_>) -> (String, String) {
    // By itself it keeps descriptors for a pipe of every other tunnel, and then has too few for as many as there will be.
    let mut text = format!(
        "global\n maxconn {}\n maxpipes 32\ndefaults\n timeout connect 5s\n timeout client 600s\n timeout server 600s\n\
         frontend requests\n mode http\n bind {}\n http-request set-dst url_ip\n http-request set-dst-port url_port\n\
         http-request set-uri %[pathq]\n default_backend anywhere\n\
         backend anywhere\n mode http\n http-reuse always\n server s 0.0.0.0:0\n",
        setup.tunnels + 50,
        setup.address
    );
    for (number, (relay, target)) in setup.relays.iter().enumerate() {
        let _ = write!(
            text,
            "listen relay{number}\n mode tcp\n option splice-auto\n bind {relay} backlog 4096\n server s {target}\n"
        );
    }
    ("forward-haproxy.cfg".to_owned(), text)
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = place().command(program);
    command.args(arguments);
    command
}

/// A port that was free a moment ago.
fn free() -> Result<SocketAddr, StartError> {
    Ok(place().reserve(Ipv4Addr::LOCALHOST, 0).map_err(prepare("a port"))?.address())
}

const DEADLINE: Duration = Duration::from_secs(30);
