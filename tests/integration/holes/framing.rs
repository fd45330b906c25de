//! Requests that two programs could end in different places.

use super::{Proxy, Recorder, connect, get};

/// A request to the recorder whose body, for whoever misreads these fields, holds another request.
fn with_fields(to: &Recorder, fields: &str, body: &str) -> String {
    format!("POST http://{0}/first HTTP/1.1\r\nHost: {0}\r\n{fields}\r\n{body}", to.address)
}

fn smuggled(to: &Recorder) -> String {
    get(&format!("http://{}/smuggled", to.address))
}

/// All of these are refused, and nothing at all goes on.
fn refused(bodies: &[&str], fields: &[&str]) {
    let (proxy, origin) = (Proxy::start(""), Recorder::start());
    for fields in fields {
        for body in bodies {
            let request = with_fields(&origin, fields, &format!("{body}{}", smuggled(&origin)));
            let answer = proxy.last_words(&request);
            assert!(answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.1 501 "), "{request} {answer}");
            assert_eq!(answer.matches("HTTP/1.").count(), 1, "{request} {answer}");
        }
    }
    assert_eq!(origin.seen(), "");
    assert_eq!(proxy.status(get(&format!("http://{}/after", origin.address))), 200);
}

/// CVE-2012-3505: hash collisions and any number of header fields. There are at most 256, and names that would collide in a
/// simple hash cost no more than others.
#[test]
fn header_fields_are_bounded_in_number_and_cost() {
    let (proxy, origin) = (Proxy::start(""), Recorder::start());
    // Anagrams have the same sum and the same exclusive or.
    let names: Vec<String> = (0..240_usize)
        .map(|index| {
            let mut letters = *b"abcdefgh";
            letters.rotate_left(index % 8);
            letters[..4].rotate_left(index / 8 % 4);
            letters[4..].rotate_left(index / 32 % 4);
            letters[..6].rotate_left(index / 128 % 6);
            String::from_utf8(letters.to_vec()).unwrap()
        })
        .collect();
    let fields: String = names.iter().map(|name| format!("{name}: 1\r\n")).collect();
    let started = std::time::Instant::now();
    let mut client = proxy.open();
    for _ in 0..100 {
        let request = with_fields(&origin, &format!("{fields}Content-Length: 2\r\n"), "ok");
        assert_eq!(client.exchange(request).unwrap().status, 200);
    }
    assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    let first = &origin.requests()[0];
    assert_eq!(first.head.lines().filter(|line| line.ends_with(": 1")).count(), names.len(), "{}", first.head);
    for number in [257, 10_000, 1_000_000] {
        let answer = proxy.last_words(with_fields(&origin, &"a: b\r\n".repeat(number), ""));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{number} fields: {answer}");
    }
    assert_eq!(origin.requests().len(), 100);
}

/// What is beyond the limit is not dropped with the rest of the request going on: there is a request with all its fields, or
/// none. The same for answers.
#[test]
fn no_field_is_dropped_silently() {
    let (proxy, origin) = (Proxy::start("DisableViaHeader Yes"), Recorder::start());
    let many = |number: usize| (0..number).map(|index| format!("X-{index}: 1\r\n")).collect::<String>();
    for number in [100, 200, 250, 254, 255, 256, 257, 300, 1000] {
        let request = with_fields(&origin, &format!("{}Content-Length: 2\r\n", many(number)), "ok");
        let before = origin.requests().len();
        let status = proxy.status(&request);
        match status {
            200 => {
                let arrived = origin.requests().pop().unwrap();
                let fields = arrived.head.lines().filter(|line| line.starts_with("X-")).count();
                assert_eq!((fields, &*arrived.body), (number, &b"ok"[..]), "{}", arrived.head);
            }
            400 => assert!(number > 250 && origin.requests().len() == before, "{number} fields"),
            _ => panic!("{number} fields: {status}"),
        }
    }
    for number in [200, 254, 256, 300, 1000] {
        let answer = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 2\r\n\r\nok", many(number));
        let origin = Recorder::answering(answer.into_bytes());
        let request = format!("GET http://{}/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", origin.address);
        let text = proxy.last_words(request);
        if text.starts_with("HTTP/1.1 200 ") {
            let lower = text.to_ascii_lowercase();
            assert_eq!(lower.matches("\r\nx-").count(), number);
            assert!(lower.contains("\r\ncontent-length: 2\r\n") && text.ends_with("\r\n\r\nok"), "{text}");
        } else {
            assert!(number > 200 && text.starts_with("HTTP/1.1 503 Could not"), "{number} fields: {text}");
        }
    }
}

/// CVE-2025-63938: port 65979 was port 443.
#[test]
fn ports_do_not_overflow() {
    let origin = Recorder::start();
    let port = u64::from(origin.address.port());
    let proxy = Proxy::start(&format!("ConnectPort {port}\nConnectPort 443"));
    let overflown =
        [port + 65536, port + 131_072, port + (1 << 32), port.wrapping_add(1 << 63), 65536, 65979, 4_294_967_739];
    let written = overflown.map(|port| port.to_string());
    let odd = ["+1", "-1", "0x50", "1e3", "80x", "99999999999999999999999999"];
    for wrong in written.iter().map(String::as_str).chain(odd) {
        for request in [
            connect(format!("127.0.0.1:{wrong}")),
            get(&format!("http://127.0.0.1:{wrong}/")),
            format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{wrong}\r\n\r\n"),
            format!("GET http://{} HTTP/1.1\r\nHost: 127.0.0.1:{wrong}\r\n\r\n", origin.address),
        ] {
            assert_eq!(proxy.status(&request), 400, "{request}");
        }
    }
    assert_eq!(origin.seen(), "");
}

/// CVE-2026-3945: sizes of chunks that overflow, or are negative.
#[test]
fn sizes_of_chunks_do_not_overflow() {
    let (proxy, origin) = (Proxy::start(""), Recorder::start());
    for size in [
        "ffffffffffffffff",
        "fffffffffffffffe",
        "8000000000000000",
        "7fffffffffffffff",
        "10000000000000005",
        "100000005",
        "ffffffff",
        "80000000",
        "-1",
        "-5",
        "+5",
        "0x5",
        " 5",
        "5 5",
        "5x",
        "g",
        "",
    ] {
        let body = format!("{size}\r\nhello\r\n0\r\n\r\n{}", smuggled(&origin));
        let mut client = proxy.open();
        let _ = client.send(with_fields(&origin, "Transfer-Encoding: chunked\r\n", &body));
        // The rest of a chunk that is too large never comes.
        let _ = client.stream().shutdown(std::net::Shutdown::Write);
        let answer = String::from_utf8_lossy(&client.rest().unwrap_or_default()).into_owned();
        // " 5" is read as 5 by some: then what follows is a request of its own, and is answered as such.
        let is_two_requests = answer.matches("HTTP/1.1 200 ").count() == 2;
        let arrived = origin.targets();
        assert_eq!(arrived.contains(&"/smuggled".to_owned()), is_two_requests, "{size}: {arrived:?} {answer}");
        assert!(!is_two_requests || size == " 5", "{size}: {answer}");
        assert_eq!(proxy.status(get(&format!("http://{}/after", origin.address))), 200);
    }
    // The same in answers: the client is not made to believe in a whole one.
    for size in ["ffffffffffffffff", "10000000000000002", "-1", "8000000000000000"] {
        let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\nok\r\n0\r\n\r\n");
        let origin = Recorder::answering(answer.into_bytes());
        let mut client = proxy.open();
        client.send(get(&format!("http://{}/", origin.address))).unwrap();
        client.stream().set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
        let read = client.response(false);
        assert!(read.as_ref().map_or(true, |response| response.status == 502), "{size}: {read:?}");
    }
}

/// CVE-2026-31842: a coding's name has no case (RFC 9112 §7).
#[test]
fn chunked_in_any_case_is_chunked() {
    let (proxy, origin) = (Proxy::start(""), Recorder::start());
    for coding in ["chunked", "Chunked", "CHUNKED", "chunKed", "\tchunked \t"] {
        let mut client = proxy.open();
        let head = format!("Transfer-Encoding:{coding}\r\n");
        assert_eq!(client.exchange(with_fields(&origin, &head, "5\r\nhello\r\n0\r\n\r\n")).unwrap().status, 200);
        let first = origin.requests().pop().unwrap();
        assert_eq!((first.target(), &*first.body), ("/first", &b"hello"[..]), "{coding:?}");
        let before = origin.requests().len();
        // What comes behind it at once is a request of its own, or nothing.
        let chunks = format!("5\r\nhello\r\n0\r\n\r\n{}", smuggled(&origin));
        let answers = proxy.last_words(with_fields(&origin, &format!("{head}Connection: close\r\n"), &chunks));
        assert_eq!(answers.matches("HTTP/1.1 200 ").count(), 1, "{coding:?} {answers}");
        let arrived = origin.requests().split_off(before);
        assert_eq!((arrived.len(), arrived[0].target(), &*arrived[0].body), (1, "/first", &b"hello"[..]), "{coding:?}");
    }
}

/// CVE-2026-54387: both were forwarded.
#[test]
fn a_length_beside_chunks_reaches_nobody() {
    refused(
        &["0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n"],
        &[
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Transfer-Encoding: Chunked\r\nContent-Length: 0\r\n",
            "Transfer-Encoding: chunked \r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nTRANSFER-ENCODING: chunked\r\nConnection: content-length\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: transfer-encoding\r\n",
        ],
    );
}

/// CVE-2026-54388: a second length was forwarded.
#[test]
fn two_lengths_reach_nobody() {
    refused(
        &["", "hello"],
        &[
            "Content-Length: 5\r\nContent-Length: 0\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 0\r\ncontent-length: 5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: 5, 0\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: -5\r\n",
            "Content-Length: 5 5\r\n",
            "Content-Length: 0x5\r\n",
            "Content-Length: 18446744073709551621\r\n",
            "Content-Length:\r\n",
        ],
    );
}

/// #616: any coding but the bare word went on beside a length.
#[test]
fn codings_other_than_chunked_reach_nobody() {
    let codings = [
        "gzip, chunked",
        "chunked,",
        ",chunked",
        "chunked, chunked",
        "chunked, identity",
        "identity",
        "xchunked",
        "chunked;q=1",
        "\"chunked\"",
        "chunked\u{b}",
        "",
    ];
    let alone = codings.map(|coding| format!("Transfer-Encoding: {coding}\r\n"));
    let beside = codings.map(|coding| format!("Content-Length: 5\r\nTransfer-Encoding: {coding}\r\n"));
    let fields: Vec<&str> = alone.iter().chain(&beside).map(String::as_str).collect();
    refused(&["0\r\n\r\n"], &fields);
}

/// #623: a blank before the colon made another field of it.
#[test]
fn a_blank_before_a_colon_is_refused() {
    refused(
        &["0\r\n\r\n", "hello"],
        &[
            "Transfer-Encoding : chunked\r\n",
            "Transfer-Encoding\t: chunked\r\n",
            "Content-Length : 5\r\n",
            "Content-Length: 5\r\nTransfer-Encoding : chunked\r\n",
            "Content-Length : 5\r\nTransfer-Encoding: chunked\r\n",
            " Content-Length: 5\r\n",
            "X: y\r\n Content-Length: 5\r\n",
            "X: y\r\n\tTransfer-Encoding: chunked\r\n",
        ],
    );
}

/// What frames the body is no hop-by-hop field that a client can have removed.
#[test]
fn a_connection_field_takes_no_framing_away() {
    let (proxy, origin) = (Proxy::start(""), Recorder::start());
    let inner = smuggled(&origin);
    for names in ["content-length", "Content-Length, transfer-encoding", "close, content-length", "host"] {
        let chunked = format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len());
        for (framing, body) in [
            (format!("Content-Length: {}\r\n", inner.len()), &inner),
            ("Transfer-Encoding: chunked\r\n".to_owned(), &chunked),
        ] {
            for field in ["Connection", "Proxy-Connection"] {
                let request = with_fields(&origin, &format!("{framing}{field}: {names}\r\n"), body);
                let before = origin.requests().len();
                let status = proxy.status(&request);
                let arrived = origin.requests();
                assert!(arrived.iter().all(|request| request.target() != "/smuggled"), "{request}");
                match status {
                    200 => assert_eq!((arrived.len(), &*arrived[before].body), (before + 1, inner.as_bytes())),
                    _ => assert_eq!((status, arrived.len()), (400, before), "{request}"),
                }
            }
        }
    }
}

/// CVE-2023-49606: the field `Connection` that names itself was used after it was freed.
#[test]
fn a_connection_field_may_name_itself() {
    let (proxy, origin) = (Proxy::start(""), Recorder::start());
    let url = format!("http://{}/", origin.address);
    for fields in [
        "Connection: connection\r\n",
        "Connection: Connection, connection, x-hop, CONNECTION\r\n",
        "Proxy-Connection: proxy-connection, connection\r\nConnection: proxy-connection\r\n",
        "Connection: connection\r\nConnection: connection\r\n",
        "Connection: ,,,\t, connection ,\r\n",
    ] {
        for _ in 0..20 {
            let request = format!("GET {url} HTTP/1.1\r\nHost: a\r\nX-Hop: 1\r\nX-Stays: 1\r\n{fields}\r\n");
            assert_eq!(proxy.status(&request), 200, "{request}");
            let arrived = origin.requests().pop().unwrap();
            assert_eq!(arrived.values("x-stays"), ["1"], "{}", arrived.head);
            assert!(!arrived.head.contains("onnection: connection"), "{}", arrived.head);
        }
    }
}
