//! SIGHUP: a new configuration for the next request, and nothing for those who are being served.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use test_support::{Connection, Lockgate, Nginx, Origin, Place, Signal, Usage, Visitors, poll};

use crate::support::LOCKGATE;

/// A proxy whose file can be changed.
struct Reloading {
    lockgate: Lockgate,
    reloads: usize,
}

impl Reloading {
    fn start(config: &str) -> Self {
        Self { lockgate: Lockgate::run(LOCKGATE, config).unwrap(), reloads: 0 }
    }

    fn address(&self) -> SocketAddr {
        self.lockgate.address()
    }

    fn id(&self) -> u32 {
        self.lockgate.id()
    }

    fn open(&self) -> Connection {
        Connection::open(self.address()).unwrap()
    }

    /// Replaces the file and has it read.
    fn reload(&mut self, config: &str) {
        fs::write(self.lockgate.file("lockgate.toml"), config).unwrap();
        self.lockgate.signal(Signal::HUP);
        self.reloads += 1;
    }

    /// The same, until the program says that it is done.
    fn reloaded(&mut self, config: &str) {
        self.reload(config);
        let (wanted, lockgate) = (self.reloads, &self.lockgate);
        poll(DEADLINE, || (lockgate.output().matches(RELOADED).count() >= wanted).then_some(()))
            .unwrap_or_else(|| panic!("reload {wanted} is not told: {}", lockgate.output()));
    }

    /// A file that is not good, until the program says so.
    fn refused(&mut self, config: &str, reason: &str) {
        fs::write(self.lockgate.file("lockgate.toml"), config).unwrap();
        let before = self.lockgate.output().len();
        self.lockgate.signal(Signal::HUP);
        let lockgate = &self.lockgate;
        poll(DEADLINE, || lockgate.output()[before..].contains(reason).then_some(()))
            .unwrap_or_else(|| panic!("{reason} is not told: {}", &lockgate.output()[before..]));
    }
}

const DEADLINE: Duration = Duration::from_secs(20);

/// What the program says when the new configuration is in force.
const RELOADED: &str = "Reloading config file finished";

const LISTENER: &str = "[[listener]]\nname = \"proxy\"\naddress = [\"127.0.0.1:0\", \"[::1]:0\"]\n";

/// Everything goes where its client says, but for one host.
fn config(probe: &Origin) -> String {
    config_with(LISTENER, probe)
}

fn config_with(listeners: &str, probe: &Origin) -> String {
    format!(
        "{listeners}[[route]]\nname = \"probe\"\nhost = [\"probe.example\"]\n\
         chain = [{{ use = \"upstream\", servers = [\"{}\"] }}]\n\
         [[route]]\nname = \"forward\"\nchain = [{{ use = \"forward\" }}]\n",
        probe.address()
    )
}

fn probe(client: &mut Connection) {
    let response = client.exchange("GET / HTTP/1.1\r\nHost: probe.example\r\n\r\n").unwrap();
    assert_eq!(response.status, 200);
}

/// An origin that waits for a request, says what the test lets it say, and echoes what comes through a tunnel.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut stream));
        }
    });
    address
}

/// Bytes through a tunnel come back.
fn ping(tunnel: &mut Connection, text: &str) {
    tunnel.send(text).unwrap();
    assert_eq!(tunnel.take(text.len()).unwrap(), text.as_bytes());
}

fn tunnel(proxy: SocketAddr, to: SocketAddr) -> Connection {
    let mut client = Connection::open(proxy).unwrap();
    client.send(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n")).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.take(1).unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&head));
    client
}

/// Visitors who ask the proxy for the site by its whole address.
fn visitors(proxy: &Lockgate, origin: &Origin, number: usize) -> Visitors {
    let mut site = origin.site().behind(proxy.addresses().to_vec());
    let to = origin.address();
    for path in [&mut site.page.0, &mut site.download.0, &mut site.echo] {
        *path = format!("http://{to}{path}");
    }
    site.host = to.to_string();
    Visitors::start(&Place::Loopback, &site, number)
}

#[test]
fn a_thousand_reloads_under_load_lose_nothing_and_keep_nothing() {
    const WARM_UP: usize = 300;
    const RELOADS: usize = 1000;
    let (site, one, two) = (Origin::start().unwrap(), Origin::start().unwrap(), Origin::start().unwrap());
    let mut proxy = Reloading::start(&config(&one));
    let load = visitors(&proxy.lockgate, &site, 16);
    let mut client = proxy.open();
    let (mut baseline, mut afterwards) = (Usage::default(), Usage { resident: u64::MAX, ..Usage::default() });
    for number in 1..=WARM_UP + RELOADS {
        let probed = if number % 2 == 1 { &two } else { &one };
        proxy.reload(&config(probed));
        // In force when a request goes to the other origin.
        let before = probed.requests();
        let in_force = poll(DEADLINE, || {
            probe(&mut client);
            (probed.requests() > before).then_some(())
        });
        assert!(in_force.is_some(), "reload {number} changed nothing: {}", proxy.lockgate.output());
        // Memory goes up and down with the visitors: the highest level at the beginning is compared with the lowest at the end.
        let usage = || Usage::of_tree(proxy.id());
        if number % 10 == 0 && (WARM_UP - 100..=WARM_UP).contains(&number) {
            let usage = usage();
            baseline = Usage { resident: baseline.resident.max(usage.resident), ..usage };
        } else if number % 10 == 0 && number > WARM_UP + RELOADS - 100 {
            let usage = usage();
            afterwards = Usage { resident: afterwards.resident.min(usage.resident), ..usage };
        }
    }
    let report = load.stop();
    assert_eq!(report.failed, 0, "{:#?}", report.reasons);
    assert!(report.requests > 1000, "only {} requests", report.requests);
    eprintln!("{} requests, {baseline:?}, then {afterwards:?}", report.requests);
    // A leaked generation, with its routes and chains, would show a thousand times; connections come and go by a few.
    let grown = afterwards.resident.saturating_sub(baseline.resident);
    assert!(grown < RESIDENT_MARGIN, "{} KiB more are resident", grown / 1024);
    let more = afterwards.descriptors.saturating_sub(baseline.descriptors);
    assert!(more <= DESCRIPTOR_MARGIN, "{more} more descriptors are open");
    let more = afterwards.threads.saturating_sub(baseline.threads);
    assert!(more <= THREAD_MARGIN, "{} threads became {}", baseline.threads, afterwards.threads);

    // Without visitors nothing of them is left but connections to origins that are kept for the next ones.
    drop(client);
    let quiet = || Usage::of_tree(proxy.id()).descriptors;
    poll(DEADLINE, || (quiet() <= baseline.descriptors).then_some(()))
        .unwrap_or_else(|| panic!("{} descriptors, {} under load", quiet(), baseline.descriptors));
}

/// What an allocator under load keeps a little longer. A generation takes more than the thousandth part of it.
const RESIDENT_MARGIN: u64 = 10 << 20;

/// Threads that do work on files for a while.
const THREAD_MARGIN: u64 = 8;

/// Connections that are being opened or closed at a moment: the visitors', and those to origins.
const DESCRIPTOR_MARGIN: usize = 16;

#[test]
fn the_next_request_of_a_kept_connection_finds_the_new_route() {
    let (one, two) = (Origin::start().unwrap(), Origin::start().unwrap());
    let mut proxy = Reloading::start(&config(&one));
    let mut client = proxy.open();
    probe(&mut client);
    assert_eq!((one.requests(), two.requests()), (1, 0));
    proxy.reloaded(&config(&two));
    probe(&mut client);
    assert_eq!((one.requests(), two.requests()), (1, 1));
}

#[test]
fn a_file_that_is_not_good_changes_nothing() {
    let (one, two) = (Origin::start().unwrap(), Origin::start().unwrap());
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken = taken.local_addr().unwrap();
    let mut proxy = Reloading::start(&config(&one));
    let mut client = proxy.open();
    let good = config(&two);
    let more = Place::Loopback.reserve(Ipv4Addr::LOCALHOST, 0).unwrap();
    let addresses = proxy.lockgate.addresses().to_vec();
    for (bad, reason) in [
        (format!("{good}nonsense"), "lockgate.toml"),
        (good.replace("\"upstream\"", "\"upstreem\""), "upstreem"),
        (good.replace("host =", "hosts ="), "hosts"),
        (good.replace("probe.example", "*.*"), "*.*"),
        // One of the new listeners could be opened, the other one not: then neither is.
        (
            config_with(
                &format!(
                    "{LISTENER}[[listener]]\nname = \"more\"\naddress = [\"{}\"]\n\
                     [[listener]]\nname = \"taken\"\naddress = [\"{taken}\"]\n",
                    more.address()
                ),
                &two,
            ),
            "in use",
        ),
        (String::new(), "listener"),
    ] {
        proxy.refused(&bad, reason);
        probe(&mut client);
        probe(&mut proxy.open());
        for address in &addresses {
            TcpStream::connect(address).unwrap();
        }
        assert!(TcpStream::connect(more.address()).is_err(), "half of {bad} is in force");
    }
    fs::remove_file(proxy.lockgate.file("lockgate.toml")).unwrap();
    let before = proxy.lockgate.output().len();
    proxy.lockgate.signal(Signal::HUP);
    poll(DEADLINE, || proxy.lockgate.output()[before..].contains("lockgate.toml").then_some(())).unwrap();
    probe(&mut client);
    assert_eq!((one.requests(), two.requests()), (13, 0));
    proxy.reloaded(&good);
    probe(&mut client);
    assert_eq!((one.requests(), two.requests()), (13, 1));
}

#[test]
fn listeners_come_and_go() {
    let origin = Origin::start().unwrap();
    let reserved = [(); 2].map(|()| Place::Loopback.reserve(Ipv4Addr::LOCALHOST, 0).unwrap());
    let ports = [reserved[0].address(), reserved[1].address()];
    let listener =
        |name: &str, address: SocketAddr| format!("[[listener]]\nname = \"{name}\"\naddress = [\"{address}\"]\n");
    let (first, second) = (listener("first", ports[0]), listener("second", ports[1]));
    let mut proxy = Reloading::start(&config_with(&first, &origin));
    let mut kept = Connection::open(ports[0]).unwrap();
    probe(&mut kept);
    assert!(TcpStream::connect(ports[1]).is_err());

    proxy.reloaded(&config_with(&format!("{first}{second}"), &origin));
    probe(&mut kept);
    probe(&mut Connection::open(ports[1]).unwrap());

    // Its address stays, under another name.
    proxy.reloaded(&config_with(&first.replace("first", "other"), &origin));
    probe(&mut kept);
    probe(&mut Connection::open(ports[0]).unwrap());
    let gone = poll(DEADLINE, || TcpStream::connect(ports[1]).is_err().then_some(()));
    assert!(gone.is_some(), "a listener that was removed still takes connections");
}

#[test]
fn what_is_under_way_survives_its_listener() {
    let (origin, echo) = (Origin::start().unwrap(), echo());
    let nginx = Nginx::start_at(&Place::Loopback, 0).unwrap();
    let reserved = Place::Loopback.reserve(Ipv4Addr::LOCALHOST, 0).unwrap();
    let old = reserved.address();
    let listener = format!("[[listener]]\nname = \"old\"\naddress = [\"{old}\"]\n");
    let mut proxy = Reloading::start(&config_with(&format!("{listener}{LISTENER}"), &origin));
    let proxies = [old, *proxy.lockgate.addresses().iter().find(|address| **address != old).unwrap()];
    let mut tunnels = proxies.map(|proxy| tunnel(proxy, echo));
    let downloads = proxies.map(|proxy| {
        let mut client = Connection::open(proxy).unwrap();
        let (path, content) = nginx.site().download;
        let to = nginx.addresses()[0];
        client.send(format!("GET http://{to}{path} HTTP/1.1\r\nHost: {to}\r\n\r\n")).unwrap();
        client.slow_down(Duration::from_millis(10));
        // At this pace the file, which does not fit into the buffers of the sockets on the way, takes longer than what follows.
        thread::spawn(move || {
            let since = Instant::now();
            let response = client.response(false).unwrap();
            assert!(response.body == *content, "{} bytes arrived", response.body.len());
            since.elapsed()
        })
    });
    tunnels.iter_mut().for_each(|tunnel| ping(tunnel, "before"));
    for _ in 0..3 {
        proxy.reloaded(&config(&origin));
        tunnels.iter_mut().for_each(|tunnel| ping(tunnel, "after"));
    }
    let reloaded = downloads.iter().all(|download| !download.is_finished());
    assert!(reloaded, "the downloads were over before the reloads");
    poll(DEADLINE, || TcpStream::connect(old).is_err().then_some(())).expect("the listener is gone");
    for download in downloads {
        download.join().unwrap();
    }
    tunnels.iter_mut().for_each(|tunnel| ping(tunnel, "at the end"));
    drop(tunnels);
    let mut client = Connection::open(proxies[1]).unwrap();
    probe(&mut client);
}

#[test]
fn a_burst_of_signals_ends_with_the_last_file() {
    let (one, two) = (Origin::start().unwrap(), Origin::start().unwrap());
    let mut proxy = Reloading::start(&config(&one));
    for number in 0..200 {
        proxy.reload(&config(if number % 2 == 0 { &two } else { &one }));
    }
    proxy.reload(&config(&two));
    let before = two.requests();
    let mut client = proxy.open();
    poll(DEADLINE, || {
        probe(&mut client);
        (two.requests() > before).then_some(())
    })
    .expect("the last file is in force");
    // And stays so.
    let settled = |origin: &Origin| origin.requests();
    let last = poll(DEADLINE, || {
        let before = settled(&one);
        (0..50).for_each(|_| probe(&mut client));
        (settled(&one) == before).then_some(())
    });
    assert!(last.is_some(), "the first file comes back");
    assert!(proxy.lockgate.is_running());
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\nHost: probe.example\r\n\r\n").unwrap();
    assert!(stream.read(&mut [0; 16]).unwrap() > 0);
}
