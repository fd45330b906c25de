//! Destinations made at random (`cargo xtask fuzz authority`).

use proptest::{
    prelude::{Strategy, any, prop},
    prop_assert, prop_assert_eq, prop_oneof,
};

use super::*;

const PIECES: &[&str] = &[
    "a",
    "B.example",
    "127",
    ".",
    "1",
    "0x7f",
    "0",
    "00",
    "08",
    "0xg",
    "255",
    "256",
    "4294967295",
    "4294967296",
    "[",
    "]",
    "[::1]",
    "[::ffff:1.2.3.4]",
    ":",
    ":80",
    ":0",
    ":65535",
    ":65536",
    ":65979",
    ":4294967376",
    ":+80",
    "@",
    "/",
    " ",
    "%",
    "\u{e4}",
];

fn destinations() -> impl Strategy<Value = String> {
    let pieces = prop::collection::vec(prop::sample::select(PIECES), 0..8).prop_map(|pieces| pieces.concat());
    let numbers = prop::collection::vec(any::<u32>().prop_map(|number| number >> (number % 32)), 1..6);
    let dotted = numbers.prop_map(|numbers| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join("."));
    let port = ("[a-z]{1,3}", 0..140_000_u32).prop_map(|(host, port)| format!("{host}:{port}"));
    prop_oneof![4 => pieces, 2 => dotted, 2 => port, 1 => any::<String>()]
}

proptest::proptest! {
    /// A port is the number that is written; an address is the one that the system would make of the text.
    #[test]
    fn ports_and_addresses_are_what_is_written(text in destinations(), default in 1..=u16::MAX) {
        let Some(Destination { host, port }) = Destination::parse(&text, default) else { return Ok(()) };
        prop_assert!(port != 0);
        let end = text.rfind(']').map_or(0, |end| end + 1);
        match text.split_at(end).1.split_once(':') {
            None | Some((_, "")) => prop_assert_eq!(port, default),
            Some((_, digits)) => prop_assert_eq!(digits.trim_start_matches('0'), port.to_string()),
        }
        match &host {
            Host::Name(name) => {
                prop_assert!(!name.is_empty() && !name.contains(':') && text.starts_with(name));
                // Nobody else takes it for an address either.
                prop_assert!(name.parse::<IpAddr>().is_err() && !is_numeric(name), "{name}");
            }
            Host::Ip(IpAddr::V4(ip)) => {
                let written = text.split(':').next().unwrap_or_default();
                prop_assert_eq!(system(written), Some(*ip), "{}", written);
            }
            Host::Ip(IpAddr::V6(ip)) => prop_assert!(text.starts_with('['), "{text} {ip}"),
        }
        // What is printed is read again.
        let printed = match &host {
            Host::Name(name) => format!("{name}:{port}"),
            Host::Ip(ip) => SocketAddr::new(*ip, port).to_string(),
        };
        prop_assert_eq!(Destination::parse(&printed, 1), Some(Destination { host: host.clone(), port }));
    }
}

/// The address that the system's resolver makes of numbers, without asking anybody. A `None` may be a name.
fn system(text: &str) -> Option<Ipv4Addr> {
    use std::net::ToSocketAddrs as _;
    let is_numbers = text.bytes().all(|byte| byte.is_ascii_hexdigit() || b".xX".contains(&byte));
    let address = (text, 1).to_socket_addrs().ok().filter(|_| is_numbers)?.next()?;
    match address.ip() {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    }
}

/// One to four decimal numbers that would be an address.
fn is_numeric(name: &str) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    let [first @ .., last] = &parts[..] else { return false };
    let number = |part: &&str| -> Option<u64> {
        let is_decimal = part.bytes().all(|byte| byte.is_ascii_digit()) && !part.starts_with('0');
        part.parse().ok().filter(|_| is_decimal)
    };
    let most = 1_u64 << (8 * (5_usize.saturating_sub(parts.len())));
    parts.len() <= 4
        && first.iter().all(|part| number(part).is_some_and(|number| number < 256))
        && number(last).is_some_and(|number| number < most)
}
