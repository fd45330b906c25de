//! Where the proxy listens: unix sockets, several ports, and peers that announce whom they speak for.

mod announced;
mod unix;

use std::{fs, path::Path, time::Duration};

use test_support::{Connection, Lockgate, Origin, Signal, poll};

use crate::support::LOCKGATE;

const DEADLINE: Duration = Duration::from_secs(20);

/// What the origin was told of a request: its head.
fn told(client: &mut Connection, fields: &str) -> String {
    let response = client.exchange(format!("GET /head HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).unwrap();
    assert_eq!(response.status, 200);
    response.text().to_ascii_lowercase()
}

/// Reads the file again, until the program says that it has.
fn reload(lockgate: &mut Lockgate, config: &str, expected: &str) {
    fs::write(lockgate.file("lockgate.toml"), config).unwrap();
    let before = lockgate.output().len();
    lockgate.signal(Signal::HUP);
    poll(DEADLINE, || lockgate.output()[before..].contains(expected).then_some(()))
        .unwrap_or_else(|| panic!("{expected} is not told: {}", &lockgate.output()[before..]));
}

/// The lines of a log, once there are so many.
fn lines(log: &Path, number: usize) -> Vec<String> {
    poll(DEADLINE, || {
        let lines: Vec<_> = fs::read_to_string(log).ok()?.lines().map(str::to_owned).collect();
        (lines.len() >= number).then_some(lines)
    })
    .unwrap_or_else(|| panic!("{} lines are not there", number))
}

/// A chain that passes everything on.
fn upstream(origin: &Origin) -> String {
    format!("[[route]]\nchain = [{{ use = \"upstream\", servers = [\"{}\"] }}]\n", origin.address())
}

#[test]
fn several_ports_are_one_forward_proxy() {
    let origin = Origin::start().unwrap();
    let lockgate = Lockgate::run(
        LOCKGATE,
        "[[listener]]\nname = \"a\"\naddress = [\"127.0.0.1:0\", \"127.0.0.1:0\", \"[::1]:0\"]\n\
         [[route]]\nchain = [{ use = \"forward\" }]\n",
    )
    .unwrap();
    let mut ports: Vec<_> = lockgate.addresses().iter().map(|address| address.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 3);
    let to = origin.address();
    for address in lockgate.addresses() {
        let mut client = Connection::open(*address).unwrap();
        let page = client.exchange(format!("GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\n\r\n")).unwrap();
        assert!(page.status == 200 && *page.body == *origin.site().page.1, "{address}");
        let mut tunnel = Connection::open(*address).unwrap();
        tunnel.send(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n")).unwrap();
        assert!(tunnel.take(12).unwrap().starts_with(b"HTTP/1.1 200"), "{address}");
    }
}

#[test]
fn the_example_does_what_it_says() {
    let origin = Origin::start().unwrap();
    let example = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/listeners.toml")).unwrap();
    let replaced = [
        ("127.0.0.1:8888", "127.0.0.1:0"),
        ("127.0.0.1:3128", "127.0.0.1:0"),
        ("[::1]:8888", "[::1]:0"),
        ("127.0.0.1:8080", &origin.address().to_string()),
        ("127.0.0.1:8081", "127.0.0.1:0"),
        ("10.0.0.0/24", "127.0.0.1"),
        ("unix:/run/lockgate/proxy.sock", "unix:s"),
    ];
    let config = replaced.iter().fold(example, |text, (from, to)| {
        assert!(text.contains(from), "{from} is not in the example");
        text.replace(from, to)
    });
    let lockgate = Lockgate::run(LOCKGATE, &config).unwrap();
    let mut local = Connection::open_unix(&lockgate.file("s")).unwrap();
    assert!(told(&mut local, "X-Forwarded-For: 192.0.2.1\r\n").contains("x-forwarded-for: 192.0.2.1\r\n"));
    let to = origin.address();
    let (balanced, ports) = lockgate.addresses().split_last().unwrap();
    assert_eq!(ports.len(), 3);
    for address in ports {
        let mut client = Connection::open(*address).unwrap();
        let page = client.exchange(format!("GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\n\r\n")).unwrap();
        assert_eq!(page.status, 200, "{address}");
    }
    let mut silent = Connection::open(*balanced).unwrap();
    silent.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(silent.rest().unwrap(), b"", "a balancer says whom it speaks for");
}
