//! Addresses, networks and names: the shapes that tinyproxy's grammar admits, and what they mean.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::argument::is_name;

/// An address of this machine, for `Listen` and `Bind`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Local {
    pub(super) address: Numeric,
    /// The interface of a link-local address.
    pub(super) scope: Option<String>,
}

/// An address, or what was written in the place of one: whoever listens there finds out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Numeric {
    Ip(IpAddr),
    /// It has the shape, and is none: `999.1.1.1`.
    Nobodys(String),
}

impl fmt::Display for Numeric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(f),
            Self::Nobodys(word) => word.fmt(f),
        }
    }
}

/// Why a word is no address of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotLocal {
    /// The grammar does not admit it.
    Shape,
    /// It looks like one, but names none: `999.1.1.1`.
    Value,
}

impl Local {
    pub(super) fn parse(word: &str) -> Result<Self, NotLocal> {
        let (address, scope) = match word.split_once('%') {
            Some((address, scope)) => (address, Some(scope)),
            None => (word, None),
        };
        let shaped = match scope {
            Some(scope) => looks_like_ipv6(address) && (1..=16).contains(&scope.len()) && !scope.contains(['\\', '/']),
            None => looks_like_ipv4(address) || looks_like_ipv6(address),
        };
        if !shaped {
            return Err(NotLocal::Shape);
        }
        let address = Numeric::Ip(ip(address).ok_or(NotLocal::Value)?);
        Ok(Self { address, scope: scope.map(str::to_owned) })
    }
}

/// Which hosts a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hosts {
    Network(Network),
    /// A name; with a dot in front, all names below it.
    Name(String),
}

impl Hosts {
    /// What tinyproxy makes of a text. `None`: it warns and drops the rule.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, mask) = match text.rsplit_once('/') {
            Some((address, mask)) => (address, Some(mask)),
            None => (text, None),
        };
        match (ip(address), mask) {
            (Some(address), mask) => Network::new(address, mask).map(Self::Network),
            (None, None) if !text.contains(':') => Some(Self::Name(text.to_owned())),
            (None, _) => None,
        }
    }

    /// Whether the grammar of `Allow` and `Deny` admits a word.
    pub(super) fn is_client(word: &str) -> bool {
        let (address, bits) = word.split_once('/').unwrap_or((word, "0"));
        let is_mask = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
        (is_mask && (looks_like_ipv4(address) || looks_like_ipv6(address))) || is_name(word)
    }
}

impl Hosts {
    /// The same as rules with networks that are a number of leading bits each.
    pub(super) fn sites(&self) -> Vec<String> {
        match self {
            Self::Network(network) => network.without_holes().iter().map(ToString::to_string).collect(),
            Self::Name(name) => vec![name.clone()],
        }
    }
}

impl fmt::Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// Addresses that are equal under a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    V4 { address: Ipv4Addr, mask: u32 },
    V6 { address: Ipv6Addr, bits: u32 },
}

impl Network {
    fn new(address: IpAddr, mask: Option<&str>) -> Option<Self> {
        match address {
            IpAddr::V4(address) => {
                let mask = match mask {
                    Some(dotted) if dotted.contains('.') => dotted.parse::<Ipv4Addr>().ok()?.to_bits(),
                    mask => u32::MAX.checked_shl(32 - bits(mask, 32)?).unwrap_or(0),
                };
                Some(Self::V4 { address: Ipv4Addr::from_bits(address.to_bits() & mask), mask })
            }
            IpAddr::V6(_) if mask.is_some_and(|mask| mask.contains('.')) => None,
            IpAddr::V6(address) => {
                let bits = bits(mask, 128)?;
                let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
                Some(Self::V6 { address: Ipv6Addr::from_bits(address.to_bits() & mask), bits })
            }
        }
    }

    /// The networks that a mask with holes stands for, unless they are very many: then it is left as it is.
    fn without_holes(self) -> Vec<Self> {
        let Self::V4 { address, mask } = self else { return vec![self] };
        let whole = u32::MAX.checked_shl(mask.trailing_zeros()).unwrap_or(0);
        let holes = whole & !mask;
        if holes.count_ones() > MOST_HOLES {
            return vec![self];
        }
        let mut networks = Vec::new();
        let mut filled = 0_u32;
        loop {
            networks.push(Self::V4 { address: Ipv4Addr::from_bits(address.to_bits() | filled), mask: whole });
            // The next number that has bits in the holes only.
            filled = filled.wrapping_sub(holes) & holes;
            if filled == 0 {
                return networks;
            }
        }
    }

    /// Whether the mask is not a number of leading bits, as in `255.0.255.0`.
    pub(super) fn has_holes(&self) -> bool {
        matches!(self, Self::V4 { mask, .. } if mask.leading_ones() + mask.trailing_zeros() != 32)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4 { address, mask: u32::MAX } => address.fmt(f),
            Self::V4 { address, mask } if self.has_holes() => write!(f, "{address}/{}", Ipv4Addr::from_bits(*mask)),
            Self::V4 { address, mask } => write!(f, "{address}/{}", mask.leading_ones()),
            Self::V6 { address, bits: 128 } => address.fmt(f),
            Self::V6 { address, bits } => write!(f, "{address}/{bits}"),
        }
    }
}

/// The number in front of a mask, read as `strtoul` does: blanks and a plus before it and anything behind it are passed over.
fn bits(mask: Option<&str>, most: u32) -> Option<u32> {
    let Some(mask) = mask else { return Some(most) };
    let mask = mask.trim_start();
    let mask = mask.strip_prefix('+').unwrap_or(mask);
    let digits = mask.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().ok().filter(|bits| *bits <= most)
}

/// An address as `inet_aton` and `inet_pton` read it.
fn ip(text: &str) -> Option<IpAddr> {
    ipv4(text).map(IpAddr::V4).or_else(|| text.parse().ok().map(IpAddr::V6))
}

/// One to four numbers, each decimal, octal (`0…`) or hexadecimal (`0x…`); the last fills what is left of the address.
fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<&str> = text.split('.').collect();
    let (last, before) = parts.split_last()?;
    let mut address = 0_u32;
    for (part, shift) in before.iter().zip([24_u32, 16, 8]) {
        address |= u32::from(u8::try_from(part_of_address(part)?).ok()?) << shift;
    }
    let room = u32::MAX.checked_shr(8 * u32::try_from(before.len()).ok()?)?;
    let last = part_of_address(last)?;
    (before.len() < 4 && last <= room).then(|| Ipv4Addr::from_bits(address | last))
}

fn part_of_address(part: &str) -> Option<u32> {
    let (digits, base) = match part.as_bytes() {
        [b'0', b'x' | b'X', ..] => (part.get(2..)?, 16),
        [b'0', _, ..] => (part, 8),
        _ => (part, 10),
    };
    let is_number = digits.chars().all(|digit| digit.is_digit(base));
    if is_number { u32::from_str_radix(digits, base).ok() } else { None }
}

/// Four groups of one to three digits.
fn looks_like_ipv4(text: &str) -> bool {
    let is_group = |group: &str| (1..=3).contains(&group.len()) && group.bytes().all(|byte| byte.is_ascii_digit());
    text.split('.').count() == 4 && text.split('.').all(is_group)
}

/// Two to 39 hexadecimal digits and colons, or up to 30 of them that end in a colon before an IPv4 address.
fn looks_like_ipv6(text: &str) -> bool {
    let is_groups = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
    match text.rsplit_once(':') {
        Some((groups, ipv4)) if ipv4.contains('.') => groups.len() <= 29 && is_groups(groups) && looks_like_ipv4(ipv4),
        _ => (2..=39).contains(&text.len()) && is_groups(text),
    }
}

/// 255.0.255.0 has eight, and is 256 networks.
const MOST_HOLES: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_mean_what_the_c_library_makes_of_them() {
        for (text, meaning) in [
            ("127.0.0.1", Some("127.0.0.1")),
            ("10.1.2.3/8", Some("10.0.0.0/8")),
            ("1.2.3.4/0", Some("0.0.0.0/0")),
            ("1.2.3.4/032", Some("1.2.3.4")),
            ("10/8", Some("0.0.0.0/8")),
            ("10.1", Some("10.0.0.1")),
            ("010.0x10.1", Some("8.16.0.1")),
            ("10.0.0.0/ +8x", Some("10.0.0.0/8")),
            ("10.9.8.7/255.255.0.0", Some("10.9.0.0/16")),
            ("10.9.8.7/255.255", None),
            ("10.9.8.7/33", None),
            ("10.9.8.7/", None),
            ("10.9.8.7/99999999999999999999", None),
            ("999.1.1.1", Some("999.1.1.1")),
            ("999.1.1.1/8", None),
            ("1.2.3.4.5", Some("1.2.3.4.5")),
            ("09.1.1.1", Some("09.1.1.1")),
            ("::1", Some("::1")),
            ("2001:DB8::1/32", Some("2001:db8::/32")),
            ("::1/129", None),
            ("::1/255.0.0.0", None),
            (":::", None),
            ("a:b", None),
            ("host:80", None),
            ("host/8", None),
            (".example.com", Some(".example.com")),
            (".", Some(".")),
            ("-", Some("-")),
        ] {
            assert_eq!(Hosts::parse(text).map(|hosts| hosts.to_string()).as_deref(), meaning, "{text}");
        }
    }

    #[test]
    fn only_dotted_masks_have_holes() {
        let has_holes = |text| match Hosts::parse(text) {
            Some(Hosts::Network(network)) => network.has_holes(),
            other => panic!("{other:?}"),
        };
        assert!(has_holes("10.0.0.0/255.0.255.0"));
        for text in ["10.0.0.0/255.0.0.0", "10.0.0.0/0", "10.0.0.0/0.0.0.0", "1.2.3.4", "::/0", "::1"] {
            assert!(!has_holes(text), "{text}");
        }
    }

    #[test]
    fn a_mask_with_holes_is_several_networks() {
        let sites = |text| Hosts::parse(text).map(|hosts| hosts.sites()).unwrap();
        assert_eq!(sites("10.9.8.7/255.0.0.0"), ["10.0.0.0/8"]);
        assert_eq!(sites("10.9.8.7/0.0.0.0"), ["0.0.0.0/0"]);
        assert_eq!(sites("1.2.3.4/255.255.255.252"), ["1.2.3.4/30"]);
        assert_eq!(sites("1.2.3.4/255.255.252.255").join(" "), "1.2.0.4 1.2.1.4 1.2.2.4 1.2.3.4");
        let many = sites("10.9.8.7/255.0.255.0");
        assert_eq!((many.len(), many[0].as_str(), many[255].as_str()), (256, "10.0.8.0/24", "10.255.8.0/24"));
        assert_eq!(sites("10.9.8.7/0.0.0.255"), ["0.0.0.7/0.0.0.255"]);
        assert_eq!(sites("::1/64"), ["::/64"]);
        assert_eq!(sites("x.example"), ["x.example"]);
    }

    #[test]
    fn local_addresses_have_one_of_two_shapes() {
        let parsed = |word| Local::parse(word).map(|local| (local.address.to_string(), local.scope));
        let plain = |address: &str| Ok((address.to_owned(), None));
        assert_eq!(parsed("127.0.0.1"), plain("127.0.0.1"));
        assert_eq!(parsed("127.0.0.02"), plain("127.0.0.2"));
        assert_eq!(parsed("::"), plain("::"));
        assert_eq!(parsed("::ffff:127.0.0.1"), plain("::ffff:127.0.0.1"));
        assert_eq!(parsed("fe80::1%eth0"), Ok(("fe80::1".to_owned(), Some("eth0".to_owned()))));
        for word in
            ["127.1", "localhost", "[::1]", "127.0.0.1:80", "fe80::1%", "127.0.0.1%eth0", "a", "*", "0x7f.0.0.1"]
        {
            assert_eq!(parsed(word), Err(NotLocal::Shape), "{word}");
        }
        for word in ["999.1.1.1", "dead", ":::", "127.0.0.08", "1:2"] {
            assert_eq!(parsed(word), Err(NotLocal::Value), "{word}");
        }
    }

    #[test]
    fn clients_are_addresses_networks_or_names() {
        for word in ["10.0.0.0/8", "::1/64", "dead/8", "999.1.1.1/99", ".example.com", "host", "1.2.3", ":::", "10/8"] {
            assert!(Hosts::is_client(word), "{word}");
        }
        for word in ["1.2.3.0/255.255.255.0", "*.x", "x:y", "\"x\"", "host/8", "1.2.3/8", "1.2.3.4/", ""] {
            assert!(!Hosts::is_client(word), "{word}");
        }
    }
}
