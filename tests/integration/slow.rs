//! Clients that take their time on purpose, many at once: slowhttptest in its four modes. All others are served meanwhile.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use test_support::{Connection, Origin, Place, Process, poll, scratch_dir};

use crate::support::LOCKGATE;

/// Lockgate as tinyproxy with its usual hundred places and its usual ten minutes.
struct Proxy {
    process: Process,
    address: SocketAddr,
    directory: TempDir,
}

impl Proxy {
    fn start() -> Self {
        let directory = scratch_dir().unwrap();
        let port = Place::Loopback.reserve(Ipv4Addr::LOCALHOST, 0).unwrap();
        let address = port.address();
        let text = format!("Port {}\nListen {}\nMaxClients {PLACES}\nTimeout 600\n", address.port(), address.ip());
        fs::write(directory.path().join("tinyproxy.conf"), text).unwrap();
        let mut command = Command::new(LOCKGATE);
        command.args(["tinyproxy", "-d", "-c", "tinyproxy.conf"]).current_dir(directory.path());
        let mut process = Process::spawn(&command).unwrap();
        process.wait_for_port(&Place::Loopback, address, Duration::from_secs(20)).unwrap();
        Self { process, address, directory }
    }

    /// Connections so far.
    fn connections(&self) -> usize {
        self.process.output().matches("Connect (file descriptor").count()
    }
}

/// Attacks with more connections than there are places, in the way that `mode` says, and has others come meanwhile: from
/// another address, and from the same one.
fn all_others_are_served(mode: &[&str], path: &str) {
    let (proxy, origin) = (Proxy::start(), Origin::start().unwrap());
    let (via, to) = (proxy.address, origin.address());
    let mut attack = Command::new("slowhttptest");
    attack.args(mode).args(["-c", ATTACKERS, "-r", ATTACKERS, "-l", SECONDS]);
    attack.args(["-u", &format!("http://{to}{path}"), "-d", &via.to_string()]);
    attack.current_dir(proxy.directory.path());
    let began = Instant::now();
    let request = format!("GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\n\r\n");
    let page = origin.site().page.1;
    let patient = thread::spawn(move || slow_but_honest(via, to));
    let (mut kept, mut elsewhere, mut same) = (Connection::open(via).unwrap(), Vec::new(), Vec::new());
    while began.elapsed() < Duration::from_secs(10) {
        // One mode is soon over.
        let mut attack = Process::spawn(&attack).unwrap();
        while attack.exit_status().is_none() {
            let ask = |client: &mut Connection, times: &mut Vec<Duration>| {
                let started = Instant::now();
                let answer = client.exchange(&request).unwrap();
                assert_eq!((answer.status, &*answer.body), (200, &*page));
                times.push(started.elapsed());
            };
            ask(&mut from([127, 0, 0, 9], via), &mut elsewhere);
            ask(&mut from([127, 0, 0, 1], via), &mut same);
            ask(&mut kept, &mut same);
            thread::sleep(Duration::from_millis(50));
        }
        // What it says last arrives after its end.
        let has_ended = || attack.output().contains("Exit status").then_some(());
        poll(Duration::from_secs(10), has_ended).unwrap_or_else(|| panic!("it did not attack: {}", attack.output()));
    }
    patient.join().expect("whoever is slow is left alone");
    let slowest = |times: &[Duration]| times.iter().max().copied().unwrap_or_default();
    eprintln!("{mode:?}: of {} the slowest took {:?} and {:?}", same.len(), slowest(&elsewhere), slowest(&same));
    let visitors = elsewhere.len() + same.len() / 2 + 1;
    poll(Duration::from_secs(10), || (proxy.connections() >= visitors + 300).then_some(())).expect("it was attacked");
    assert!(elsewhere.len() > 10 && slowest(&elsewhere) < AT_MOST, "{elsewhere:?}");
    assert!(slowest(&same) < AT_MOST, "{same:?}");
}

/// Uploads 4 KiB a second, reads a page bit by bit, and has a tunnel open in which nothing happens for a while.
fn slow_but_honest(via: SocketAddr, to: SocketAddr) {
    let mut tunnel = Connection::open(via).unwrap();
    tunnel.send(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n")).unwrap();
    assert_eq!(tunnel.take(12).unwrap(), b"HTTP/1.1 200");
    while tunnel.take(1).unwrap() != b"\r" || tunnel.take(3).unwrap() != b"\n\r\n" {}
    // With a window as across the world: on loopback it is so large that a whole attack passes between two of its updates.
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    socket.connect(&via.into()).unwrap();
    let mut reader = Connection::over(socket.into()).unwrap();
    reader.slow_down(Duration::from_millis(40));
    reader.send(format!("GET http://{to}/big HTTP/1.1\r\nHost: {to}\r\n\r\n")).unwrap();
    let reader = thread::spawn(move || reader.response(false).unwrap());
    let mut client = Connection::open(via).unwrap();
    let length = PIECES * 1024;
    client.send(format!("POST http://{to}/echo HTTP/1.1\r\nHost: {to}\r\nContent-Length: {length}\r\n\r\n")).unwrap();
    for _ in 0..PIECES {
        client.send([b'x'; 1024]).unwrap();
        thread::sleep(Duration::from_millis(250));
    }
    let answer = client.response(false).unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, length));
    assert_eq!(reader.join().unwrap().body.len(), 3_000_000);
    assert_eq!(tunnel.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().status, 200);
}

fn from(address: [u8; 4], to: SocketAddr) -> Connection {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    Connection::over(socket.into()).unwrap()
}

#[test]
fn slow_heads_keep_nobody_waiting() {
    all_others_are_served(&["-H", "-i", "1", "-x", "24"], "/");
}

#[test]
fn slow_bodies_keep_nobody_waiting() {
    all_others_are_served(&["-B", "-i", "1", "-s", "8192", "-x", "10", "-t", "POST"], "/echo");
}

#[test]
fn ranges_keep_nobody_waiting() {
    all_others_are_served(&["-R", "-a", "5", "-b", "3000", "-t", "GET"], "/");
}

#[test]
fn slow_readers_keep_nobody_waiting() {
    all_others_are_served(&["-X", "-w", "1", "-y", "64", "-n", "5", "-z", "5", "-k", "3"], "/big");
}

const PLACES: usize = 100;
/// Of the upload that takes ten seconds.
const PIECES: usize = 40;
const ATTACKERS: &str = "300";
const SECONDS: &str = "15";
/// An answer during an attack, on a busy machine. Whoever had to wait for the attackers would wait for longer.
const AT_MOST: Duration = Duration::from_secs(8);
