//! Authorities made at random (`cargo xtask fuzz authority`).

use proptest::{
    prelude::{Strategy, any, prop},
    prop_assert, prop_assert_eq, prop_oneof,
};

use super::*;

const PIECES: &[&str] = &[
    "a",
    "B.example",
    "127.0.0.1",
    "127.1",
    "[",
    "]",
    "[::1]",
    "[2001:db8::1]",
    "[::ffff:127.0.0.1]",
    "[::1%eth0]",
    ":",
    "::",
    ":80",
    ":0",
    ":65535",
    ":65536",
    ":65979",
    ":4294967376",
    ":18446744073709551696",
    ":00080",
    ":+80",
    ":-1",
    ":8 0",
    "@",
    "u:p@",
    "/",
    "\\",
    "?",
    "#",
    ",",
    " ",
    "%",
    "%00",
    "%2f",
    "\u{e4}",
    "xn--a",
    ".",
    "..",
    "_",
];

fn authorities() -> impl Strategy<Value = Vec<u8>> {
    let pieces =
        prop::collection::vec(prop::sample::select(PIECES), 0..5).prop_map(|pieces| pieces.concat().into_bytes());
    let port = ("[a-z.]{1,6}", any::<u64>()).prop_map(|(host, port)| format!("{host}:{port}").into_bytes());
    let small = ("[a-z.]{1,6}", 0..140_000_u32).prop_map(|(host, port)| format!("{host}:{port}").into_bytes());
    prop_oneof![8 => pieces, 1 => port, 2 => small, 1 => prop::collection::vec(any::<u8>(), 0..20)]
}

proptest::proptest! {
    /// A port is the number that is written or none at all, a host is what is before it, and what is printed is read again.
    #[test]
    fn hosts_and_ports_are_what_is_written(bytes in authorities()) {
        let Ok(Authority { host, port }) = Authority::parse(&bytes) else { return Ok(()) };
        let text = std::str::from_utf8(&bytes).expect("only text is accepted");
        let rest = text.get(host.len()..).expect("the host is a part of it");
        prop_assert!(text.get(..host.len()).is_some_and(|written| written.eq_ignore_ascii_case(&host)));
        match port {
            None => prop_assert!(rest.is_empty() || rest == ":", "{rest}"),
            Some(port) => {
                // Read as if no number were too large.
                let digits = rest.strip_prefix(':').expect("a colon").trim_start_matches('0');
                prop_assert_eq!(digits, if port == 0 { String::new() } else { port.to_string() });
            }
        }
        prop_assert!(!host.is_empty() && !host.contains(['@', '/', '\\', '?', '#', ',', ' ', '\0']), "{host}");
        prop_assert!(!host.bytes().any(|byte| byte.is_ascii_uppercase() || !byte.is_ascii_graphic()), "{host}");
        let printed = port.map_or_else(|| host.to_string(), |port| format!("{host}:{port}"));
        prop_assert_eq!(Authority::parse(printed.as_bytes()), Ok(Authority { host: host.clone(), port }));
        // Where the library for URIs reads one too, it reads the same.
        if let Ok(theirs) = text.parse::<http::uri::Authority>() {
            prop_assert!(theirs.host().eq_ignore_ascii_case(&host), "{} and {host}", theirs.host());
            prop_assert_eq!(theirs.port_u16(), port);
        }
    }
}
