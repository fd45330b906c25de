//! Which proxy on the way is used for which host.

use std::{fmt, net::SocketAddr, sync::Arc};

use super::{Addresses, Destination, Host, Kind, ParentKeys};
use crate::{Address, BuildCx, Cidr, ConfigError, Health, Parent, ParentKind, TlsKeys, config::Duration};

/// The rules, in order.
#[derive(Debug)]
pub struct Parents(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    /// Empty matches every host.
    to: Vec<Pattern>,
    parent: Option<Arc<Parent>>,
}

/// A condition on a host.
#[derive(Debug, PartialEq, Eq)]
enum Pattern {
    Exact(String),
    /// Ends in this, which begins with a dot.
    Below(String),
    /// Has no dot.
    Plain,
    Range(Cidr),
}

impl Parents {
    /// Reads the rules of the key `parents`. With `bind_same` every client goes out in another way, and what one finds out says nothing about another's.
    ///
    /// # Errors
    ///
    /// One of them cannot be used.
    pub fn build(configs: Vec<ParentKeys>, bind_same: bool, cx: &mut BuildCx<'_>) -> Result<Self, ConfigError> {
        let rules = configs.into_iter().enumerate().map(|(index, mut config)| {
            if bind_same {
                config.fail_timeout = Duration::from_secs(0);
            }
            rule(config, cx).map_err(|message| ConfigError::key("parents", message).index(index).with_hint(FORMS))
        });
        Ok(Self(rules.collect::<Result<_, _>>()?))
    }

    /// The proxy to go through; `None` to go straight.
    pub fn towards(&self, destination: &Destination<'_>) -> Option<&Arc<Parent>> {
        self.0.iter().find(|rule| rule.matches(&destination.host))?.parent.as_ref()
    }

    /// The same with what is to be told about it.
    pub fn way<'w>(&'w self, destination: &'w Destination<'w>) -> Way<'w> {
        Way { parent: self.towards(destination), destination }
    }
}

/// The way to a destination. Shown, it is the line that tinyproxy's log has about it.
#[derive(Clone, Copy, Debug)]
pub struct Way<'w> {
    /// The proxy to go through; `None` to go straight.
    pub parent: Option<&'w Arc<Parent>>,
    destination: &'w Destination<'w>,
}

impl fmt::Display for Way<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.destination.host.written();
        match self.parent {
            None => write!(f, "No upstream proxy for {host}"),
            Some(parent) => {
                let (kind, address) = words(parent);
                write!(f, "Found upstream proxy {kind} {address} for {host}")
            }
        }
    }
}

impl Rule {
    fn matches(&self, host: &Host<'_>) -> bool {
        self.to.is_empty() || self.to.iter().any(|pattern| pattern.matches(host))
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "." {
            return Ok(Self::Plain);
        }
        if let Ok(range) = text.parse() {
            return Ok(Self::Range(range));
        }
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if text.is_empty() || !text.bytes().all(is_allowed) {
            return Err(format!("`{text}` is neither a host name, nor an address or a range"));
        }
        let text = text.to_ascii_lowercase();
        Ok(if text.starts_with('.') { Self::Below(text) } else { Self::Exact(text) })
    }

    fn matches(&self, host: &Host<'_>) -> bool {
        match (self, host) {
            (Self::Range(range), Host::Ip(ip)) => range.contains(*ip),
            (Self::Exact(name), Host::Name(host)) => plain(host).eq_ignore_ascii_case(name),
            (Self::Plain, Host::Name(host)) => !plain(host).contains('.'),
            (Self::Below(suffix), Host::Name(host)) => {
                let host = plain(host).as_bytes();
                host.len() > suffix.len() && host[host.len() - suffix.len()..].eq_ignore_ascii_case(suffix.as_bytes())
            }
            _ => false,
        }
    }
}

/// A trailing dot names the same host (RFC 1034 §3.1).
fn plain(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

fn rule(config: ParentKeys, cx: &mut BuildCx<'_>) -> Result<Rule, String> {
    let to = match &config.to {
        None => Vec::new(),
        Some(list) if list.is_empty() => return Err("an empty `to` matches nothing; leave it out to match all".into()),
        Some(list) => list.iter().map(|text| Pattern::parse(text)).collect::<Result<_, _>>()?,
    };
    let keys = tls_keys(&config);
    if let (Some(key), false) = (keys.given(), config.kind == Kind::Https) {
        return Err(format!("`{key}` is about TLS, which only `use = \"https\"` speaks"));
    }
    let kind = match config.kind {
        Kind::Http | Kind::Https => ParentKind::Http,
        Kind::Socks4a => ParentKind::Socks4a,
        Kind::Socks5 => ParentKind::Socks5,
        Kind::Direct if config.address.is_some() || config.user.is_some() || config.password.is_some() => {
            return Err("`direct` goes through no proxy: it has no address, user or password".into());
        }
        Kind::Direct => return Ok(Rule { to, parent: None }),
    };
    let mut parent = Parent::new(kind, addresses(config.address.as_ref())?);
    if config.kind == Kind::Https {
        parent = parent.tls(keys.read(cx).map_err(|(key, error)| format!("`{key}`: {error}"))?);
    }
    let health = Health::new(&parent.addresses, ("parent", parent.kind, &parent.tls), config.fail_timeout.0, cx);
    parent = match (config.user, config.password) {
        (None, None) => parent,
        (Some(user), Some(password)) if user.len() <= 255 && password.len() <= 255 => {
            parent.credentials(user, password)
        }
        (Some(_), Some(_)) => return Err("user and password have at most 255 bytes each".into()),
        _ => return Err("user and password go together".into()),
    };
    Ok(Rule { to, parent: Some(parent.health(health).into()) })
}

fn tls_keys(config: &ParentKeys) -> TlsKeys<'_> {
    TlsKeys {
        server_name: config.server_name.as_deref(),
        is_unverified: !config.verify,
        ca: config.ca.as_deref(),
        certificate: config.certificate.as_deref(),
        key: config.key.as_deref(),
    }
}

/// What it is called in tinyproxy's log.
fn words(parent: &Parent) -> (&'static str, String) {
    let kind = match parent.kind {
        ParentKind::Socks4a => "socks4",
        ParentKind::Socks5 => "socks5",
        _ => "http",
    };
    let address = match parent.addresses.first() {
        Some(Address::Host { name, port }) => format!("{name}:{port}"),
        Some(Address::Socket(address)) => address.to_string(),
        _ => String::new(),
    };
    (kind, address)
}

fn addresses(config: Option<&Addresses>) -> Result<Vec<Address>, String> {
    match config {
        Some(Addresses::One(text)) => Ok(vec![host_and_port(text)?]),
        Some(Addresses::Several(list)) if !list.is_empty() => list.iter().map(|text| host_and_port(text)).collect(),
        _ => Err("a proxy needs an `address`".into()),
    }
}

fn host_and_port(text: &str) -> Result<Address, String> {
    if text == NULL_ROUTE {
        // No connection to it succeeds, which is what it is written for.
        return Ok(Address::Socket(SocketAddr::from(([0, 0, 0, 0], 0))));
    }
    // Zero stands for "no port was written": a written zero is refused by the parser.
    match Destination::parse(text, 0) {
        Some(destination) if destination.port != 0 => Ok(destination.address()),
        _ => Err(format!("`{text}` is not a host and port")),
    }
}

/// Stands for a proxy that nobody reaches.
const NULL_ROUTE: &str = "0.0.0.0:0";
const FORMS: &str = "write { use = \"http\", address = \"proxy.example:3128\", to = [\".example\", \"10.0.0.0/8\"] }";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_labels_and_written_addresses() {
        let cases = [
            ("a.example", "A.Example", true),
            ("a.example", "a.example.", true),
            ("a.example", "b.a.example", false),
            (".example", "a.example", true),
            (".example", "example", false),
            (".example", "notexample", false),
            (".", "intranet", true),
            (".", "a.example", false),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "a.example", false),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("::1", "[::1]", true),
            ("10.1.2.3", "10.1.2.3", true),
        ];
        for (pattern, host, expected) in cases {
            let destination = Destination::parse(host, 80).unwrap();
            assert_eq!(Pattern::parse(pattern).unwrap().matches(&destination.host), expected, "{pattern} on {host}");
        }
        for wrong in ["", "a b", "*.example", "http://a"] {
            assert!(Pattern::parse(wrong).is_err(), "{wrong}");
        }
    }
}
