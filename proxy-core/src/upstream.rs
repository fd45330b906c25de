//! Which address of a peer is tried next.

mod passing;
mod settings;

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Instant,
};

use http::StatusCode;
use pingora::{Error, ErrorType};
use plugin_api::{Address, Connection, Parent, ParentKind, Peer};

use crate::{
    dial::{self, Handshake, Order, Own, UNREACHABLE, Watched, is_public},
    metrics::Metrics,
    resolver::Resolver,
};

/// The attempts of one request at one peer.
pub(crate) struct Attempts {
    peer: Peer,
    /// The peer's addresses that are left, and the index of the one that was taken.
    order: Order,
    at: usize,
    /// The same of the proxy on the way, for that address.
    parents: Option<(Order, usize)>,
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
    /// The response had a status for which the next server is asked.
    declined: bool,
    /// From when on the time for all addresses counts.
    begun: Instant,
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
    /// Refused, unreachable, or the TLS handshake failed; with the number of what the system said, if it said anything
    /// (errno(3)).
    Connect(Option<i32>),
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
    /// The name of the proxy on the way has no address.
    ParentName,
}

impl Attempts {
    pub(crate) fn new(peer: Peer) -> Self {
        Self {
            order: Order::new(peer.first(), peer.settings().addresses.len()),
            peer,
            at: 0,
            parents: None,
            resolved: Vec::new(),
            port: 0,
            current: None,
            beyond: None,
            again: false,
            repeated: false,
            declined: false,
            begun: Instant::now(),
            failure: None,
        }
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Where the request is to go, and the proxy on the way.
    pub(crate) fn aim(&self) -> Option<(&Address, Option<&Parent>)> {
        Some((self.peer.addresses().next()?, self.peer.settings().parent.as_deref()))
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
        metrics: &Metrics,
        connection: &Connection,
        own: &Own,
    ) -> Option<Destination> {
        if std::mem::take(&mut self.again) {
            return self.current.clone();
        }
        loop {
            let left = self.time_left();
            if left.is_some_and(|left| left < passing::LEAST) {
                self.failure.get_or_insert(Failure::ConnectTimeout);
                return None;
            }
            let candidate = self.candidate(resolver, metrics, connection, own);
            let next = match left {
                Some(left) => tokio::time::timeout(left, candidate).await.ok().flatten()?,
                None => candidate.await?,
            };
            if let Destination::Inet(to) = next {
                if self.peer.settings().public_only && self.beyond.is_none() && !is_public(to.ip()) {
                    self.failure = Some(Failure::NotPublic);
                    continue;
                }
                if dial::is_ourselves(to, own, connection) {
                    self.failure = Some(Failure::Loop);
                    continue;
                }
            }
            self.current = Some(next);
            return self.current.clone();
        }
    }

    async fn candidate(
        &mut self,
        resolver: &Resolver,
        metrics: &Metrics,
        connection: &Connection,
        own: &Own,
    ) -> Option<Destination> {
        loop {
            if let Some(ip) = self.resolved.pop() {
                return Some(Destination::Inet(SocketAddr::new(ip, self.port)));
            }
            let address = self.address()?;
            match address {
                Address::Socket(address) => return Some(Destination::Inet(address)),
                Address::Unix(path) => return Some(Destination::Unix(path.into())),
                Address::OriginalDestination if connection.original_destination.port() == own.port => {
                    // Nobody redirected this connection: we would connect to ourselves for ever.
                    self.failure = Some(Failure::Loop);
                    continue;
                }
                Address::OriginalDestination => return Some(Destination::Inet(connection.original_destination)),
                Address::Host { name, port } => {
                    self.port = port;
                    match resolver.resolve(&name).await {
                        Ok(addresses) => self.resolved = addresses.iter().rev().copied().collect(),
                        Err(error) => {
                            let failure = dial::unresolved(&name, &error);
                            // A proxy on the way whose name has no address is no server whose name has none.
                            let is_parent = self.peer.settings().parent.is_some();
                            self.failure = Some(if is_parent { Failure::ParentName } else { failure });
                            self.watched().inspect(|watched| watched.failed(metrics));
                        }
                    }
                }
            }
        }
    }

    /// The next address to be connected: the peer's, or that of a proxy on the way to it.
    fn address(&mut self) -> Option<Address> {
        let settings = self.peer.settings();
        let Some(parent) = &settings.parent else {
            self.at = self.order.next(settings.health.as_deref())?;
            return settings.addresses.get(self.at).cloned();
        };
        loop {
            if let Some((order, at)) = &mut self.parents
                && let Some(next) = order.next(parent.health.as_deref())
            {
                *at = next;
                return parent.addresses.get(next).cloned();
            }
            self.at = self.order.next(None)?;
            self.parents = None;
            let address = settings.addresses.get(self.at)?;
            if let (true, Address::Socket(address)) = (settings.public_only, address)
                && !is_public(address.ip())
            {
                self.failure = Some(Failure::NotPublic);
                continue;
            }
            self.beyond = Handshake::new(parent, address);
            self.parents = Some((Order::new(0, parent.addresses.len()), 0));
        }
    }

    /// The server that is being tried.
    fn watched(&self) -> Option<Watched<'_>> {
        let settings = self.peer.settings();
        let (health, index, addresses) = match (&settings.parent, &self.parents) {
            (Some(parent), Some((_, at))) => (&parent.health, *at, &*parent.addresses),
            _ => (&settings.health, self.at, &*settings.addresses),
        };
        Some(Watched { health: health.as_deref(), index, address: addresses.get(index)? })
    }

    /// Notes that the current destination could not be connected.
    pub(crate) fn unconnected(&mut self, error: &Error, metrics: &Metrics) {
        let number = system_error(error);
        let error = error.etype();
        let timed_out = matches!(error, ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout);
        self.failure = Some(match self.peer.settings().parent {
            Some(_) => Failure::Parent,
            None if timed_out => Failure::ConnectTimeout,
            None => Failure::Connect(number),
        });
        use ErrorType as E;
        let is_its_fault = match error {
            E::ConnectTimedout | E::ConnectRefused | E::ConnectNoRoute | E::ConnectError => self.handshake().is_none(),
            E::InternalError | E::BindError | E::SocketError => false,
            // Behind a parent that was connected, anything may be wrong; and a client may choose a name that no certificate has.
            other => *other == UNREACHABLE || (self.handshake().is_none() && self.has_fixed_name()),
        };
        // A name has failed when all its addresses have.
        if is_its_fault && self.resolved.is_empty() {
            self.watched().inspect(|watched| watched.failed(metrics));
        }
    }

    /// Whether no client has a say in the name that the certificate must have.
    fn has_fixed_name(&self) -> bool {
        let settings = self.peer.settings();
        settings.parent.is_some() || settings.tls.as_ref().is_some_and(|tls| tls.server_name.is_some())
    }

    /// Notes that there is a connection.
    pub(crate) fn connected(&self) {
        self.watched().inspect(Watched::connected);
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
        let authority = self.beyond.as_ref().filter(|_| self.handshake().is_none()).map(Handshake::authority)?;
        // The port of the scheme is left out (RFC 9110 §4.2.3).
        Some(authority.strip_suffix(":80").map_or_else(|| authority.clone(), str::to_owned))
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
            Self::Connect(_) => (StatusCode::BAD_GATEWAY, "The server behind this proxy cannot be reached."),
            Self::ConnectTimeout => {
                (StatusCode::GATEWAY_TIMEOUT, "The server behind this proxy did not accept the connection in time.")
            }
            Self::Resolve => (StatusCode::BAD_GATEWAY, "The name of the server behind this proxy has no address."),
            Self::ResolveTimeout => (StatusCode::GATEWAY_TIMEOUT, "The name service did not answer in time."),
            Self::Loop => (StatusCode::LOOP_DETECTED, "This proxy would pass the request on to itself."),
            Self::NotPublic => (StatusCode::FORBIDDEN, "This proxy connects to public addresses only."),
            Self::Parent | Self::ParentName => {
                (StatusCode::BAD_GATEWAY, "The proxy that this proxy goes through did not make the connection.")
            }
        }
    }

    /// What the system says of it (strerror(3), gai_strerror(3)).
    pub(crate) fn error(self) -> Option<String> {
        let words = match self {
            Self::Connect(number) => {
                let text = std::io::Error::from_raw_os_error(number?).to_string();
                // Rust adds the number.
                return Some(
                    text.rsplit_once(" (os error").map_or_else(|| text.clone(), |(words, _)| words.to_owned()),
                );
            }
            Self::ConnectTimeout => "Connection timed out",
            Self::Resolve => "Name or service not known",
            Self::ResolveTimeout => "Temporary failure in name resolution",
            Self::Loop | Self::NotPublic | Self::Parent | Self::ParentName => return None,
        };
        Some(words.to_owned())
    }

    /// Whether the server is to blame.
    pub(crate) fn is_servers(self) -> bool {
        matches!(self, Self::Connect(_) | Self::ConnectTimeout | Self::Resolve | Self::ResolveTimeout)
    }
}

/// The number of the system's error that is behind another one. Pingora's own errors keep theirs as a cause, not as a source.
fn system_error(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    if let Some(error) = error.downcast_ref::<std::io::Error>() {
        return error.raw_os_error();
    }
    let pingoras = error.downcast_ref::<Error>().or_else(|| error.downcast_ref::<Box<Error>>().map(|error| &**error));
    match pingoras {
        Some(error) => system_error(error.cause.as_deref()?),
        None => system_error(error.source()?),
    }
}

#[cfg(test)]
mod tests {
    use plugin_api::Bind;

    use super::*;

    fn own(port: u16) -> Own {
        Own { port, listener: Arc::new(crate::Listener::new("a", Vec::<SocketAddr>::new())) }
    }

    fn connection() -> Connection {
        Connection::new("192.0.2.7:5".parse().unwrap(), "a".into(), "192.0.2.1:80".parse().unwrap())
    }

    #[tokio::test]
    async fn every_address_is_tried_once_from_the_chosen_one_on() {
        let addresses = ["192.0.2.1:1", "192.0.2.2:2", "192.0.2.3:3"].map(|a| Address::Socket(a.parse().unwrap()));
        let mut attempts = Attempts::new(Peer::builder(addresses.to_vec()).build().starting_at(4));
        let mut seen = Vec::new();
        while let Some(destination) =
            attempts.next(&Resolver::default(), &Metrics::default(), &connection(), &own(80)).await
        {
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
        assert!(attempts.next(&Resolver::default(), &Metrics::default(), &connection(), &own(80)).await.is_none());
        assert_eq!(attempts.failure, Some(Failure::Loop));
        let mut attempts = Attempts::new(Peer::builder(vec![Address::OriginalDestination]).build());
        let destination =
            attempts.next(&Resolver::default(), &Metrics::default(), &connection(), &own(9999)).await.unwrap();
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
