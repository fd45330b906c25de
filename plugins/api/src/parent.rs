//! Proxies on the way to a peer.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use crate::{Address, Health, Tls};

/// Another proxy on the way to a peer. It resolves the peer's name, and connects to it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Parent {
    /// What it speaks.
    pub kind: ParentKind,
    /// Where it is: one address after the other is tried until one can be connected.
    pub addresses: Arc<[Address]>,
    /// User name and password.
    pub credentials: Option<(String, String)>,
    /// TLS towards it; `None` for plain.
    pub tls: Option<Tls>,
    /// Which of the addresses could not be connected lately, and are tried last; the engine keeps it up to date.
    pub health: Option<Arc<Health>>,
}

impl Parent {
    /// A parent without credentials that is reached at any of these addresses, without TLS.
    pub fn new(kind: ParentKind, addresses: impl Into<Arc<[Address]>>) -> Self {
        Self { kind, addresses: addresses.into(), credentials: None, tls: None, health: None }
    }

    /// Sends this user name and password.
    #[must_use]
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.credentials = Some((user.into(), password.into()));
        self
    }

    /// Uses TLS towards it.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Tries addresses last that could not be connected lately. One for each address.
    #[must_use]
    pub fn health(mut self, health: Option<Arc<Health>>) -> Self {
        self.health = health;
        self
    }
}

impl PartialEq for Parent {
    /// Whether they are the same way to a peer, however well they are.
    fn eq(&self, other: &Self) -> bool {
        (self.kind, &self.addresses, &self.credentials, &self.tls)
            == (other.kind, &other.addresses, &other.credentials, &other.tls)
    }
}

impl Eq for Parent {}

impl Hash for Parent {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.kind, &self.addresses, &self.credentials, &self.tls).hash(state);
    }
}

/// What a parent proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParentKind {
    /// HTTP: plain requests are passed on in absolute form, everything else through `CONNECT`.
    Http,
    /// SOCKS 4a.
    Socks4a,
    /// SOCKS 5 ([RFC 1928](https://www.rfc-editor.org/rfc/rfc1928)).
    Socks5,
}
