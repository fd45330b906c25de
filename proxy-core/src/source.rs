//! Where connections come from, as rules say it.

use std::{fmt, str::FromStr};

use plugin_api::{Cidr, CidrError, Client};

/// Clients that a rule is about. A rule by address is never about a client without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Those of these addresses.
    Network(Cidr),
    /// Those that come through a unix socket, which have no address: the word `unix`.
    Unix,
}

impl Source {
    /// Whether the client comes from there.
    pub fn contains(&self, client: Client) -> bool {
        match self {
            Self::Network(network) => client.ip().is_some_and(|address| network.contains(address)),
            Self::Unix => client == Client::Unix,
        }
    }
}

impl From<Cidr> for Source {
    fn from(network: Cidr) -> Self {
        Self::Network(network)
    }
}

impl FromStr for Source {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        if text == UNIX { Ok(Self::Unix) } else { text.parse().map(Self::Network) }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Unix => f.write_str(UNIX),
        }
    }
}

const UNIX: &str = "unix";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_by_address_is_never_about_a_client_without_one() {
        let cases = [
            ("0.0.0.0/0", "192.0.2.1:1", true),
            ("0.0.0.0/0", "unix:", false),
            ("::/0", "unix:", false),
            ("0.0.0.0", "unix:", false),
            ("unix", "unix:", true),
            ("unix", "127.0.0.1:1", false),
            ("unix", "0.0.0.0:0", false),
        ];
        for (source, client, expected) in cases {
            let source: Source = source.parse().unwrap();
            assert_eq!(source.contains(client.parse().unwrap()), expected, "{client} from {source}");
            assert_eq!(source.to_string().parse(), Ok(source));
        }
        assert!("unix:".parse::<Source>().is_err());
    }
}
