//! Where a client wants to go.

use std::net::{IpAddr, SocketAddr};

use plugin_api::Address;

/// A host and port, as a client writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination<'a> {
    pub(crate) host: Host<'a>,
    pub(crate) port: u16,
}

/// A host: a name, or an address that needs no look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host<'a> {
    Name(&'a str),
    Ip(IpAddr),
}

impl<'a> Destination<'a> {
    /// Reads `host`, `host:port`, `[address]` or `[address]:port`. `None` for what is none of these, a port of 0 or above
    /// 65535 included.
    pub(crate) fn parse(authority: &'a str, default_port: u16) -> Option<Self> {
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
    pub(crate) fn address(&self) -> Address {
        match self.host {
            Host::Name(name) => Address::Host { name: name.to_ascii_lowercase().into(), port: self.port },
            Host::Ip(ip) => Address::Socket(SocketAddr::new(ip, self.port)),
        }
    }
}

impl<'a> Host<'a> {
    fn of(text: &'a str) -> Option<Self> {
        if let Ok(ip) = text.parse() {
            return Some(Self::Ip(IpAddr::V4(ip)));
        }
        (!text.is_empty()).then_some(Self::Name(text))
    }
}

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
}
