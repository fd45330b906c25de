//! Heads made at random (`cargo xtask fuzz head`): whatever is accepted can be read in one way only.

use proptest::{
    prelude::{Just, Strategy, any, prop},
    prop_oneof,
    test_runner::{Config, TestError, TestRunner},
};

use super::{
    tests::{one_reading, parse},
    *,
};

/// Pieces of which heads are made, right ones and wrong ones.
const METHODS: &[&str] =
    &["GET", "GET", "GET", "POST", "HEAD", "OPTIONS", "CONNECT", "PUT", "get", "M-SEARCH", "", "G(T"];
const TARGETS: &[&str] = &[
    "/",
    "/a/b?c=d&e=%2f",
    "*",
    "http://a",
    "http://b.example:80/x?y",
    "HTTP://A/",
    "https://a?q",
    "http://[::1]:8080/",
    "a.example:443",
    "[2001:db8::1]:443",
    "//a//b",
    "http://a\\@b/",
    "http://u:p@a/",
    "http://a:99999/",
    "http:///",
    "/a b",
    "/#",
    "/\u{e4}",
    "/\0",
    "/{}|^`\"<>",
];
const VERSIONS: &[&str] =
    &["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1.2", "HTTP/1.11", "http/1.1", "", "X"];
const NAMES: &[&str] = &[
    "Host",
    "host",
    "Content-Length",
    "content-length",
    "Transfer-Encoding",
    "TRANSFER-ENCODING",
    "Connection",
    "Upgrade",
    "User-Agent",
    "Referer",
    "X-Y",
    "Expect",
    "",
    " Host",
    "Ho st",
    "H\u{f6}st",
];
const COLONS: &[&str] = &[": ", ": ", ":", ":\t ", " : ", "\t:", "", "::"];
const VALUES: &[&str] = &[
    "a.example",
    "a:80",
    "[::1]",
    "u@a",
    "a, b",
    "0",
    "5",
    "05",
    "+5",
    "-1",
    "5, 5",
    "18446744073709551615",
    "18446744073709551616",
    "chunked",
    "Chunked",
    "gzip, chunked",
    "chunked, chunked",
    "chunked,",
    "identity",
    "close",
    "keep-alive, Upgrade",
    "websocket",
    "",
    "x\r\n folded",
    "\u{7f}",
    "\u{1}",
    "\u{fc}",
];
/// What is likely to be accepted.
const LINES: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "\r\nPOST /a?b HTTP/1.1\r\n",
    "GET http://a HTTP/1.1\r\n",
    "POST http://B.example:80/x?y HTTP/1.0\r\n",
    "GET https://[::1]/ HTTP/1.1\r\n",
    "CONNECT a:443 HTTP/1.1\r\n",
    "OPTIONS * HTTP/1.1\r\n",
    "OPTIONS http://a HTTP/1.7\r\n",
];
const FIELDS: &[&str] = &[
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "Connection: upgrade\r\nUpgrade: websocket\r\n",
    "User-Agent: x\r\n",
    "X:\r\n",
    "X: a, b \t\r\n",
    "host:b\n",
];
const ENDS: &[&str] = &["\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "\r\r\n", ""];

fn one_of(from: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(from).prop_map(|text| text.as_bytes().to_vec())
}

fn noise() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..12)
}

fn heads() -> impl Strategy<Value = Vec<u8>> {
    let target = prop_oneof![12 => one_of(TARGETS), 1 => noise()];
    let end = || prop_oneof![30 => Just(b"\r\n".to_vec()), 1 => one_of(ENDS)];
    let line = (one_of(METHODS), target, one_of(VERSIONS), end()).prop_map(|(method, target, version, end)| {
        [method, target, version].join(&b' ').into_iter().chain(end).collect()
    });
    let value = prop_oneof![12 => one_of(VALUES), 1 => noise()];
    let colon = prop_oneof![8 => Just(b": ".to_vec()), 1 => one_of(COLONS)];
    let odd = (one_of(NAMES), colon, value, end()).prop_map(|parts| {
        let (name, colon, value, end) = parts;
        [name, colon, value, end].concat()
    });
    let field = prop_oneof![1 => odd, 4 => one_of(FIELDS)];
    let line = prop_oneof![1 => one_of(LINES), 1 => line];
    // One that is right makes it likelier that the others are looked at.
    let host = prop_oneof![3 => Just(b"Host: a\r\n".to_vec()), 1 => Just(Vec::new())];
    let whole = (line, host, prop::collection::vec(field, 0..5), end())
        .prop_map(|(line, host, fields, end): (Vec<u8>, _, Vec<_>, _)| [line, host, fields.concat(), end].concat());
    let flips = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..3);
    let composed = (whole, prop_oneof![2 => Just(Vec::new()), 1 => flips]).prop_map(|(mut head, flips)| {
        for (index, byte) in flips.into_iter().filter(|_| !head.is_empty()).collect::<Vec<_>>() {
            let at = index.index(head.len());
            head[at] = byte;
        }
        head
    });
    prop_oneof![20 => composed, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

/// Name and value.
type Field<'a> = [&'a [u8]; 2];

/// What stands in a head for somebody who reads it line by line and knows nothing of our parser.
fn plain_reading(head: &[u8]) -> Option<(Vec<&[u8]>, Vec<Field<'_>>)> {
    let head = head.strip_suffix(b"\r\n\r\n")?;
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let words = lines.next()?.split(|byte| *byte == b' ').collect();
    let fields = lines.map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        Some([&line[..colon], line[colon + 1..].trim_ascii()])
    });
    Some((words, fields.collect::<Option<_>>()?))
}

/// What the edge makes of bytes in which the end of a head was found.
fn taken_at(
    bytes: &[u8],
    found: Result<Option<usize>, Refusal>,
    limits: &HeadLimits,
) -> Option<(bytes::BytesMut, Head)> {
    let length = found.ok().flatten()?;
    let skip = bytes.iter().take_while(|byte| b"\r\n".contains(byte)).count();
    let mut head = bytes::BytesMut::from(&bytes[skip..length]);
    settle(&mut head, limits);
    let parsed = Head::parse(&head, limits).ok()?;
    Some((head, parsed))
}

#[test]
fn whatever_is_accepted_has_one_reading() {
    let (taken, rewritten) = (std::cell::Cell::new(0_u64), std::cell::Cell::new(0_u64));
    // What fails is shown, and becomes a case of the tests.
    let config = Config { failure_persistence: None, ..Config::default() };
    let (cases, mut runner) = (config.cases, TestRunner::new(config));
    let result = runner.run(&(heads(), any::<prop::sample::Index>(), any::<bool>()), |(bytes, cut, bare_lf)| {
        let limits = HeadLimits { bare_lf, ..HeadLimits::default() };
        // However it arrives, it ends in the same place, or is refused: by one look or the next.
        let whole = taken_at(&bytes, Scanner::default().find_end(&bytes, &limits), &limits);
        let mut scanner = Scanner::default();
        let early = scanner.find_end(&bytes[..cut.index(bytes.len() + 1)], &limits);
        let found = if early == Ok(None) { scanner.find_end(&bytes, &limits) } else { early };
        assert_eq!(
            taken_at(&bytes, found, &limits).map(|(bytes, _)| bytes),
            whole.as_ref().map(|(bytes, _)| bytes.clone())
        );
        let Some((bytes, head)) = whole else { return Ok(()) };
        let bytes = &bytes[..];
        taken.set(taken.get() + 1);
        one_reading(bytes, &head);
        let (words, fields) = plain_reading(bytes).expect("lines");
        let [method, target, version] = words[..] else { panic!("{} words", words.len()) };
        assert_eq!((method, target), (head.method.as_str().as_bytes(), &bytes[head.target.clone()]));
        assert_eq!(version, if head.version == Version::HTTP_10 { b"HTTP/1.0" } else { b"HTTP/1.1" });
        for [name, value] in fields {
            assert!(!name.is_empty() && name.iter().all(|byte| byte.is_ascii_graphic()), "{}", name.escape_ascii());
            assert!(!value.iter().any(|byte| b"\r\n\0".contains(byte)), "{}", value.escape_ascii());
        }
        if let Some(printed) = head.rewritten(bytes) {
            rewritten.set(rewritten.get() + 1);
            let (again, length) = parse(&printed).expect("what we write can be read");
            assert_eq!(length, printed.len());
            one_reading(&printed, &again);
            assert!(again.rewritten(&printed).is_none());
            assert_eq!((again.host, again.body, again.upgrade), (head.host, head.body, head.upgrade));
            assert_eq!((again.method, again.version, again.keep_alive), (head.method, head.version, head.keep_alive));
        }
        Ok(())
    });
    if let Err(TestError::Fail(reason, (bytes, ..))) = &result {
        panic!("{}: {reason}", bytes.escape_ascii());
    }
    result.expect("no case is given up");
    let (cases, taken, rewritten) = (u64::from(cases), taken.get(), rewritten.get());
    assert!(
        taken > cases / 15 && rewritten > cases / 40,
        "of {cases} cases {taken} are accepted, {rewritten} rewritten"
    );
}
