//! What a rule is about: addresses, or names.

use std::{net::IpAddr, str::FromStr};

use plugin_api::CidrError;

/// The clients that a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Clients {
    Network(Network),
    Name(Name),
}

/// A range of addresses. IPv4 is a part of IPv6 here (`::ffff:0:0/96`): `::/0` is everybody, and `0.0.0.0/0` all of IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    first: u128,
    prefix: u32,
}

/// The name of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// Lower case, without dots around it.
    text: Box<str>,
    /// Whether the rule is about names below it only.
    below: bool,
}

/// Why a text says nothing about clients.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClientsError {
    #[error("{0}")]
    Network(#[from] CidrError),
    #[error("this is neither an address, nor a range of addresses, nor the name of a host")]
    Name,
}

impl FromStr for Clients {
    type Err = ClientsError;

    fn from_str(text: &str) -> Result<Self, ClientsError> {
        if text.contains(['/', ':']) || text.parse::<IpAddr>().is_ok() {
            return Ok(Self::Network(text.parse()?));
        }
        Name::parse(text).map(Self::Name).ok_or(ClientsError::Name)
    }
}

impl Network {
    pub(crate) fn contains(&self, client: IpAddr) -> bool {
        let mask = u128::MAX.checked_shl(128 - self.prefix).unwrap_or(0);
        self.first & mask == as_ipv6(client) & mask
    }
}

impl FromStr for Network {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|source| CidrError::Address { source })?;
        let (most, before) = if address.is_ipv4() { (32, 96) } else { (128, 0) };
        let prefix = match prefix {
            None => most,
            Some(prefix) => prefix.parse().ok().filter(|prefix| *prefix <= most).ok_or(CidrError::Prefix { most })?,
        };
        Ok(Self { first: as_ipv6(address), prefix: before + u32::from(prefix) })
    }
}

fn as_ipv6(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl Name {
    fn parse(text: &str) -> Option<Self> {
        let (rest, below) = text.strip_prefix('.').map_or((text, false), |rest| (rest, true));
        let rest = rest.strip_suffix('.').unwrap_or(rest);
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        // No top-level domain is a number, but a mistyped address ends in one, and the system would read `127.1` as one.
        let is_number = rest.rsplit('.').next()?.bytes().all(|byte| byte.is_ascii_digit());
        let is_name = rest.len() <= 253 && rest.split('.').all(is_label) && !is_number;
        is_name.then(|| Self { text: rest.to_ascii_lowercase().into(), below })
    }

    /// The name of the one host that it is, if it is one.
    pub(crate) fn host(&self) -> Option<&str> {
        (!self.below).then_some(&self.text)
    }

    /// Whether a host of this name is meant: the host itself, or one below it. Labels count, not letters: `example.com` does
    /// not cover `badexample.com`.
    pub(crate) fn covers(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        match host.strip_suffix(&*self.text) {
            Some("") => !self.below,
            Some(before) => before.ends_with('.') && before.len() > 1,
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_the_addresses_that_tinyproxy_finds_in_them() {
        for (range, client, expected) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("127.0.0.1", "::ffff:127.0.0.1", true),
            ("127.0.5.5/16", "127.0.9.9", true),
            ("127.0.5.5/16", "127.1.0.0", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("192.0.2.0/31", "192.0.2.1", true),
            ("192.0.2.0/31", "192.0.2.2", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "::1", false),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "203.0.113.9", true),
            ("::/0", "2001:db8::1", true),
            ("::/1", "203.0.113.9", true),
            ("::1", "::1", true),
            ("::1", "127.0.0.1", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("::ffff:10.0.0.0/104", "10.9.9.9", true),
            ("::ffff:10.0.0.0/104", "11.0.0.0", false),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("::10.0.0.1", "10.0.0.1", false),
        ] {
            let network: Network = range.parse().unwrap();
            assert_eq!(network.contains(client.parse().unwrap()), expected, "{client} in {range}");
        }
    }

    #[test]
    fn names_end_at_a_dot() {
        for (name, host, expected) in [
            ("host", "host", true),
            ("host", "HOST.", true),
            ("host", "localhost", false),
            ("host", "a.host", true),
            ("host", "host.example", false),
            ("example.com", "example.com", true),
            ("Example.COM.", "www.example.com", true),
            ("example.com", "badexample.com", false),
            ("example.com", ".example.com", false),
            (".example.com", "example.com", false),
            (".example.com", "a.b.example.com", true),
            (".example.com", "badexample.com", false),
            (".example.com", "example.com.evil.test", false),
            (".example.com", "", false),
        ] {
            let Clients::Name(name) = name.parse().unwrap() else { panic!("{name} is a name") };
            assert_eq!(name.covers(host), expected, "{host} in {name:?}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            ".",
            "..",
            "a..b",
            "..a",
            "*",
            "*.example.com",
            "host:80",
            "host/8",
            "10.0.0.0/33",
            "10.0.0.0/255.0.0.0",
            "10.0.0.0/",
            "10.0.0/8",
            "::1/129",
            ":::",
            "[::1]",
            "10.0.0.300",
            "127.1",
            "10",
            "bücher.example",
            "a b",
            "fe80::1%eth0",
        ] {
            assert!(text.parse::<Clients>().is_err(), "{text}");
        }
        assert!("x".repeat(64).parse::<Clients>().is_err());
        for text in ["a-b_c.example", "3com.com", "xn--bcher-kva.example", "localhost", "-"] {
            assert!(matches!(text.parse(), Ok(Clients::Name(_))), "{text}");
        }
    }
}
