//! A site and its visitors: two network namespaces, joined by a cable, that vanish with the value.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use interception::Method;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, SockRef, Socket, Type};

pub(crate) const V4: &str = "192.0.2.1";
pub(crate) const V6: &str = "2001:db8::1";
pub(crate) const BOTH: [&str; 2] = [V4, V6];
pub(crate) const BEYOND: [&str; 2] = ["198.51.100.2", "2001:db8:1::2"];

/// Every wait of these tests ends, one way or the other.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) struct Site {
    site: String,
    visitors: String,
    beyond: Option<String>,
}

impl Site {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let site = Self { site: format!("lg-{id}-s"), visitors: format!("lg-{id}-v"), beyond: None };
        let Self { site: s, visitors: v, .. } = &site;
        for name in [s, v] {
            ip(&format!("netns add {name}"));
            ip(&format!("-n {name} link set lo up"));
        }
        ip(&format!("link add eth0 netns {s} type veth peer name eth0 netns {v}"));
        for (name, host) in [(s, 1), (v, 2)] {
            ip(&format!("-n {name} addr add 192.0.2.{host}/24 dev eth0"));
            ip(&format!("-n {name} addr add 2001:db8::{host}/64 dev eth0 nodad"));
            ip(&format!("-n {name} link set eth0 up"));
        }
        site
    }

    /// Makes the site a router: another host behind it, at [`BEYOND`], that visitors reach through it.
    pub(crate) fn with_host_beyond(mut self) -> Self {
        let beyond = format!("{}-b", self.site);
        ip(&format!("netns add {beyond}"));
        let beyond = self.beyond.insert(beyond).clone();
        let Self { site, visitors, .. } = &self;
        ip(&format!("link add eth1 netns {site} type veth peer name eth0 netns {beyond}"));
        for (name, device, host) in [(site, "eth1", 1), (&beyond, "eth0", 2)] {
            ip(&format!("-n {name} addr add 198.51.100.{host}/24 dev {device}"));
            ip(&format!("-n {name} addr add 2001:db8:1::{host}/64 dev {device} nodad"));
            ip(&format!("-n {name} link set {device} up"));
        }
        for (name, v4, v6) in [(visitors, V4, V6), (&beyond, "198.51.100.1", "2001:db8:1::1")] {
            ip(&format!("-n {name} route add default via {v4}"));
            ip(&format!("-n {name} -6 route add default via {v6}"));
        }
        self.inside(|| {
            for switch in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                std::fs::write(format!("/proc/sys/net/{switch}"), "1").unwrap();
            }
        });
        self
    }

    /// Runs `f` on a thread of the host beyond.
    pub(crate) fn beyond<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        within(self.beyond.as_ref().unwrap(), f)
    }

    /// Runs `f` on a thread of the site; what it starts is there as well.
    pub(crate) fn inside<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        within(&self.site, f)
    }

    /// Runs `f` on a thread of the visitors.
    pub(crate) fn visit<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        within(&self.visitors, f)
    }

    /// One visit, on a connection of its own: who answered.
    pub(crate) fn fetch(&self, address: &str) -> io::Result<String> {
        self.visit(|| Visitor::connect(address)?.get("close"))
    }

    pub(crate) fn answers(&self) -> Vec<String> {
        BOTH.iter().map(|address| self.fetch(address).unwrap()).collect()
    }

    /// nft's listing of all tables of the site.
    pub(crate) fn tables(&self) -> String {
        self.inside(|| {
            let output = Command::new("/usr/sbin/nft").args(["list", "ruleset"]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        })
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for name in [&self.site, &self.visitors].into_iter().chain(&self.beyond) {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

/// A visitor's connection.
pub(crate) struct Visitor(BufReader<TcpStream>);

impl Visitor {
    pub(crate) fn connect(address: &str) -> io::Result<Self> {
        let address = SocketAddr::new(address.parse::<IpAddr>().unwrap(), 80);
        let stream = TcpStream::connect_timeout(&address, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// One request; the answer's body.
    pub(crate) fn get(&mut self, connection: &str) -> io::Result<String> {
        let request = format!("GET / HTTP/1.1\r\nHost: site\r\nConnection: {connection}\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes())?;
        let head = read_head(&mut self.0)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut body)?;
        Ok(String::from_utf8(body).unwrap())
    }
}

/// A web server, one thread per connection, that keeps connections alive as the visitor wishes.
pub(crate) struct Server {
    listeners: Vec<TcpListener>,
    pub(crate) port: u16,
}

impl Server {
    /// The application: answers `application`.
    pub(crate) fn application() -> Self {
        Self::start(80, false, |_| "application".to_owned())
    }

    /// The listener behind the gate: answers `gate` and the destination that the visitor asked for.
    pub(crate) fn behind_gate(method: Method) -> Self {
        Self::start(0, true, move |stream| format!("gate {}", original_destination(SockRef::from(stream), method)))
    }

    pub(crate) fn start(
        port: u16,
        transparent: bool,
        answer: impl Fn(&TcpStream) -> String + Clone + Send + 'static,
    ) -> Self {
        let v6 = listen(format!("[::]:{port}").parse().unwrap(), transparent);
        let port = v6.local_addr().unwrap().port();
        let v4 = listen(format!("0.0.0.0:{port}").parse().unwrap(), transparent);
        let listeners = vec![v4, v6];
        for listener in &listeners {
            let (listener, answer) = (listener.try_clone().unwrap(), answer.clone());
            thread::spawn(move || {
                for stream in listener.incoming() {
                    let Ok(stream) = stream else { return };
                    let answer = answer.clone();
                    thread::spawn(move || serve(stream, answer));
                }
            });
        }
        Self { listeners, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for listener in &self.listeners {
            // Wakes the thread in accept(2), which then lets go of the port.
            let _ = SockRef::from(listener).shutdown(std::net::Shutdown::Both);
        }
    }
}

/// Polls until `condition` holds, and returns how long it took.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        thread::sleep(Duration::from_millis(5));
    }
    start.elapsed()
}

fn listen(address: SocketAddr, transparent: bool) -> TcpListener {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    if address.is_ipv6() {
        socket.set_only_v6(true).unwrap();
    }
    if transparent {
        set_transparent(&socket, address);
    }
    socket.bind(&address.into()).unwrap();
    socket.listen(4096).unwrap();
    socket.into()
}

fn serve(stream: TcpStream, answer: impl Fn(&TcpStream) -> String) {
    stream.set_nodelay(true).unwrap();
    let mut stream = BufReader::new(stream);
    while let Ok(Some(head)) = read_head(&mut stream) {
        let body = answer(stream.get_ref());
        let close = head.contains("Connection: close");
        let connection = if close { "close" } else { "keep-alive" };
        let length = body.len();
        let text = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: {connection}\r\n\r\n{body}");
        if stream.get_mut().write_all(text.as_bytes()).is_err() || close {
            return;
        }
    }
}

/// `None` at the end of the connection.
fn read_head(stream: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(head))
}

fn within<T: Send>(namespace: &str, f: impl FnOnce() -> T + Send) -> T {
    let enter = || {
        let link = File::open(format!("/run/netns/{namespace}")).unwrap();
        move_into_link_name_space(link.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        f()
    };
    thread::scope(|scope| match scope.spawn(enter).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// As a listener behind the gate must be.
fn set_transparent(socket: &Socket, address: SocketAddr) {
    match address {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true).unwrap(),
        SocketAddr::V6(_) => socket.set_ip_transparent_v6(true).unwrap(),
    }
}

/// What the visitor dialled: TPROXY leaves it in place, after a redirect connection tracking knows it.
fn original_destination(socket: SockRef<'_>, method: Method) -> SocketAddr {
    let local = socket.local_addr().unwrap().as_socket().unwrap();
    let found = match (method, local) {
        (Method::Tproxy, _) => return local,
        (Method::Redirect, SocketAddr::V4(_)) => socket.original_dst_v4().unwrap(),
        (Method::Redirect, SocketAddr::V6(_)) => socket.original_dst_v6().unwrap(),
    };
    found.as_socket().unwrap()
}
