//! What a request takes with it, and what it does not.

use test_support::{HostsFile, Network, Place};

use super::{Proxy, Recorder, connect, get};

/// `Proxy-Authorization` is for us, whether we asked for it or not (RFC 9110 §11.7.2).
#[test]
fn credentials_for_the_proxy_stay_here() {
    let origin = Recorder::start();
    let to = origin.address;
    let field = "Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n";
    for lines in ["", "BasicAuth user secret", "Anonymous \"Proxy-Authorization\""] {
        let proxy = Proxy::start(&format!("{lines}\nReversePath \"/r/\" \"http://{to}/\""));
        for start in [
            format!("GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\n"),
            // Not by an address that the proxy listens on: that would be the proxy itself.
            format!("GET / HTTP/1.1\r\nHost: localhost:{}\r\n", to.port()),
            format!("GET /r/ HTTP/1.1\r\nHost: {to}\r\n"),
            format!("GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"),
        ] {
            for field in
                [field.to_owned(), field.to_lowercase().replace("basic dxnlcjpzzwnyzxq=", "Basic dXNlcjpzZWNyZXQ=")]
            {
                assert_eq!(proxy.status(format!("{start}{field}X-Stays: 1\r\n\r\n")), 200, "{start}");
            }
        }
    }
    let seen = origin.seen();
    assert!(seen.contains("X-Stays: 1") && !seen.contains("dXNlcjpz"), "{seen}");
    assert!(!seen.to_ascii_lowercase().contains("proxy-authorization"), "{seen}");
}

/// Whoever reads `X-Tinyproxy` reads what the proxy says, not the client.
#[test]
fn x_tinyproxy_cannot_be_forged() {
    let origin = Recorder::start();
    let proxy = Proxy::start("XTinyproxy Yes");
    for forged in ["X-Tinyproxy: 10.0.0.1\r\n", "x-tinyproxy: 10.0.0.1\r\nX-TINYPROXY: 10.0.0.2\r\n", ""] {
        let request = format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n{forged}\r\n", origin.address);
        assert_eq!(proxy.status(request), 200);
        let arrived = origin.requests().pop().unwrap();
        assert_eq!(arrived.values("x-tinyproxy"), ["127.0.0.1"], "{}", arrived.head);
    }
    // Nor can it be removed on the way.
    let request = format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\nConnection: x-tinyproxy\r\n\r\n", origin.address);
    assert_eq!(proxy.status(request), 200);
    assert_eq!(origin.requests().pop().unwrap().values("x-tinyproxy"), ["127.0.0.1"]);
}

/// #627: `Allow host` admitted `localhost`, because one ends in the other.
#[test]
fn names_of_clients_end_at_a_dot() {
    let network = Network::new(["dots"]).unwrap();
    let [namespace] = network.hosts();
    let place = Place::from(namespace);
    let _hosts = HostsFile::new(namespace, &[("host", [127, 9, 9, 9].into())]).unwrap();
    for (rule, status) in [
        ("Allow host", "403"),
        ("Allow ocalhost", "403"),
        ("Allow localhost", "500"),
        ("Deny host\nAllow 127.0.0.1", "500"),
    ] {
        let proxy = Proxy::start_at(&place, rule);
        let mut client = test_support::Connection::over(place.connect(proxy.address).unwrap()).unwrap();
        let answer = client.exchange(get("http://127.0.0.1:1/")).unwrap();
        assert_eq!(answer.status.to_string(), status, "{rule}");
    }
}

/// CVE-2026-55202: a name that begins like the one of the statistics was asked for the password in another way than it was
/// then served.
#[test]
fn the_name_of_the_statistics_is_compared_whole() {
    let origin = Recorder::start();
    let proxy = Proxy::start("BasicAuth user secret\nStatHost \"stats.example\"");
    let as_site = "Authorization: Basic dXNlcjpzZWNyZXQ=\r\n";
    let to = origin.address;
    for host in [
        "stats.example.evil",
        "stats.examplex",
        "stats.exampl",
        "xstats.example",
        "stats.example.",
        "stats",
        "Stats.example",
    ] {
        for line in
            ["GET / HTTP/1.1".to_owned(), format!("GET http://{to}/ HTTP/1.1"), format!("GET http://{host}/ HTTP/1.1")]
        {
            for fields in ["", as_site] {
                let answer = proxy.ask(format!("{line}\r\nHost: {host}\r\n{fields}\r\n"));
                assert_eq!(answer.status, 407, "{line} {host} {fields}");
                assert!(answer.header("proxy-authenticate").is_some());
            }
        }
    }
    let capital = Proxy::start("BasicAuth user secret\nStatHost \"Stats.example\"");
    for host in ["stats.example", "STATS.EXAMPLE", "Stats.example."] {
        let line = format!("GET / HTTP/1.1\r\nHost: {host}:{}\r\n{as_site}\r\n", to.port());
        assert_eq!(capital.status(line), 407, "{host}");
    }
    // Nor does the name itself open the way to anywhere else.
    for line in [format!("GET http://{to}/ HTTP/1.1"), format!("CONNECT {to} HTTP/1.1")] {
        let answer = proxy.ask(format!("{line}\r\nHost: stats.example\r\n{as_site}\r\n"));
        assert!([200, 407].contains(&answer.status), "{line}: {}", answer.status);
    }
    assert_eq!(proxy.status(connect(to)), 407);
    assert_eq!(origin.seen(), "");
    assert_eq!(proxy.status(format!("GET / HTTP/1.1\r\nHost: stats.example\r\n{as_site}\r\n")), 200);
    assert_eq!(proxy.status("GET / HTTP/1.1\r\nHost: stats.example\r\n\r\n"), 401);
}
