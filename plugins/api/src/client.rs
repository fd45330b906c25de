//! Who is at the other end of a connection.

use std::{
    fmt,
    net::{AddrParseError, IpAddr, SocketAddr},
    str::FromStr,
};

/// The client of a connection. One that came through a unix socket has no address, so no rule by address can be about it:
/// that is why [`ip`](Self::ip) is an `Option`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// A program at this address: that of the connection, or what a proxy that is believed has announced (PROXY protocol).
    Inet(SocketAddr),
    /// A program of this machine, or one that a proxy has announced so: it came through a unix socket.
    Unix,
}

impl Client {
    /// The address, without a port; an IPv4 address that is mapped into IPv6 is the IPv4 address.
    pub fn ip(self) -> Option<IpAddr> {
        match self {
            Self::Inet(address) => Some(address.ip().to_canonical()),
            Self::Unix => None,
        }
    }

    /// The address as text, without a port, for logs and pages: `unix:` where there is none.
    pub fn name(self) -> String {
        self.ip().map_or_else(|| UNIX.to_owned(), |address| address.to_string())
    }
}

impl From<SocketAddr> for Client {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(address)
    }
}

/// Address and port, or `unix:`.
impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix => f.write_str(UNIX),
        }
    }
}

/// What [`Display`](fmt::Display) writes.
impl FromStr for Client {
    type Err = AddrParseError;

    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        if text == UNIX { Ok(Self::Unix) } else { text.parse().map(Self::Inet) }
    }
}

/// What nginx writes, too.
const UNIX: &str = "unix:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_without_an_address_says_so() {
        let client = Client::from("[::ffff:192.0.2.1]:7".parse::<SocketAddr>().unwrap());
        assert_eq!((client.name().as_str(), client.ip()), ("192.0.2.1", Some([192, 0, 2, 1].into())));
        assert_eq!((Client::Unix.name().as_str(), Client::Unix.ip()), ("unix:", None));
        for text in ["unix:", "192.0.2.1:7", "[2001:db8::1]:7"] {
            assert_eq!(text.parse::<Client>().unwrap().to_string(), text);
        }
        assert!("unix".parse::<Client>().is_err());
    }
}
