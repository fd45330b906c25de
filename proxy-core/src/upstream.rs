//! Which address of a peer is tried next, and what pingora is told about it.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use http::StatusCode;
use pingora::upstreams::peer::{HttpPeer, PeerOptions};
use plugin_api::{Address, Bind, Connection, ParentKind, Peer};

use crate::{
    dial::{self, Handshake, ThroughParent, is_public},
    resolver::Resolver,
};

/// The attempts of one request at one peer.
pub(crate) struct Attempts {
    peer: Peer,
    /// Addresses of the peer that were taken.
    taken: usize,
    /// Resolved addresses of the last one taken, last to be tried first.
    resolved: Vec<IpAddr>,
    port: u16,
    current: Option<Destination>,
    /// What the proxy on the way is asked for.
    beyond: Option<Handshake>,
    /// Whether the current destination is to be tried again.
    again: bool,
    /// Whether a request was already repeated on a fresh connection.
    pub(crate) repeated: bool,
    /// The response had a status that lets the chain go on.
    pub(crate) declined: bool,
    pub(crate) failure: Option<Failure>,
}

/// A place that can be connected.
#[derive(Clone, Debug)]
pub(crate) enum Destination {
    Inet(SocketAddr),
    Unix(Arc<Path>),
}

/// Why no address could be connected; the last one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Refused, unreachable, or the TLS handshake failed.
    Connect,
    /// No answer to the attempt to connect.
    ConnectTimeout,
    /// The name has no address.
    Resolve,
    /// The name service did not answer.
    ResolveTimeout,
    /// It would be ourselves.
    Loop,
    /// It has an address that is not public, and only public ones are allowed.
    NotPublic,
    /// The proxy on the way did not connect it.
    Parent,
}

impl Attempts {
    pub(crate) fn new(peer: Peer) -> Self {
        Self {
            peer,
            taken: 0,
            resolved: Vec::new(),
            port: 0,
            current: None,
            beyond: None,
            again: false,
            repeated: false,
            declined: false,
            failure: None,
        }
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Tries the current destination once more.
    pub(crate) fn repeat(&mut self) {
        self.again = true;
        self.repeated = true;
    }

    /// The next destination; `None` when there is no other.
    pub(crate) async fn next(
        &mut self,
        resolver: &Resolver,
        connection: &Connection,
        own_port: u16,
    ) -> Option<Destination> {
        if std::mem::take(&mut self.again) {
            return self.current.clone();
        }
        loop {
            let next = self.candidate(resolver, connection, own_port).await?;
            if let Destination::Inet(to) = next {
                if self.peer.settings().public_only && self.beyond.is_none() && !is_public(to.ip()) {
                    self.failure = Some(Failure::NotPublic);
                    continue;
                }
                if dial::is_ourselves(to, own_port, connection) {
                    self.failure = Some(Failure::Loop);
                    continue;
                }
            }
            self.current = Some(next);
            return self.current.clone();
        }
    }

    async fn candidate(&mut self, resolver: &Resolver, connection: &Connection, own_port: u16) -> Option<Destination> {
        loop {
            if let Some(ip) = self.resolved.pop() {
                return Some(Destination::Inet(SocketAddr::new(ip, self.port)));
            }
            let mut address = self.peer.addresses().nth(self.taken)?.clone();
            self.taken += 1;
            let settings = self.peer.settings();
            if let Some(parent) = &settings.parent {
                if let (true, Address::Socket(address)) = (settings.public_only, &address)
                    && !is_public(address.ip())
                {
                    self.failure = Some(Failure::NotPublic);
                    continue;
                }
                self.beyond = Handshake::new(parent, &address);
                address = parent.address.clone();
            }
            match address {
                Address::Socket(address) => return Some(Destination::Inet(address)),
                Address::Unix(path) => return Some(Destination::Unix(path.into())),
                Address::OriginalDestination if connection.original_destination.port() == own_port => {
                    // Nobody redirected this connection: we would connect to ourselves for ever.
                    self.failure = Some(Failure::Loop);
                    continue;
                }
                Address::OriginalDestination => return Some(Destination::Inet(connection.original_destination)),
                Address::Host { name, port } => {
                    self.port = port;
                    match resolver.resolve(&name).await {
                        Ok(addresses) => self.resolved = addresses.iter().rev().copied().collect(),
                        Err(error) => self.failure = Some(dial::unresolved(&name, &error)),
                    }
                }
            }
        }
    }

    /// The handshake with a proxy on the way, unless plain requests are simply passed to it.
    fn handshake(&self) -> Option<&Handshake> {
        let settings = self.peer.settings();
        let is_plain_http =
            settings.tls.is_none() && settings.parent.as_ref().is_some_and(|parent| parent.kind == ParentKind::Http);
        self.beyond.as_ref().filter(|_| !is_plain_http)
    }

    /// The authority that goes before the path for a proxy on the way that takes plain requests.
    pub(crate) fn absolute_authority(&self) -> Option<String> {
        self.beyond.as_ref().filter(|_| self.handshake().is_none()).map(Handshake::authority)
    }

    /// What pingora needs to connect to `destination`. `None` when the path of a socket cannot be used.
    pub(crate) fn http_peer(
        &self,
        destination: &Destination,
        connection: &Connection,
        host: Option<&str>,
        upgrade: bool,
    ) -> Option<HttpPeer> {
        let settings = self.peer.settings();
        let handshake = self.handshake();
        let (tls, server_name) = match &settings.tls {
            Some(tls) => (true, tls.server_name.as_deref().or(host).unwrap_or_default().to_owned()),
            None => (false, String::new()),
        };
        let mut peer = match destination {
            Destination::Inet(address) => HttpPeer::new(*address, tls, server_name),
            Destination::Unix(path) => HttpPeer::new_uds(path.to_str()?, tls, server_name).ok()?,
        };
        peer.group_key = self.peer.pool_key();
        if let Some(handshake) = handshake {
            // Such a connection leads to one host for good.
            let mut hasher = DefaultHasher::new();
            (peer.group_key, handshake.authority()).hash(&mut hasher);
            peer.group_key = hasher.finish();
            peer.options.custom_l4 = Some(Arc::new(ThroughParent {
                handshake: handshake.clone(),
                source: source_towards(&settings.bind, connection, destination),
                timeout: settings.timeouts.connect,
            }));
        }
        set_options(&mut peer.options, &self.peer, upgrade);
        set_bind(&mut peer, &settings.bind, connection, destination);
        Some(peer)
    }
}

/// Every timeout is set: pingora's own defaults wait for ever.
fn set_options(options: &mut PeerOptions, peer: &Peer, upgrade: bool) {
    let settings = peer.settings();
    let timeouts = settings.timeouts;
    options.connection_timeout = Some(timeouts.connect);
    options.total_connection_timeout = Some(timeouts.connect);
    // An upgraded connection may be silent; the client's side of it watches the clock (see `Watch`).
    options.read_timeout = (!upgrade).then_some(timeouts.read);
    options.write_timeout = Some(timeouts.write);
    options.idle_timeout = Some(timeouts.idle);
    options.tcp_keepalive = Some(pingora::protocols::TcpKeepalive {
        idle: Duration::from_secs(60),
        interval: Duration::from_secs(15),
        count: 4,
        user_timeout: Duration::ZERO,
    });
    if let Some(tls) = &settings.tls {
        options.verify_cert = tls.verify;
        options.verify_hostname = tls.verify;
    }
}

fn set_bind(peer: &mut HttpPeer, bind: &Bind, connection: &Connection, destination: &Destination) {
    if let Some(source) = source_towards(bind, connection, destination) {
        let mut bind_to = pingora::connectors::l4::BindTo::default();
        bind_to.addr = Some(SocketAddr::new(source, 0));
        peer.options.bind_to = Some(bind_to);
        if *bind == Bind::Same {
            // The source differs from client to client, and pingora's key does not have it.
            peer.group_key ^= match source {
                IpAddr::V4(source) => u64::from(source.to_bits()).rotate_left(17),
                IpAddr::V6(source) => (source.to_bits() as u64) ^ ((source.to_bits() >> 64) as u64),
            };
        }
    }
}

fn source_towards(bind: &Bind, connection: &Connection, destination: &Destination) -> Option<IpAddr> {
    match destination {
        Destination::Inet(to) => dial::source(bind, connection, *to),
        Destination::Unix(_) => None,
    }
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Failure {
    /// What is told of it, in our own words.
    pub(crate) fn told(self) -> (StatusCode, &'static str) {
        match self {
            Self::Connect => (StatusCode::BAD_GATEWAY, "The server behind this proxy cannot be reached."),
            Self::ConnectTimeout => {
                (StatusCode::GATEWAY_TIMEOUT, "The server behind this proxy did not accept the connection in time.")
            }
            Self::Resolve => (StatusCode::BAD_GATEWAY, "The name of the server behind this proxy has no address."),
            Self::ResolveTimeout => (StatusCode::GATEWAY_TIMEOUT, "The name service did not answer in time."),
            Self::Loop => (StatusCode::LOOP_DETECTED, "This proxy would pass the request on to itself."),
            Self::NotPublic => (StatusCode::FORBIDDEN, "This proxy connects to public addresses only."),
            Self::Parent => {
                (StatusCode::BAD_GATEWAY, "The proxy that this proxy goes through did not make the connection.")
            }
        }
    }

    /// Whether the server is to blame.
    pub(crate) fn is_servers(self) -> bool {
        matches!(self, Self::Connect | Self::ConnectTimeout | Self::Resolve | Self::ResolveTimeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        Connection::new("192.0.2.7:5".parse().unwrap(), "a".into(), "192.0.2.1:80".parse().unwrap())
    }

    #[tokio::test]
    async fn every_address_is_tried_once_from_the_chosen_one_on() {
        let addresses = ["192.0.2.1:1", "192.0.2.2:2", "192.0.2.3:3"].map(|a| Address::Socket(a.parse().unwrap()));
        let mut attempts = Attempts::new(Peer::builder(addresses.to_vec()).build().starting_at(4));
        let mut seen = Vec::new();
        while let Some(destination) = attempts.next(&Resolver::default(), &connection(), 80).await {
            seen.push(destination.to_string());
            if seen.len() == 2 {
                attempts.repeat();
            }
        }
        assert_eq!(seen, ["192.0.2.2:2", "192.0.2.3:3", "192.0.2.3:3", "192.0.2.1:1"]);
    }

    #[tokio::test]
    async fn a_connection_that_nobody_redirected_is_not_sent_to_ourselves() {
        let mut attempts = Attempts::new(Peer::builder(vec![Address::OriginalDestination]).build());
        assert!(attempts.next(&Resolver::default(), &connection(), 80).await.is_none());
        assert_eq!(attempts.failure, Some(Failure::Loop));
        let mut attempts = Attempts::new(Peer::builder(vec![Address::OriginalDestination]).build());
        let destination = attempts.next(&Resolver::default(), &connection(), 9999).await.unwrap();
        assert_eq!(destination.to_string(), "192.0.2.1:80");
    }

    #[test]
    fn every_timeout_is_set_and_keys_keep_connections_apart() {
        let peer = Peer::builder(vec![]).build();
        let bound = Peer::builder(vec![]).bind(Bind::Same).build();
        let to = Destination::Inet("192.0.2.9:80".parse().unwrap());
        let made = Attempts::new(peer).http_peer(&to, &connection(), None, false).unwrap();
        let options = &made.options;
        for timeout in [
            options.connection_timeout,
            options.total_connection_timeout,
            options.read_timeout,
            options.write_timeout,
            options.idle_timeout,
        ] {
            assert!(timeout.is_some());
        }
        let same = Attempts::new(bound.clone()).http_peer(&to, &connection(), None, false).unwrap();
        let other = Connection::new(connection().client, "a".into(), "192.0.2.2:80".parse().unwrap());
        let elsewhere = Attempts::new(bound).http_peer(&to, &other, None, false).unwrap();
        assert_ne!(made.group_key, same.group_key);
        assert_ne!(same.group_key, elsewhere.group_key);
    }
}
