//! Networks of namespaces: hosts with IPv4 and IPv6 addresses on one switch, apart from the machine's own network.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::panic;
use std::path::Path;
use std::process::{self, Command, Output};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::fd::AsFd;
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::scratch::is_leftover;

/// `N` hosts on one switch. Dropping it removes them; peers that run there must have been dropped before.
#[derive(Debug)]
pub struct Network<const N: usize> {
    hosts: [Namespace; N],
    /// Owns the namespaces, the switch's included.
    _guards: Vec<Guard>,
}

/// A handle on one host of a [`Network`]; a namespace with an interface `eth0`.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
    number: u8,
}

/// A network could not be built.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// `ip` is not installed or cannot be executed.
    #[error("`ip` cannot be run (Debian: iproute2; run `cargo xtask setup`)")]
    NoIp(#[source] io::Error),
    /// `ip` refused; namespaces need root.
    #[error("`ip {arguments}` failed: {message}")]
    Refused {
        /// Its arguments.
        arguments: String,
        /// Its standard error.
        message: String,
    },
}

#[derive(Debug)]
struct Guard(String);

impl<const N: usize> Network<N> {
    /// Builds a host for each of `roles` (short lower-case words).
    ///
    /// The first call of a process also removes what killed runs left behind.
    ///
    /// # Errors
    /// [`NetworkError`]: not root, no iproute2, no kernel support.
    pub fn new(roles: [&str; N]) -> Result<Self, NetworkError> {
        static NETWORKS: AtomicU32 = AtomicU32::new(0);
        static COLLECTED: Once = Once::new();
        COLLECTED.call_once(collect_leftovers);
        let prefix = format!("lg-{}-{}", process::id(), NETWORKS.fetch_add(1, Ordering::Relaxed));
        // The switch lives in a namespace too, so that nothing of this shows up in the machine's own network.
        let switch = format!("{prefix}-switch");
        let mut guards = vec![Guard::add(&switch)?];
        ip(&["-n", &switch, "link", "add", "switch", "type", "bridge"])?;
        ip(&["-n", &switch, "link", "set", "switch", "up"])?;
        let mut numbers = 1..;
        let hosts =
            roles.map(|role| Namespace { name: format!("{prefix}-{role}"), number: numbers.next().unwrap_or(0) });
        for host in &hosts {
            guards.push(Guard::add(&host.name)?);
            host.plug_into(&switch)?;
        }
        Ok(Self { hosts, _guards: guards })
    }

    /// The hosts, in the order of the roles.
    #[must_use]
    pub fn hosts(&self) -> &[Namespace; N] {
        &self.hosts
    }
}

impl Namespace {
    /// Name as `ip netns` lists it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Address of `eth0`.
    #[must_use]
    pub fn ipv4(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, self.number)
    }

    /// Address of `eth0`.
    #[must_use]
    pub fn ipv6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, self.number.into())
    }

    /// A command that runs `program` here.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs `work` on a new thread that lives here; sockets it makes stay here.
    ///
    /// # Errors
    /// The namespace is gone, or this process is not root.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| self.move_thread().map(|()| work()));
            thread.join().unwrap_or_else(|payload| panic::resume_unwind(payload))
        })
    }

    /// Moves the calling thread here for the rest of its life.
    ///
    /// # Errors
    /// The namespace is gone, or this process is not root.
    pub fn move_thread(&self) -> io::Result<()> {
        let file = File::open(Path::new(DIRECTORY).join(&self.name))?;
        Ok(move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    fn plug_into(&self, switch: &str) -> Result<(), NetworkError> {
        let (name, port) = (self.name.as_str(), format!("port{}", self.number));
        ip(&["-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", &port, "netns", switch])?;
        ip(&["-n", switch, "link", "set", &port, "master", "switch", "up"])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        ip(&["-n", name, "link", "set", "eth0", "up"])?;
        ip(&["-n", name, "address", "add", &format!("{}/24", self.ipv4()), "dev", "eth0"])?;
        // Duplicate address detection would leave the address unusable for a second.
        ip(&["-n", name, "address", "add", &format!("{}/64", self.ipv6()), "dev", "eth0", "nodad"])
    }
}

impl Guard {
    fn add(name: &str) -> Result<Self, NetworkError> {
        ip(&["netns", "add", name])?;
        Ok(Self(name.to_owned()))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = ip(&["netns", "delete", &self.0]);
    }
}

/// Removes the namespaces of runs that are no more, and kills what still runs in them.
pub fn collect_leftovers() {
    for entry in fs::read_dir(DIRECTORY).into_iter().flatten().flatten() {
        let Some(name) = entry.file_name().to_str().filter(|name| is_leftover(name)).map(str::to_owned) else {
            continue;
        };
        let inhabitants = run_ip(&["netns", "pids", &name]).map(|output| output.stdout).unwrap_or_default();
        for pid in String::from_utf8_lossy(&inhabitants).lines().filter_map(|line| line.trim().parse().ok()) {
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        drop(Guard(name));
    }
}

const DIRECTORY: &str = "/run/netns";

fn ip(arguments: &[&str]) -> Result<(), NetworkError> {
    let output = run_ip(arguments)?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(NetworkError::Refused { arguments: arguments.join(" "), message })
}

fn run_ip(arguments: &[&str]) -> Result<Output, NetworkError> {
    Command::new("ip").args(arguments).output().map_err(NetworkError::NoIp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{IpAddr, TcpListener, TcpStream};

    #[test]
    fn hosts_reach_each_other() {
        let network = Network::new(["site", "visitors"]).unwrap();
        let [site, visitors] = network.hosts();
        for ip in [IpAddr::from(site.ipv4()), IpAddr::from(site.ipv6())] {
            let listener = site.enter(|| TcpListener::bind((ip, 80))).unwrap().unwrap();
            let mut client = visitors.enter(|| TcpStream::connect((ip, 80))).unwrap().unwrap();
            let (mut server, from) = listener.accept().unwrap();
            assert!(from.ip() == visitors.ipv4() || from.ip() == visitors.ipv6());
            client.write_all(b"x").unwrap();
            server.read_exact(&mut [0]).unwrap();
        }
    }

    #[test]
    fn a_command_runs_inside() {
        let network = Network::new(["site"]).unwrap();
        let [site] = network.hosts();
        let output = site.command("ip").args(["-o", "address", "show", "eth0"]).output().unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains(&site.ipv4().to_string()));
    }

    #[test]
    fn a_dropped_network_is_gone() {
        let network = Network::new(["site"]).unwrap();
        let name = network.hosts()[0].name().to_owned();
        assert!(Path::new(DIRECTORY).join(&name).exists());
        drop(network);
        assert!(!Path::new(DIRECTORY).join(&name).exists());
    }

    #[test]
    fn a_namespace_of_a_dead_run_is_collected() {
        // Pids end at 2^22.
        let name = format!("lg-4194305-{}-site", process::id());
        ip(&["netns", "add", &name]).unwrap();
        let alive = Guard::add(&format!("lg-{}-alive-site", process::id())).unwrap();
        collect_leftovers();
        assert!(!Path::new(DIRECTORY).join(&name).exists());
        assert!(Path::new(DIRECTORY).join(&alive.0).exists());
    }
}
