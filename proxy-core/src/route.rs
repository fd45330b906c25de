//! Which chain takes a request.

use std::{fmt, str::FromStr, sync::Arc};

use http::Method;
use plugin_api::{Chain, Client};

use crate::Source;

/// A route: conditions, all of which must hold, and the chain for requests that meet them. An empty list of conditions of
/// one kind holds for every request.
#[derive(Debug)]
pub struct Route {
    /// Names of listeners.
    pub listeners: Vec<Arc<str>>,
    /// Hosts.
    pub hosts: Vec<HostPattern>,
    /// The path must start with this; compared byte by byte with the path as sent, so `/a` also takes `/ab` and
    /// `/%61` is another path.
    pub path: Option<Box<str>>,
    /// Methods.
    pub methods: Vec<Method>,
    /// Clients.
    pub clients: Vec<Source>,
    /// The chain.
    pub chain: Arc<Chain>,
}

/// What routes are chosen by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) listener: &'a str,
    pub(crate) host: Option<&'a str>,
    pub(crate) path: &'a [u8],
    pub(crate) method: &'a Method,
    pub(crate) client: Client,
}

/// The first route that matches.
pub(crate) fn find<'r>(routes: &'r [Route], facts: &Facts<'_>) -> Option<&'r Arc<Chain>> {
    routes.iter().find(|route| route.matches(facts)).map(|route| &route.chain)
}

/// The chain that speaks for requests which no route takes, or which cannot be read: of the first route that a client of this
/// listener may get to at all.
pub(crate) fn spokesman<'r>(routes: &'r [Route], listener: &str, client: Client) -> Option<&'r Arc<Chain>> {
    reachable(routes, listener, client).next()
}

/// The chains of all routes that a client of this listener may get to, if each of them may turn him away before he asks for
/// anything; otherwise none.
pub(crate) fn doorkeepers<'r>(routes: &'r [Route], listener: &str, client: Client) -> Vec<&'r Arc<Chain>> {
    let reachable: Vec<_> = reachable(routes, listener, client).collect();
    if reachable.iter().all(|chain| chain.sees_clients()) { reachable } else { Vec::new() }
}

fn reachable<'r>(routes: &'r [Route], listener: &str, client: Client) -> impl Iterator<Item = &'r Arc<Chain>> {
    let is_open = move |route: &&Route| {
        (route.listeners.is_empty() || route.listeners.iter().any(|name| **name == *listener))
            && (route.clients.is_empty() || route.clients.iter().any(|range| range.contains(client)))
    };
    routes.iter().filter(is_open).map(|route| &route.chain)
}

impl Route {
    /// A route without conditions.
    pub fn all(chain: Arc<Chain>) -> Self {
        Self { listeners: Vec::new(), hosts: Vec::new(), path: None, methods: Vec::new(), clients: Vec::new(), chain }
    }

    fn matches(&self, facts: &Facts<'_>) -> bool {
        let holds = |empty: bool, any: &dyn Fn() -> bool| empty || any();
        holds(self.listeners.is_empty(), &|| self.listeners.iter().any(|name| **name == *facts.listener))
            && self.path.as_ref().is_none_or(|path| facts.path.starts_with(path.as_bytes()))
            && holds(self.hosts.is_empty(), &|| {
                facts.host.is_some_and(|host| self.hosts.iter().any(|pattern| pattern.matches(host)))
            })
            && holds(self.methods.is_empty(), &|| self.methods.contains(facts.method))
            && holds(self.clients.is_empty(), &|| self.clients.iter().any(|range| range.contains(facts.client)))
    }
}

/// A host condition: `example.com`, or `*.example.com` for every name below it (at any depth, not itself).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// This name or address.
    Exact(Box<str>),
    /// Every name that ends in this, which starts with a dot.
    Below(Box<str>),
}

impl HostPattern {
    /// `host` is in lower case and has no port.
    fn matches(&self, host: &str) -> bool {
        // A trailing dot names the same host (RFC 1034 §3.1); a rule must not be passed by adding one.
        let host = host.strip_suffix('.').unwrap_or(host);
        match self {
            Self::Exact(name) => **name == *host,
            Self::Below(suffix) => host.len() > suffix.len() && host.ends_with(&**suffix),
        }
    }
}

impl FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<Self, HostPatternError> {
        let lower = text.to_ascii_lowercase();
        let (name, below) = lower.strip_prefix("*.").map_or((lower.as_str(), false), |name| (name, true));
        let is_address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).is_some();
        if name.is_empty() || name.contains('*') {
            return Err(HostPatternError::Wildcard);
        }
        if !is_address && name.contains(':') {
            return Err(HostPatternError::Port);
        }
        if name.bytes().any(|byte| byte <= b' ' || b"/\\@?#".contains(&byte)) {
            return Err(HostPatternError::Character);
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        if !is_address && name.split('.').any(str::is_empty) {
            return Err(HostPatternError::Character);
        }
        Ok(if below { Self::Below(format!(".{name}").into()) } else { Self::Exact(name.into()) })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(suffix) => write!(f, "*{suffix}"),
        }
    }
}

/// Why a text is not a [`HostPattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostPatternError {
    /// `*` stands somewhere else than alone before the first dot, or nothing follows it.
    #[error("`*` may only stand for whole labels at the start, as in `*.example.com`")]
    Wildcard,
    /// A port is given.
    #[error("a host has no port here; the listener decides the port (write IPv6 addresses in brackets)")]
    Port,
    /// A character that no host has.
    #[error("this is not a host name")]
    Character,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_patterns_match_whole_labels() {
        let cases = [
            ("example.com", "example.com", true),
            ("Example.com", "example.com", true),
            ("example.com", "example.com.", true),
            ("example.com", "www.example.com", false),
            ("*.example.com", "www.example.com", true),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "badexample.com", false),
            ("[2001:db8::1]", "[2001:db8::1]", true),
        ];
        for (pattern, host, expected) in cases {
            let pattern: HostPattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(host), expected, "{pattern} on {host}");
        }
        assert_eq!("a.*.b".parse::<HostPattern>(), Err(HostPatternError::Wildcard));
        assert_eq!("*".parse::<HostPattern>(), Err(HostPatternError::Wildcard));
        assert_eq!("a:80".parse::<HostPattern>(), Err(HostPatternError::Port));
        for wrong in ["a/b", "a..b", ".a", "*..a", "a.."] {
            assert_eq!(wrong.parse::<HostPattern>(), Err(HostPatternError::Character), "{wrong}");
        }
    }
}
