//! Where a client wants to go.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::Address;

/// A host and port, as a client writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination<'a> {
    /// The host.
    pub host: Host<'a>,
    /// The port.
    pub port: u16,
}

/// A host: a name, or an address that needs no look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// A name, as it was written.
    Name(&'a str),
    /// An address.
    Ip(IpAddr),
}

impl<'a> Destination<'a> {
    /// Reads `host`, `host:port`, `[address]` or `[address]:port`. `None` for what is none of these, a port of 0 or above
    /// 65535 included.
    pub fn parse(authority: &'a str, default_port: u16) -> Option<Self> {
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                (Host::Ip(IpAddr::V6(address.parse().ok()?)), port)
            }
            None => {
                let (host, _) = authority.split_once(':').unwrap_or((authority, ""));
                (Host::of(host)?, authority.strip_prefix(host)?)
            }
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => default_port,
            // A colon without a port is the default port (RFC 3986 §3.2.3).
            Some("") => default_port,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|port| *port != 0)?
            }
            _ => return None,
        };
        Some(Self { host, port })
    }

    /// For the engine.
    pub fn address(&self) -> Address {
        match self.host {
            Host::Name(name) => Address::Host { name: name.into(), port: self.port },
            Host::Ip(ip) => Address::Socket(SocketAddr::new(ip, self.port)),
        }
    }
}

impl<'a> Host<'a> {
    /// As a certificate has it: an IPv6 address without brackets.
    pub fn text(&self) -> String {
        match self {
            Self::Name(name) => name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase(),
            Self::Ip(ip) => ip.to_string(),
        }
    }

    /// The same as the client wrote it, but for an address in an odd spelling.
    pub fn written(&self) -> String {
        match self {
            Self::Name(name) => (*name).to_owned(),
            Self::Ip(ip) => ip.to_string(),
        }
    }

    fn of(text: &'a str) -> Option<Self> {
        if let Some(ip) = text.parse().ok().or_else(|| numbers(text)) {
            return Some(Self::Ip(IpAddr::V4(ip)));
        }
        (!text.is_empty()).then_some(Self::Name(text))
    }
}

/// Reads `127.1`, `2130706433`, `0x7f.1` or `0177.0.0.1`: the system's resolver takes them for addresses (inet_aton(3)), so a
/// rule about addresses must know them too.
fn numbers(text: &str) -> Option<Ipv4Addr> {
    let number = |part: &str| match part.strip_prefix("0x").or_else(|| part.strip_prefix("0X")) {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => u32::from_str_radix(digits, 16).ok(),
        None if part.bytes().all(|byte| byte.is_ascii_digit()) => {
            u32::from_str_radix(part, if part.starts_with('0') { 8 } else { 10 }).ok()
        }
        _ => None,
    };
    let numbers = text.split('.').map(number).collect::<Option<Vec<u32>>>()?;
    let (last, first) = numbers.split_last().filter(|(_, first)| first.len() < 4)?;
    // The last number fills the bytes that are left.
    let left = 32 - 8 * u32::try_from(first.len()).ok()?;
    let fits = first.iter().all(|number| *number < 256) && u64::from(*last) < 1 << left;
    let high = first.iter().fold(0, |sum: u64, number| sum << 8 | u64::from(*number));
    fits.then(|| u32::try_from(high << left | u64::from(*last)).ok().map(Ipv4Addr::from_bits)).flatten()
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_read_in_every_form() {
        let ip = |text: &str| Host::Ip(text.parse().unwrap());
        let cases = [
            ("a.example", Host::Name("a.example"), 80),
            ("a.example:8080", Host::Name("a.example"), 8080),
            ("a.example:", Host::Name("a.example"), 80),
            ("127.0.0.1:1", ip("127.0.0.1"), 1),
            ("[2001:db8::1]", ip("2001:db8::1"), 80),
            ("[::1]:65535", ip("::1"), 65535),
        ];
        for (text, host, port) in cases {
            assert_eq!(Destination::parse(text, 80), Some(Destination { host, port }), "{text}");
        }
        for text in
            ["", ":80", "a:0", "a:65536", "a:065979", "a:+80", "a:80:80", "::1", "[::1", "[::1]80", "[a]:80", "a:8 0"]
        {
            assert_eq!(Destination::parse(text, 80), None, "{text}");
        }
    }

    #[test]
    fn addresses_are_known_in_every_spelling_of_the_system() {
        for text in
            ["127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0X7F.1", "0177.0.0.01", "017700000001"]
        {
            assert_eq!(Host::of(text), Some(Host::Ip([127, 0, 0, 1].into())), "{text}");
        }
        assert_eq!(Host::of("0"), Some(Host::Ip([0; 4].into())));
        assert_eq!(Host::of("4294967295"), Some(Host::Ip([255; 4].into())));
        for name in [
            "4294967296",
            "256.1",
            "1.256.1.1",
            "1.65536.1",
            "127.0.0.1.",
            "127..1",
            "1.2.3.4.5",
            "0x",
            "08",
            "a",
            "0xg",
            "1x",
            "+1",
        ] {
            assert_eq!(Host::of(name), Some(Host::Name(name)), "{name}");
        }
    }
}
