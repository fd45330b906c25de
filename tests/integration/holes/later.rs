//! What follows the first request on a connection. tinyproxy passes it on unseen, wherever it wants to go.

use super::{Connection, Proxy, Recorder, connect, get};

const GOOD: &str = "Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n"; // user:secret

fn get_with(url: &str, fields: &str) -> String {
    format!("GET {url} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

/// Sends `good` and then `bad`, in every way in which one can follow the other on a connection, and expects `status` for it.
fn second_is_refused(proxy: &Proxy, origin: &Recorder, fields: &str, bad: &str, status: u16) {
    let url = format!("http://{}/first", origin.address);
    let post = |framing: &str, body: &str| format!("POST {url} HTTP/1.1\r\nHost: a\r\n{fields}{framing}\r\n{body}");
    for first in [
        get_with(&url, fields),
        post("Content-Length: 5\r\n", "hello"),
        post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        get_with(&url, &format!("{fields}Connection: keep-alive\r\nProxy-Connection: keep-alive\r\n")),
    ] {
        // In one packet; with a second head that comes in two pieces; and behind the first answer.
        for (early, late) in [(bad, ""), bad.split_at(9), ("", bad)] {
            let mut client = proxy.open();
            client.send(format!("{first}{early}")).unwrap();
            let answer = client.response(false).unwrap();
            assert_eq!(answer.status, 200, "{first}");
            let sent = client.send(late);
            match client.response(false) {
                Ok(second) => assert_eq!(second.status, status, "{first}{bad}"),
                // Pingora ends a connection on which something has come behind a chunked body. Then it goes nowhere.
                Err(error) => {
                    let behind_chunks = first.contains("chunked") && !early.is_empty();
                    assert!(behind_chunks, "{early:?} {first}{bad}: {error}, {sent:?}");
                }
            }
        }
    }
    let arrived = origin.targets();
    assert!(arrived.iter().all(|target| target == "/first"), "{arrived:?}");
}

/// A second request is looked at by the filter.
#[test]
fn a_later_request_is_filtered() {
    let list = test_support::scratch_dir().unwrap();
    let path = list.path().join("list");
    std::fs::write(&path, "^localhost$\nsecret\n").unwrap();
    let origin = Recorder::start();
    let port = origin.address.port();
    let by_host = Proxy::start(&format!("Filter \"{}\"", path.display()));
    let bad = [get(&format!("http://localhost:{port}/two")), connect(format!("localhost:{port}"))];
    for bad in bad.iter().chain(&[format!("GET /two HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n")]) {
        second_is_refused(&by_host, &origin, "", bad, 403);
    }
    let by_url = Proxy::start(&format!("Filter \"{}\"\nFilterURLs Yes", path.display()));
    second_is_refused(&by_url, &origin, "", &get(&format!("http://{}/secret", origin.address)), 403);
}

/// A second request needs a password of its own.
#[test]
fn a_later_request_needs_the_password() {
    let origin = Recorder::start();
    let proxy = Proxy::start("BasicAuth user secret");
    let url = format!("http://{}/two", origin.address);
    for bad in [
        get(&url),
        get_with(&url, "Proxy-Authorization: Basic dXNlcjpzZWNyZXM=\r\n"),
        get_with(&url, "Authorization: Basic dXNlcjpzZWNyZXQ=\r\n"),
        connect(origin.address),
    ] {
        second_is_refused(&proxy, &origin, GOOD, &bad, 407);
    }
}

/// A second request is bound to the allowed ports, and to addresses that lead nowhere.
#[test]
fn a_later_request_is_bound_to_ports_and_parents() {
    let origin = Recorder::start();
    let proxy = Proxy::start("ConnectPort 443\nUpstream http 0.0.0.0:0 \"127.0.0.2\"");
    second_is_refused(&proxy, &origin, "", &connect(origin.address), 403);
    let nowhere = get(&format!("http://127.0.0.2:{}/two", origin.address.port()));
    second_is_refused(&proxy, &origin, "", &nowhere, 502);
}

/// A second request is changed as the first one is.
#[test]
fn a_later_request_has_its_header_changed() {
    let origin = Recorder::start();
    let proxy = Proxy::start(
        "AddHeader \"X-Added\" \"1\"\nAnonymous \"X-Allowed\"\nAnonymous \"X-Added\"\nXTinyproxy Yes\nViaProxyName \"here\"",
    );
    let url = format!("http://{}/", origin.address);
    let fields = "X-Allowed: 1\r\nCookie: secret\r\nX-Tinyproxy: 1.2.3.4\r\nProxy-Authorization: Basic eA==\r\n";
    let post = format!("POST {url} HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: 2\r\n\r\nok");
    let mut client = proxy.open();
    client.send([get_with(&url, fields), post.clone(), get_with(&url, fields), post].concat()).unwrap();
    for _ in 0..4 {
        assert_eq!(client.response(false).unwrap().status, 200);
    }
    assert_eq!(client.exchange(get_with(&url, fields)).unwrap().status, 200);
    let arrived = origin.requests();
    assert_eq!(arrived.len(), 5);
    for request in arrived {
        let head = &request.head;
        assert_eq!((request.values("x-added"), request.values("x-allowed")), (vec!["1"], vec!["1"]), "{head}");
        assert_eq!(request.values("x-tinyproxy"), ["127.0.0.1"], "{head}");
        assert_eq!(request.values("via"), ["1.1 here (tinyproxy)"], "{head}");
        assert!(!head.contains("secret") && request.values("proxy-authorization").is_empty(), "{head}");
    }
}

/// Who may use the proxy is decided again for each request, by the rules of now.
#[test]
fn a_later_request_is_let_in_by_the_rules_of_now() {
    let origin = Recorder::start();
    let mut proxy = Proxy::start("Allow 127.0.0.1");
    let url = format!("http://{}/", origin.address);
    let mut client: Connection = proxy.open();
    assert_eq!(client.exchange(get(&url)).unwrap().status, 200);
    proxy.reload("Deny 127.0.0.1");
    assert_eq!(client.exchange(get(&url)).unwrap().status, 403);
    assert_eq!(origin.requests().len(), 1);
}
