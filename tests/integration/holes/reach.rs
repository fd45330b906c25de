//! Where the proxy itself can be led.

use test_support::{Connection, HostsFile, Lockgate, Network, Origin, Place};

use super::{Proxy, Recorder, connect, get};
use crate::support::LOCKGATE;

/// Spellings of 127.0.0.1 that systems understand (inet_aton(3)).
const LOOPBACK: [&str; 9] = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "[::ffff:127.0.0.1]",
];

/// A numeric `Upstream` rule was compared with memory that nobody had written when the host was a name. It is about hosts that
/// are written as addresses, each time.
#[test]
fn numeric_upstream_rules_are_about_addresses() {
    let origin = Recorder::start();
    let port = origin.address.port();
    for spec in ["0.0.0.0/0", "127.0.0.0/8", "127.0.0.1", "127.0.0.0/255.0.0.0", "127.0.0/8"] {
        let proxy = Proxy::start(&format!("Upstream http 127.0.0.1:1 \"{spec}\""));
        for _ in 0..50 {
            assert_eq!(proxy.status(get(&format!("http://localhost:{port}/"))), 200, "{spec}");
            assert_eq!(proxy.status(get(&format!("http://127.0.0.1:{port}/"))), 502, "{spec}");
        }
    }
    let proxy = Proxy::start("Upstream http 127.0.0.1:1 \"10.0.0.0/8\"\nUpstream http 127.0.0.1:1 \"::/0\"");
    for _ in 0..50 {
        for host in ["localhost", "127.0.0.1"] {
            assert_eq!(proxy.status(get(&format!("http://{host}:{port}/"))), 200, "{host}");
        }
    }
}

/// The idiom by which configurations of tinyproxy keep clients from this machine: an address in any spelling goes nowhere.
#[test]
fn addresses_that_lead_nowhere_have_no_other_spelling() {
    let origin = Recorder::start();
    let port = origin.address.port();
    let proxy = Proxy::start("Upstream http 0.0.0.0:0 \"127.0.0.0/8\"");
    for host in LOOPBACK {
        for request in [
            get(&format!("http://{host}:{port}/")),
            format!("GET / HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n"),
            connect(format!("{host}:{port}")),
        ] {
            let status = proxy.status(&request);
            assert!([400, 502].contains(&status), "{request}: {status}");
        }
    }
    assert_eq!(origin.seen(), "");
}

/// `public_only` looks at what names lead to, so a name of somebody else's is no way to this machine or to a cloud's metadata.
#[test]
fn names_that_lead_inside_are_refused() {
    let network = Network::new(["inside"]).unwrap();
    let [namespace] = network.hosts();
    let place = Place::from(namespace);
    let names = [
        ("loopback.example", [127, 0, 0, 1].into()),
        ("v6.example", std::net::Ipv6Addr::LOCALHOST.into()),
        ("metadata.example", [169, 254, 169, 254].into()),
        ("private.example", namespace.ipv4().into()),
        ("unspecified.example", [0, 0, 0, 0].into()),
        // One address of two would do.
        ("both.example", [192, 0, 2, 1].into()),
        ("both.example", [127, 0, 0, 1].into()),
    ];
    let _hosts = HostsFile::new(namespace, &names).unwrap();
    let origin = Origin::start_at(&place, 0).unwrap();
    let port = origin.address().port();
    let config = "[[listener]]\nname = \"proxy\"\naddress = [\"127.0.0.1:0\"]\n\
         [[route]]\nchain = [{ use = \"forward\", public_only = true }]\n";
    let lockgate = Lockgate::run_at(&place, LOCKGATE, config).unwrap();
    let hosts = names.iter().map(|(name, _)| *name).chain(LOOPBACK);
    for host in hosts.chain([
        "localhost",
        "[::1]",
        "0.0.0.0",
        "0",
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[fd00:ec2::254]",
    ]) {
        for request in [
            get(&format!("http://{host}:{port}/")),
            format!("GET / HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n"),
            connect(format!("{host}:{port}")),
        ] {
            let mut client = Connection::over(place.connect(lockgate.address()).unwrap()).unwrap();
            assert_eq!(client.exchange(&request).unwrap().status, 403, "{request}");
        }
    }
    assert_eq!(origin.connections(), 0);
}
