//! Heads that are accepted, heads that are not, and how they arrive.
#![expect(clippy::string_slice, reason = "heads are ASCII here")]

use super::*;

pub(super) fn parse(bytes: &[u8]) -> Result<(Head, usize), Refusal> {
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
];

#[test]
fn lines_may_end_without_cr_where_that_is_wanted() {
    let limits = HeadLimits { bare_lf: true, ..HeadLimits::default() };
    for text in [
        "GET / HTTP/1.1\nHost: a\nX: y\n\nrest",
        "\n\r\nGET / HTTP/1.1\r\nHost: a\nX: y\n\r\nrest",
        "GET / HTTP/1.1\nHost: a\r\nX: y\r\n\nrest",
    ] {
        let bytes = text.as_bytes();
        let mut scanner = Scanner::default();
        let length = (1..=bytes.len()).find_map(|end| scanner.find_end(&bytes[..end], &limits).unwrap()).unwrap();
        assert_eq!(&text[length..], "rest");
        let start = bytes.iter().take_while(|byte| b"\r\n".contains(byte)).count();
        let mut head = bytes::BytesMut::from(&bytes[start..length]);
        settle(&mut head, &limits);
        assert_eq!(head, "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n");
        assert!(Head::parse(&head, &limits).is_ok());
    }
    assert_eq!(Scanner::default().find_end(b"x\n", &limits).unwrap_err().status, 400);
    assert_eq!(Scanner::default().find_end(b"GET / HTTP/1.1\nX: y\n", &limits), Ok(None));
}

#[test]
fn a_later_version_of_http_1_is_the_one_that_we_know() {
    for (text, expected) in [
        ("GET / HTTP/1.2\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"),
        ("GET / HTTP/1.9\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"),
        ("GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"),
        ("GET / HTTP/2.0\r\n\r\n", "GET / HTTP/2.0\r\n\r\n"),
        ("GET /HTTP/1.2\r\n\r\n", "GET /HTTP/1.2\r\n\r\n"),
        ("\r\n", "\r\n"),
    ] {
        let mut head = bytes::BytesMut::from(text);
        settle(&mut head, &HeadLimits::default());
        assert_eq!(head, expected);
    }
}

#[test]
fn the_host_of_a_url_needs_no_field() {
    let text = "GET http://a.example/ HTTP/1.1\r\nHost:\r\n\r\n";
    let head = accepted(text);
    assert_eq!(head.host.as_deref(), Some("a.example"));
    let rewritten = head.rewritten(text.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(rewritten).unwrap(), "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
}

#[test]
fn sizes_are_bounded() {
    let blanks = format!("{}GET / HTTP/1.1\r\nHost: a\r\n\r\n", "\r\n".repeat(70));
    assert_eq!(parse(blanks.as_bytes()).unwrap_err().status, 400);
    accepted(&blanks[20..]);
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

#[test]
fn a_url_without_a_path_is_the_root() {
    for (text, path, line) in [
        ("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n", "/", "GET / HTTP/1.1\r\n"),
        ("GET HTTP://a?q HTTP/1.1\r\nHost: a\r\n\r\n", "/", "GET /?q HTTP/1.1\r\n"),
        ("GET https://a:1/ HTTP/1.1\r\nHost: a\r\n\r\n", "/", "GET / HTTP/1.1\r\n"),
        ("GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n", "/x", "GET /x HTTP/1.1\r\n"),
        ("OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", "/", "OPTIONS * HTTP/1.1\r\n"),
        ("OPTIONS http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "/", "OPTIONS / HTTP/1.1\r\n"),
        ("OPTIONS http://a?q HTTP/1.1\r\nHost: a\r\n\r\n", "/", "OPTIONS /?q HTTP/1.1\r\n"),
    ] {
        let head = accepted(text);
        assert_eq!(&text[head.path.clone()], path, "{text:?}");
        let rewritten = String::from_utf8(head.rewritten(text.as_bytes()).unwrap()).unwrap();
        assert!(rewritten.starts_with(line), "{rewritten:?}");
    }
    let connect = "CONNECT [::1]:443 HTTP/1.1\r\nHost: b\r\n\r\n";
    let head = accepted(connect);
    assert_eq!((head.host.as_deref(), &connect[head.path.clone()]), (Some("[::1]"), ""));
    assert!(head.rewritten(connect.as_bytes()).is_none(), "a tunnel has no path to put there");
}

#[test]
fn what_is_no_request_is_not_waited_for() {
    for bytes in
        [&b"\x16\x03\x01"[..], b"\0", b"\x16\x03\x01\r\nmore", b"x\r\n", b"garbage\r\nHost: a\r\n", b"\r\n{", b"GET\r"]
    {
        let found = Scanner::default().find_end(bytes, &HeadLimits::default());
        assert_eq!(found.unwrap_err().status, 400, "{}", bytes.escape_ascii());
    }
    for bytes in [&b""[..], b"\r", b"\r\n", b"G", b"GET ", b"GET /", b"GET / HTTP/1.1", b"GET / HTTP/1.1\r"] {
        assert_eq!(Scanner::default().find_end(bytes, &HeadLimits::default()), Ok(None), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_version_that_is_not_spoken_is_told_behind_blank_lines_too() {
    assert_eq!(parse(b"\r\nPRI * HTTP/2.0\r\n\r\n").unwrap_err().status, 505);
    assert_eq!(parse(b"GET / HTTP/0.9\r\n\r\n").unwrap_err().status, 505);
}

#[test]
fn every_way_to_cut_a_head_in_two_gives_the_same_answer() {
    let limits = HeadLimits::default();
    let good: &[&[u8]] = &[
        b"\r\nGET /a?b HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\nGET /next",
        b"POST http://a HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc",
    ];
    for bytes in good.iter().copied().chain(REFUSED.iter().map(|(bytes, _)| *bytes)) {
        let whole = Scanner::default().find_end(bytes, &limits);
        for cut in 0..=bytes.len() {
            let mut scanner = Scanner::default();
            // A head may end, or be refused, before its last piece has come.
            let early = scanner.find_end(&bytes[..cut], &limits);
            let found = if early == Ok(None) { scanner.find_end(bytes, &limits) } else { early };
            assert_eq!(found.is_err(), whole.is_err(), "{} cut at {cut}", bytes.escape_ascii());
            assert_eq!(found.ok(), whole.ok(), "{} cut at {cut}", bytes.escape_ascii());
        }
    }
}

/// A generator of numbers that look random and are the same in every run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % limit
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// A head of parts that are each right or wrong on their own.
fn composed(numbers: &mut Numbers) -> Vec<u8> {
    const METHODS: &[&str] = &["GET", "HEAD", "POST", "OPTIONS", "CONNECT", "x!", "GET ", "G\tT", ""];
    const TARGETS: &[&str] = &[
        "/",
        "/a/b?c=d",
        "*",
        "http://a",
        "http://B:80/x",
        "https://a?q",
        "a:443",
        "//a",
        "/\\a",
        "/a b",
        "/#",
        "http://u@a/",
        "http://a\\b/",
        "/%2e%2e/",
        "/\u{e4}",
        "http:///",
        "http://[::1]:8/",
        "",
    ];
    const VERSIONS: &[&str] = &["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1.1 ", "http/1.1"];
    const FIELDS: &[&str] = &[
        "Host: a",
        "Host: a",
        "host: B:80",
        "Host: u@a",
        "Content-Length: 5",
        "Content-Length: 05",
        "Content-Length: 5, 5",
        "Transfer-Encoding: chunked",
        "transfer-encoding: gzip, chunked",
        "Transfer-Encoding : chunked",
        "Connection: close",
        "Connection: keep-alive, upgrade",
        "Upgrade: websocket",
        "X: y",
        "X:",
        " folded",
        "X",
        "X: \u{1}",
        "User-Agent: z",
        ":",
    ];
    const ENDS: &[&str] = &["\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r\r\n"];
    let mut head = format!("{} {} {}", numbers.pick(METHODS), numbers.pick(TARGETS), numbers.pick(VERSIONS));
    head.push_str(numbers.pick(ENDS));
    for _ in 0..numbers.below(4) {
        head.push_str(numbers.pick(FIELDS));
        head.push_str(numbers.pick(ENDS));
    }
    head.push_str("\r\n");
    let mut head = head.into_bytes();
    if numbers.below(4) == 0 {
        let at = numbers.below(head.len());
        head[at] = u8::try_from(numbers.below(256)).unwrap();
    }
    head
}

#[test]
fn whatever_is_accepted_can_be_read_in_one_way() {
    let mut numbers = Numbers(0x1234_5678_9abc_def1);
    let (mut taken, mut absolute) = (0, 0);
    for _ in 0..60_000 {
        let bytes = composed(&mut numbers);
        let Ok((head, length)) = parse(&bytes) else { continue };
        taken += 1;
        let skip = bytes.iter().take_while(|byte| b"\r\n".contains(byte)).count();
        let bytes = &bytes[skip..length];
        one_reading(bytes, &head);
        if let Some(rewritten) = head.rewritten(bytes) {
            absolute += 1;
            let (again, _) =
                parse(&rewritten).unwrap_or_else(|refusal| panic!("{}: {refusal:?}", rewritten.escape_ascii()));
            one_reading(&rewritten, &again);
            assert!(again.rewritten(&rewritten).is_none(), "{}", rewritten.escape_ascii());
            assert_eq!((again.host, again.body, again.upgrade), (head.host, head.body, head.upgrade));
        }
    }
    assert!(taken > 1000 && absolute > 200, "too few are accepted to prove anything: {taken}, {absolute}");
}

/// What no accepted head may lack or hold, found without the code under test.
pub(super) fn one_reading(bytes: &[u8], head: &Head) {
    let shown = bytes.escape_ascii();
    let mut headers = [httparse::EMPTY_HEADER; 256];
    let mut request = httparse::Request::new(&mut headers);
    assert_eq!(request.parse(bytes), Ok(httparse::Status::Complete(bytes.len())), "{shown}");
    let values = |name: &str| {
        let of_name = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        of_name.map(|header| header.value).collect::<Vec<_>>()
    };
    assert!(values("host").len() <= 1, "{shown}");
    assert!(!bytes.contains(&b'\0') && !bytes[head.target.clone()].contains(&b'#'), "{shown}");
    let lines = bytes.split(|byte| *byte == b'\n').count() - 1;
    assert_eq!(bytes.windows(2).filter(|two| two == b"\r\n").count(), lines, "no bare LF: {shown}");
    assert_eq!(bytes.iter().filter(|byte| **byte == b'\r').count(), lines, "no bare CR: {shown}");
    match (values("content-length").as_slice(), values("transfer-encoding").as_slice()) {
        ([], []) => assert_eq!(head.body, Framing::None, "{shown}"),
        ([length], []) => {
            let length: u64 = std::str::from_utf8(length).unwrap().parse().unwrap();
            assert_eq!(head.body, if length == 0 { Framing::None } else { Framing::Length(length) }, "{shown}");
        }
        ([], [coding]) => {
            assert!(coding.eq_ignore_ascii_case(b"chunked") && head.version == Version::HTTP_11, "{shown}");
            assert_eq!(head.body, Framing::Chunked, "{shown}");
        }
        both => panic!("{both:?}: {shown}"),
    }
    assert!(head.host.is_some() || head.version == Version::HTTP_10, "{shown}");
    assert!(head.host.as_ref().is_none_or(|host| !host.contains(['@', '\\', '/', ',']) && !host.is_empty()), "{shown}");
    assert!(head.method == Method::CONNECT || !head.path.is_empty(), "a path for every route: {shown}");
}
