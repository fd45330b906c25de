//! Heads that are accepted, heads that are not, and how they arrive.
#![expect(clippy::string_slice, reason = "heads are ASCII here")]

use super::*;

fn parse(bytes: &[u8]) -> Result<(Head, usize), Refusal> {
    let limits = HeadLimits::default();
    let length = Scanner::default().find_end(bytes, &limits)?.ok_or(bad("incomplete"))?;
    let skip = bytes.iter().take_while(|byte| b"\r\n".contains(byte)).count();
    Head::parse(&bytes[skip..length], &limits).map(|head| (head, length))
}

fn accepted(text: &str) -> Head {
    parse(text.as_bytes()).unwrap_or_else(|refusal| panic!("{text:?}: {refusal:?}")).0
}

#[test]
fn an_ordinary_head_is_understood() {
    let text = "GET /a/b?c=/d HTTP/1.1\r\nHost: Example.COM:8080\r\nUser-Agent: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\nrest";
    let (head, length) = parse(text.as_bytes()).unwrap();
    assert_eq!(length, text.len() - 4);
    assert_eq!((head.method.as_str(), &text[head.target], &text[head.path]), ("GET", "/a/b?c=/d", "/a/b"));
    assert_eq!(head.host.as_deref(), Some("example.com"));
    assert_eq!((head.body, head.keep_alive, head.upgrade), (Framing::None, true, true));
    assert_eq!(&text[head.user_agent.unwrap()], "x");
}

#[test]
fn bodies_are_framed_in_one_way() {
    let body = |fields: &str| accepted(&format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).body;
    assert_eq!(body(""), Framing::None);
    assert_eq!(body("Content-Length: 12\r\n"), Framing::Length(12));
    assert_eq!(body("Content-Length: 0\r\n"), Framing::None);
    assert_eq!(body("Transfer-Encoding: Chunked\r\n"), Framing::Chunked);
}

#[test]
fn connections_are_kept_as_the_version_says() {
    for (text, kept) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n", false),
        ("GET / HTTP/1.0\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n", false),
    ] {
        assert_eq!(accepted(text).keep_alive, kept, "{text:?}");
    }
}

#[test]
fn an_absolute_target_becomes_a_path_and_its_authority_the_host() {
    let text = "GET http://Real.example:81/x?y HTTP/1.1\r\nA: b\r\nhost: other.example\r\nHosts: c\r\n\r\n";
    let head = accepted(text);
    assert_eq!(head.host.as_deref(), Some("real.example"));
    assert_eq!(&text[head.path.clone()], "/x");
    let rewritten = String::from_utf8(head.rewritten(text.as_bytes()).unwrap()).unwrap();
    assert_eq!(rewritten, "GET /x?y HTTP/1.1\r\nHost: Real.example:81\r\nA: b\r\nHosts: c\r\n\r\n");
    let text = "GET http://a?q HTTP/1.1\r\nHost: a\r\n\r\n";
    let rewritten = accepted(text).rewritten(text.as_bytes()).unwrap();
    assert!(rewritten.starts_with(b"GET /?q HTTP/1.1\r\nHost: a\r\n"));
    assert!(accepted("GET / HTTP/1.1\r\nHost: a\r\n\r\n").rewritten(b"").is_none());
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    for (bytes, status) in REFUSED {
        let refusal = parse(bytes).map(|(head, _)| head).expect_err(&bytes.escape_ascii().to_string());
        assert_eq!(refusal.status.as_u16(), *status, "{}: {}", bytes.escape_ascii(), refusal.reason);
        assert_ne!(refusal.reason, "incomplete", "{}", bytes.escape_ascii());
    }
}

const REFUSED: &[(&[u8], u16)] = &[
    (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET /?a=\"b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET http://a\\b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"GET http://a/ HTTP/1.1\r\nHost: u@b\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    (b"PRI * HTTP/2.0\r\n\r\n", 505),
    (b"GET /\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01", 400),
    (b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"CONNECT a:0 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"CONNECT a:65536 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    (b"\r\n\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n", 400),
];

#[test]
fn sizes_are_bounded() {
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(256));
    assert_eq!(parse(many.as_bytes()).unwrap_err().status, 431);
    let most = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(255));
    accepted(&most);
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(16 * 1024));
    assert_eq!(parse(long.as_bytes()).unwrap_err().status, 414);
    let endless = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(64 * 1024));
    assert_eq!(parse(endless.as_bytes()).unwrap_err().status, 431);
    assert_eq!(parse(&[b'A'; 100]).unwrap_err().status, 400);
}

#[test]
fn a_head_that_comes_byte_by_byte_is_the_same_head() {
    let text = b"\r\nGET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\nGET /next";
    let limits = HeadLimits::default();
    let mut scanner = Scanner::default();
    let found = (1..=text.len()).find_map(|end| scanner.find_end(&text[..end], &limits).unwrap());
    assert_eq!(found, Scanner::default().find_end(text, &limits).unwrap());
    assert_eq!(found, Some(text.len() - 9));
}
