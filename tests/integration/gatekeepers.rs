//! Who is let in, by address, by name and by password: as tinyproxy does it.

use std::{
    fmt::Write as _,
    fs,
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    process::Command,
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use test_support::{
    Connection, HostsFile, Lockgate, Network, Origin, Place, Process, Signal, Tinyproxy, poll, scratch_dir,
};

use crate::support::LOCKGATE;

const DEADLINE: Duration = Duration::from_secs(20);

/// Lockgate and tinyproxy with the same lines.
struct Pair {
    ours: Process,
    address: SocketAddr,
    theirs: Tinyproxy,
    _directory: TempDir,
}

impl Pair {
    fn start(place: &Place, lines: &str) -> Self {
        let directory = scratch_dir().unwrap();
        let file = directory.path().join("t.conf");
        let reserved = place.reserve_both(0).unwrap();
        let listen: String = reserved.iter().map(|held| format!("Listen {}\n", held.address().ip())).collect();
        let address = reserved[0].address();
        fs::write(&file, format!("Port {}\n{listen}Timeout 60\n{lines}\n", address.port())).unwrap();
        drop(reserved);
        let mut command = place.command(LOCKGATE);
        command.args(["tinyproxy", "-d", "-c"]).arg(&file);
        let mut ours = Process::spawn(&command).unwrap();
        ours.wait_for_port(place, address, DEADLINE).unwrap();
        let theirs = Tinyproxy::start_at(place, 0, lines).unwrap();
        Self { ours, address, theirs, _directory: directory }
    }

    /// What tinyproxy answers, and what we do.
    fn ask(&self, place: &Place, from: &str, request: &str) -> (String, String) {
        let from: IpAddr = from.parse().unwrap();
        let to = |address: SocketAddr| {
            // Both listen on both.
            let to = match (from, address.ip()) {
                (IpAddr::V4(_), IpAddr::V4(_)) => address.ip(),
                (IpAddr::V4(_), IpAddr::V6(_)) => [127, 0, 0, 1].into(),
                (IpAddr::V6(_), _) => std::net::Ipv6Addr::LOCALHOST.into(),
            };
            answer(&mut dial(place, from, (to, address.port()).into()), request)
        };
        (to(self.theirs.addresses()[0]), to(self.address))
    }
}

/// Connects from an address of this machine.
fn dial(place: &Place, from: IpAddr, to: SocketAddr) -> Connection {
    let connect = || {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect_timeout(&to.into(), DEADLINE)?;
        std::io::Result::Ok(TcpStream::from(socket))
    };
    Connection::over(place.enter(connect).unwrap().unwrap()).unwrap()
}

/// Status, reason, and what is asked for.
fn answer(client: &mut Connection, request: &str) -> String {
    client.send(request).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.take(1).unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let mut answer = lines.next().unwrap().split_once(' ').unwrap().1.to_owned();
    for line in lines.filter(|line| line.to_ascii_lowercase().contains("-authenticate:")) {
        // Names of fields are written in lower case here.
        let (name, value) = line.split_once(':').unwrap();
        let _ = write!(answer, "; {}:{value}", name.to_ascii_lowercase());
    }
    answer
}

fn get(to: SocketAddr, fields: &str) -> String {
    format!("GET http://{to}/ HTTP/1.0\r\nHost: {to}\r\n{fields}\r\n")
}

fn connect(to: SocketAddr, fields: &str) -> String {
    format!("CONNECT {to} HTTP/1.0\r\nHost: {to}\r\n{fields}\r\n")
}

#[test]
fn addresses_are_let_in_as_by_tinyproxy() {
    let origin = Origin::start().unwrap();
    // tinyproxy 1.11.1 misreads the address of the first IPv6 client after one of IPv4: it is asked by IPv6 first.
    let clients = ["::1", "127.0.0.1", "127.0.5.9", "127.1.0.1"];
    for (lines, let_in) in [
        ("Allow 127.0.0.1\nAllow ::1", [true, true, false, false]),
        ("Deny 127.0.0.1\nAllow 127.0.0.0/8", [false, false, true, true]),
        ("Allow 127.0.0.0/8\nDeny 127.0.0.1", [false, true, true, true]),
        ("Allow 127.0.9.9/16", [false, true, true, false]),
        ("Allow 0.0.0.0/0", [false, true, true, true]),
        ("Allow ::/0", [true, true, true, true]),
        ("Deny ::/0\nAllow 127.0.0.1", [false; 4]),
        ("Deny ::1", [false; 4]),
        ("Allow 127.0.0.1/33", [false; 4]),
        ("Allow ::1/128\nDeny 127.0.0.0/16\nAllow 127.0.0.0/8", [true, false, false, true]),
        ("", [true; 4]),
    ] {
        let mut pair = Pair::start(&Place::Loopback, lines);
        for (client, is_let_in) in clients.into_iter().zip(let_in) {
            for (request, expected) in [
                (get(origin.address(), ""), "200 Experiment"),
                (connect(origin.address(), ""), "200 Connection established"),
            ] {
                let expected = if is_let_in { expected } else { "403 Access denied" };
                let (theirs, ours) = pair.ask(&Place::Loopback, client, &request);
                assert_eq!((theirs.as_str(), ours.as_str()), (expected, expected), "{lines}\n{client}: {request}");
            }
        }
        for (client, is_let_in) in clients.into_iter().zip(let_in) {
            let line = format!("Unauthorized connection from \"{client}\".");
            let is_told = |log: &str| log.lines().any(|told| told.starts_with("NOTICE ") && told.ends_with(&line));
            let agree = || [pair.ours.output(), pair.theirs.output()].iter().all(|log| is_told(log) != is_let_in);
            poll(DEADLINE, || agree().then_some(())).unwrap_or_else(|| panic!("{client}: {}", pair.ours.output()));
        }
        assert!(pair.ours.exit_status().is_none());
    }
}

/// Nobody whom no chain would serve gets to hold a place by saying nothing; whom an earlier plugin serves is heard.
#[test]
fn who_may_not_come_hears_so_before_he_asks() {
    let rules = "{ use = \"access\", rules = [{ allow = \"127.0.0.1\" }] }";
    let lockgate = |chains: &[&str]| {
        let routes: String = chains.iter().map(|chain| format!("[[route]]\nchain = [{chain}]\n")).collect();
        let config = format!("[[listener]]\nname = \"proxy\"\naddress = [\"127.0.0.1:0\"]\n{routes}");
        Lockgate::run(LOCKGATE, &config).unwrap()
    };
    let from = [127, 0, 0, 9].into();
    let closed = format!("{rules}, {{ use = \"forward\" }}");
    let denying = lockgate(&[&closed, &closed]);
    let mut client = dial(&Place::Loopback, from, denying.address());
    assert_eq!(answer(&mut client, ""), "403 Access denied");
    for garbage in ["\0\0\0\0\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"] {
        let mut client = dial(&Place::Loopback, from, denying.address());
        assert_eq!(answer(&mut client, garbage), "403 Access denied", "{garbage:?}");
        let mut client = dial(&Place::Loopback, [127, 0, 0, 1].into(), denying.address());
        assert_ne!(answer(&mut client, garbage), "403 Access denied", "{garbage:?}");
    }

    // Another route would serve him, or an earlier plugin.
    let (open, stats) = ("{ use = \"forward\" }", format!("{{ use = \"stats\", path = \"/s\" }}, {closed}"));
    for chains in [&[&*closed, open][..], &[&*stats]] {
        let lockgate = lockgate(chains);
        let mut client = dial(&Place::Loopback, from, lockgate.address());
        let page = answer(&mut client, "GET /s HTTP/1.0\r\nHost: a\r\n\r\n");
        assert_eq!(page, if chains.len() == 1 { "200 OK" } else { "403 Access denied" });
    }
}

/// Names that are known within the namespace only.
const NAMES: [(&str, [u8; 4]); 4] = [
    ("site.example", [127, 0, 0, 2]),
    ("c.site.example", [127, 0, 0, 3]),
    ("c.badsite.example", [127, 0, 0, 4]),
    ("other.example", [127, 0, 0, 5]),
];

#[test]
fn names_are_let_in_as_by_tinyproxy_but_end_at_a_dot() {
    let network = Network::new(["named"]).unwrap();
    let [namespace] = network.hosts();
    let place = Place::from(namespace);
    let _hosts = HostsFile::new(namespace, &NAMES.map(|(name, ip)| (name, ip.into()))).unwrap();
    let origin = Origin::start_at(&place, 0).unwrap();
    let to = origin.address();
    let clients = ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.77"];
    for (lines, let_in) in [
        ("Allow .site.example", [false, true, false, false, false]),
        ("Allow site.example", [true, true, false, false, false]),
        ("Allow C.Site.Example", [false, true, false, false, false]),
        ("Deny .site.example\nAllow 127.0.0.0/8", [true, false, true, true, true]),
        ("Deny other.example\nAllow .example", [true, true, true, false, false]),
        ("Allow unknown.example\nAllow 127.0.0.5\nDeny site.example", [false, false, false, true, false]),
        ("Deny unknown.example\nDeny .unknown.example\nAllow 127.0.0.0/8", [true; 5]),
    ] {
        let pair = Pair::start(&place, lines);
        for (client, is_let_in) in clients.into_iter().zip(let_in) {
            let expected = if is_let_in { "200 Experiment" } else { "403 Access denied" };
            let (theirs, ours) = pair.ask(&place, client, &get(to, ""));
            assert_eq!(ours, expected, "{lines}\n{client}");
            // tinyproxy compares letters, so to it `badsite.example` ends in `site.example`.
            let is_deviation = client == "127.0.0.4" && lines == "Allow site.example";
            assert_eq!(theirs == expected, !is_deviation, "{lines}\n{client}: {theirs}");
        }
    }
}

/// Clients whose names nobody tells cost the others nothing, and are not let in.
#[test]
fn a_silent_name_service_delays_only_those_who_depend_on_it() {
    let network = Network::new(["silent"]).unwrap();
    let [namespace] = network.hosts();
    let place = Place::from(namespace);
    let _hosts = HostsFile::new(namespace, &[("known.slow.example", [127, 0, 0, 3].into())]).unwrap();
    let _silent = place.enter(|| UdpSocket::bind("127.0.0.1:53")).unwrap().unwrap();
    let origin = Origin::start_at(&place, 0).unwrap();
    let request = get(origin.address(), "");
    let start = |rules: &str| {
        let config = format!(
            "[[listener]]\nname = \"proxy\"\naddress = [\"127.0.0.1:0\"]\n\
             [[route]]\nchain = [{{ use = \"access\", lookup_timeout = \"1s\", {rules} }}, {{ use = \"forward\" }}]\n"
        );
        Lockgate::run_at(&place, LOCKGATE, &config).unwrap()
    };
    let ask = |lockgate: &Lockgate, from: [u8; 4]| {
        let started = Instant::now();
        let answer = answer(&mut dial(&place, from.into(), lockgate.address()), &request);
        (answer, started.elapsed())
    };

    let lockgate = start("rules = [{ allow = \"127.0.0.9\" }, { allow = \".slow.example\" }]");
    // More than there are look-ups at once.
    let mut waiting: Vec<_> = (0..100)
        .map(|last| {
            let mut client = dial(&place, [127, 0, 1, last].into(), lockgate.address());
            client.send(&request).unwrap();
            client
        })
        .collect();
    let (status, time) = ask(&lockgate, [127, 0, 0, 9]);
    assert!(status == "200 Experiment" && time < Duration::from_millis(900), "{status} after {time:?}");
    for client in &mut waiting {
        assert_eq!(answer(client, ""), "403 Access denied");
    }

    let (slots, unknown) = (start("rules = [{ allow = \".slow.example\" }]"), [127, 0, 2, 1]);
    assert_eq!(ask(&slots, [127, 0, 0, 3]).0, "200 Experiment");
    let (status, time) = ask(&slots, unknown);
    assert!(status == "403 Access denied" && time > Duration::from_millis(900), "{status} after {time:?}");
    let (status, time) = ask(&slots, unknown);
    assert!(status == "403 Access denied" && time < Duration::from_millis(900), "{status} after {time:?}");

    let denied = "rules = [{ deny = \".slow.example\" }, { allow = \"::/0\" }]";
    assert_eq!(ask(&start(denied), unknown).0, "403 Access denied");
    assert_eq!(ask(&start(&format!("{denied}, unresolved = \"pass\"")), unknown).0, "200 Experiment");
}

const GOOD: &str = "Basic dXNlcjpzZWNyZXQ="; // user:secret
const SECOND: &str = "Basic YS1iX2MuZDp4"; // a-b_c.d:x
const WRONG: &str = "Basic dXNlcjpzZWNyZXM="; // user:secres

#[test]
fn passwords_are_asked_for_as_by_tinyproxy() {
    let origin = Origin::start().unwrap();
    let (to, port) = (origin.address(), origin.address().port());
    let lines = format!("BasicAuth user secret\nBasicAuth a-b_c.d x\nReversePath \"/r/\" \"http://{to}/\"");
    let mut pair = Pair::start(&Place::Loopback, &lines);
    let asked = "407 Proxy Authentication Required; proxy-authenticate: Basic realm=\"Tinyproxy\"";
    let proxy = |value: &str| format!("Proxy-Authorization: {value}\r\n");
    let reverse = |fields: &str| format!("GET /r/ HTTP/1.0\r\nHost: localhost:{port}\r\n{fields}\r\n");
    let transparent = |fields: &str| format!("GET / HTTP/1.0\r\nHost: localhost:{port}\r\n{fields}\r\n");
    for (request, passed) in [
        (&(|fields: &str| get(to, fields)) as &dyn Fn(&str) -> String, "200 Experiment"),
        (&|fields: &str| connect(to, fields), "200 Connection established"),
        (&reverse, "200 Experiment"),
        (&transparent, "200 Experiment"),
    ] {
        for (fields, expected) in [
            (String::new(), asked),
            (format!("Authorization: {GOOD}\r\n"), asked),
            (proxy(GOOD), passed),
            (proxy(SECOND), passed),
            (proxy(&GOOD.replace("Basic", "basic")), passed),
        ] {
            let request = request(&fields);
            let (theirs, ours) = pair.ask(&Place::Loopback, "127.0.0.1", &request);
            assert_eq!((theirs.as_str(), ours.as_str()), (expected, expected), "{request}");
        }
        for wrong in [WRONG, "Basic dXNlcg==", "Basic dXNlcjpzZWNyZXQ", "Digest dXNlcjpzZWNyZXQ=", "Basic", "x"] {
            let request = request(&proxy(wrong));
            let (theirs, ours) = pair.ask(&Place::Loopback, "127.0.0.1", &request);
            assert_eq!(ours, asked, "{request}");
            // Before 1.11.3 it was 401.
            let is_refused = theirs == asked || theirs.starts_with("401 Unauthorized; www-authenticate: ");
            assert!(is_refused, "{request} {theirs}");
        }
    }
    // Nothing that failed is told without an attempt; an attempt is told with the words that scripts look for.
    let failed = "Failed auth attempt (file descriptor: 0), ip 127.0.0.1";
    let told = |log: &str| log.lines().filter(|line| line.starts_with("INFO ") && line.ends_with(failed)).count();
    poll(DEADLINE, || (told(&pair.ours.output()) == 4 * 6).then_some(())).expect("each failure is told");
    assert!(!pair.ours.output().contains("secret") && pair.ours.exit_status().is_none());
    assert!(!pair.ours.output().contains("dXNlcjpz"));
}

#[test]
fn the_page_of_statistics_asks_like_a_site() {
    let pair = Pair::start(&Place::Loopback, "BasicAuth user secret");
    let request = |fields: &str| format!("GET / HTTP/1.0\r\nHost: tinyproxy.stats\r\n{fields}\r\n");
    let asked = "401 Unauthorized; www-authenticate: Basic realm=\"Tinyproxy\"";
    for fields in [String::new(), format!("Authorization: {WRONG}\r\n")] {
        let (theirs, ours) = pair.ask(&Place::Loopback, "127.0.0.1", &request(&fields));
        assert_eq!((theirs.as_str(), ours.as_str()), (asked, asked), "{fields}");
    }
    for name in ["Authorization", "Proxy-Authorization"] {
        let fields = format!("{name}: {GOOD}\r\n");
        let (theirs, ours) = pair.ask(&Place::Loopback, "127.0.0.1", &request(&fields));
        assert!(theirs.starts_with("200 ") && ours.starts_with("200 "), "{fields}: {theirs}, {ours}");
    }
}

#[test]
fn the_address_comes_before_the_password_and_the_password_before_the_port() {
    let origin = Origin::start().unwrap();
    let lines = "Deny 127.0.0.9\nAllow 127.0.0.0/8\nBasicAuth user secret\nConnectPort 1";
    let pair = Pair::start(&Place::Loopback, lines);
    let good = format!("Proxy-Authorization: {GOOD}\r\n");
    for (from, fields, expected) in [
        ("127.0.0.9", "", "403 Access denied"),
        ("127.0.0.9", &*good, "403 Access denied"),
        ("127.0.0.1", "", "407 Proxy Authentication Required; proxy-authenticate: Basic realm=\"Tinyproxy\""),
        ("127.0.0.1", &good, "403 Access violation"),
    ] {
        let (theirs, ours) = pair.ask(&Place::Loopback, from, &connect(origin.address(), fields));
        assert_eq!((theirs.as_str(), ours.as_str()), (expected, expected), "{from} {fields}");
    }
    assert_eq!(origin.connections(), 0);
}

fn proxy(links: &str) -> Lockgate {
    let config = format!(
        "[[listener]]\nname = \"proxy\"\naddress = [\"127.0.0.1:0\"]\n\
         [[route]]\nchain = [{links}, {{ use = \"forward\" }}]\n"
    );
    Lockgate::run(LOCKGATE, &config).unwrap()
}

const USER: &str = "users = [{ name = \"user\", password = \"secret\" }]";

#[test]
fn every_request_of_a_connection_is_asked() {
    let origin = Origin::start().unwrap();
    let to = origin.address();
    let lockgate = proxy(&format!("{{ use = \"basic-auth\", {USER} }}"));
    let good = format!("Proxy-Authorization: {GOOD}\r\n");
    let request = |fields: &str| format!("GET http://{to}/head HTTP/1.1\r\nHost: {to}\r\n{fields}\r\n");
    let mut client = Connection::open(lockgate.address()).unwrap();
    for (fields, expected) in [("", 407), (&*good, 200), ("", 407), (&good, 200)] {
        let response = client.exchange(request(fields)).unwrap();
        assert_eq!(response.status, expected);
        assert!(!response.text().to_lowercase().contains("authorization"), "{}", response.text());
    }
    // All in one packet: what follows a request that passed is no part of it.
    client.send([request(&good), request(""), request(&good)].concat()).unwrap();
    let statuses = [(); 3].map(|()| client.response(false).unwrap().status);
    assert_eq!((statuses, origin.requests()), ([200, 407, 200], 4));
    // What is for the server behind the proxy reaches it.
    let response = client.exchange(request(&format!("{good}Authorization: Bearer x\r\n"))).unwrap();
    assert!(response.text().contains("Bearer x"), "{}", response.text());
    let tunnel = |fields: &str| format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{fields}\r\n");
    assert_eq!(client.exchange(tunnel("")).unwrap().status, 407);
    let mut client = Connection::open(lockgate.address()).unwrap();
    client.send(tunnel(&good)).unwrap();
    assert_eq!(client.take(12).unwrap(), b"HTTP/1.1 200");
    while client.take(1).unwrap() != b"\r" || client.take(3).unwrap() != b"\n\r\n" {}
    assert_eq!(client.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().status, 200, "the tunnel is open");
}

#[test]
fn a_site_is_protected_and_keeps_the_password_to_itself() {
    let origin = Origin::start().unwrap();
    let config = format!(
        "[[listener]]\nname = \"site\"\naddress = [\"127.0.0.1:0\"]\n\
         [[route]]\nchain = [{{ use = \"basic-auth\", {USER} }}, {{ use = \"upstream\", servers = [\"{}\"] }}]\n",
        origin.address()
    );
    let lockgate = Lockgate::run(LOCKGATE, &config).unwrap();
    let mut client = Connection::open(lockgate.address()).unwrap();
    let mut ask =
        |path: &str, fields: &str| client.exchange(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).unwrap();
    let refused = ask("/head", "");
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Basic realm=\"Lockgate\"")));
    assert_eq!(ask("/head", &format!("Proxy-Authorization: {GOOD}\r\n")).status, 401);
    let seen = ask("/head", &format!("Authorization: {GOOD}\r\nX-A: 1\r\n")).text().to_lowercase();
    assert!(seen.contains("x-a: 1") && !seen.contains("authorization"), "{seen}");
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    assert_eq!(ask("/upgrade", upgrade).status, 401, "an upgrade is no way around");
    assert_eq!(ask("/upgrade", &format!("{upgrade}Authorization: {GOOD}\r\n")).status, 101);
}

/// Hashes of `secret` and of `secres`, made by crypt(3).
const HASHES: [&str; 2] = [
    "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
    "$2y$05$abcdefghijklmnopqrstuuIaXK4t/qyz9py7Lw4.qK7d7AFb1Ivyu",
];

#[test]
fn a_file_of_hashes_is_read_again_at_a_reload() {
    let origin = Origin::start().unwrap();
    let directory = scratch_dir().unwrap();
    let file = directory.path().join("htpasswd");
    fs::write(&file, format!("user:{}\n", HASHES[0])).unwrap();
    let mut lockgate = proxy(&format!("{{ use = \"basic-auth\", file = \"{}\" }}", file.display()));
    let status = |lockgate: &Lockgate, value: &str| {
        let request = get(origin.address(), &format!("Proxy-Authorization: {value}\r\n"));
        Connection::open(lockgate.address()).unwrap().exchange(request).unwrap().status
    };
    let reload = |lockgate: &mut Lockgate, line: &str| {
        let before = lockgate.output().matches(line).count();
        lockgate.signal(Signal::HUP);
        poll(DEADLINE, || (lockgate.output().matches(line).count() > before).then_some(())).expect(line);
    };
    assert_eq!([GOOD, WRONG].map(|value| status(&lockgate, value)), [200, 407]);
    fs::write(&file, format!("user:{}\n", HASHES[1])).unwrap();
    reload(&mut lockgate, "Reloading config file finished");
    assert_eq!([GOOD, WRONG].map(|value| status(&lockgate, value)), [407, 200], "what was remembered is forgotten");
    fs::write(&file, "user:plain\n").unwrap();
    reload(&mut lockgate, "Reloading config file failed");
    assert_eq!([GOOD, WRONG].map(|value| status(&lockgate, value)), [407, 200], "the old ones are still good");
    let check =
        Command::new(LOCKGATE).args(["check", "--config"]).arg(lockgate.file("lockgate.toml")).output().unwrap();
    let told = String::from_utf8(check.stderr).unwrap();
    assert!(!check.status.success() && told.contains("line 1 of the file"), "{told}");
}

/// The file that Debian's package brings, but for its port and the places that it writes to.
#[test]
fn debians_own_file_runs() {
    test_support::require("tinyproxy").unwrap();
    let debians = "/etc/tinyproxy/tinyproxy.conf";
    let check = Command::new(LOCKGATE).args(["check", "--config", debians]).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));

    let directory = scratch_dir().unwrap();
    let place = directory.path().join("writable");
    fs::create_dir(&place).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
    let mut text = fs::read_to_string(debians).unwrap();
    let port = Place::Loopback.reserve_both(0).unwrap();
    let place_text = place.to_str().unwrap();
    let number = format!("\nPort {}\n", port[0].port());
    for (from, to) in [("\nPort 8888\n", &*number), ("/var/log/tinyproxy", place_text), ("/run/tinyproxy", place_text)]
    {
        assert!(text.contains(from) && text.contains("\nAllow 127.0.0.1\n"), "{from} is not in\n{text}");
        text = text.replace(from, to);
    }
    let file = directory.path().join("tinyproxy.conf");
    fs::write(&file, text).unwrap();
    let addresses = port.each_ref().map(test_support::Reservation::address);
    drop(port);
    let mut process = Process::spawn(Command::new(LOCKGATE).args(["tinyproxy", "-d", "-c"]).arg(&file)).unwrap();
    let origin = Origin::start().unwrap();
    let request = get(origin.address(), "");
    for address in addresses {
        process.wait_for_port(&Place::Loopback, address, DEADLINE).unwrap();
        assert_eq!(answer(&mut Connection::open(address).unwrap(), &request), "200 Experiment");
    }
    let stranger = &mut dial(&Place::Loopback, [127, 0, 0, 9].into(), addresses[0]);
    assert_eq!(answer(stranger, &request), "403 Access denied");
    poll(DEADLINE, || {
        let log = fs::read_to_string(place.join("tinyproxy.log")).ok()?;
        log.contains("Unauthorized connection from \"127.0.0.9\".").then_some(())
    })
    .expect("the refusal is in its log");
    process.signal(Signal::TERM);
    assert!(process.wait(DEADLINE).unwrap().success());
}
