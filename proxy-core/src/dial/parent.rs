//! Connections to parent proxies.

use std::time::Duration;

use http::HeaderMap;
use plugin_api::{Address, Bind, Connection, Health, Parent, Target, Tls};
use tokio::time::timeout;

use super::{
    DialError, Dialled, Handshake, HandshakeError, Order, Shaken, Stream, is_public, literal, race, resolve, tls,
};
use crate::{flight::Origin, metrics::Metric, metrics::Metrics, upstream::Failure};

/// Connects `target` through its parent: the first of the parent's addresses that can be connected.
pub(super) async fn through(
    target: &Target,
    parent: &Parent,
    fields: HeaderMap,
    origin: &Origin,
) -> Result<Dialled, DialError> {
    // A parent may be anywhere; what it is asked for may not.
    if target.public_only && literal(&target.address).iter().any(|address| !is_public(address.ip())) {
        return Err(DialError::Failed(Failure::NotPublic));
    }
    let handshake = Handshake::new(parent, &target.address).ok_or(DialError::Failed(Failure::Connect(None)))?;
    let handshake = handshake.telling(fields);
    let mut order = Order::new(0, parent.addresses.len());
    let mut failure = Failure::Parent;
    while let Some(index) = order.next(parent.health.as_deref()) {
        let watched = Watched { health: parent.health.as_deref(), index, address: &parent.addresses[index] };
        let stream = match reach(watched.address, parent, target, origin).await {
            Ok(stream) => stream,
            Err(failed) => {
                watched.failed(&origin.shard.metrics);
                failure = failed;
                continue;
            }
        };
        watched.connected();
        match timeout(target.connect_timeout, handshake.perform(stream)).await {
            Ok(Ok(Shaken { stream, reply, early })) => {
                let to = stream.socket().peer_addr().map_err(|_gone| DialError::Failed(Failure::Connect(None)))?;
                return Ok(Dialled { stream, to, reply, early });
            }
            Ok(Err(HandshakeError::Declined { stream, reply })) => return Err(DialError::Declined { stream, reply }),
            Ok(Err(error)) => {
                let cause: &dyn std::error::Error = &error;
                tracing::info!(target: "lockgate::upstream", error = cause, "a parent proxy did not connect");
                failure = Failure::Parent;
                // One that hangs up has not served anybody; one that says no has been asked.
                if !matches!(error, HandshakeError::Io(_)) {
                    break;
                }
            }
            // Not its fault, perhaps: it may be waiting for the server.
            Err(_elapsed) => return Err(DialError::Failed(Failure::ConnectTimeout)),
        }
    }
    Err(DialError::Failed(failure))
}

async fn reach(address: &Address, parent: &Parent, target: &Target, origin: &Origin) -> Result<Stream, Failure> {
    let addresses = resolve(&origin.shard.resolver, address, &origin.connection).await;
    let addresses = addresses.map_err(|_unresolved| Failure::ParentName)?;
    let tls = parent.tls.as_ref().map(|tls| (tls, host(address)));
    let tls = tls.as_ref().map(|(tls, name)| (*tls, &**name));
    connect(&addresses, tls, &target.bind, &origin.connection, target.connect_timeout).await
}

/// Connects the first of these addresses that answers, and makes the connection secure if it is to be, within this time.
pub(super) async fn connect(
    addresses: &[std::net::SocketAddr],
    tls: Option<(&Tls, &str)>,
    bind: &Bind,
    connection: &Connection,
    within: Duration,
) -> Result<Stream, Failure> {
    let connected = timeout(within, async {
        let stream = race(addresses, bind, connection, within).await.map_err(|_unreachable| Failure::Parent)?;
        let Some((settings, name)) = tls else { return Ok(Stream::Tcp(stream)) };
        tls::secure(stream, settings, name).await.map(|stream| Stream::Tls(Box::new(stream))).map_err(|error| {
            let cause: &dyn std::error::Error = &error;
            tracing::warn!(target: "lockgate::upstream", parent = name, error = cause, "no TLS with a parent proxy");
            Failure::Parent
        })
    });
    connected.await.unwrap_or(Err(Failure::Parent))
}

/// What a certificate is checked for when the settings do not name it.
pub(crate) fn host(address: &Address) -> String {
    match address {
        Address::Host { name, .. } => name.to_string(),
        Address::Socket(address) => address.ip().to_string(),
        Address::Unix(_) | Address::OriginalDestination => String::new(),
    }
}

/// One of several servers, and who remembers how it is.
pub(crate) struct Watched<'a> {
    pub(crate) health: Option<&'a Health>,
    pub(crate) index: usize,
    pub(crate) address: &'a Address,
}

impl Watched<'_> {
    /// Notes, and tells once, that it could not be connected.
    pub(crate) fn failed(&self, metrics: &Metrics) {
        // That is another server for every client.
        let is_one = *self.address != Address::OriginalDestination;
        let Some(health) = self.health.filter(|health| is_one && health.failed(self.index)) else { return };
        metrics.count(Metric::ServersDown);
        let server = Shown(self.address);
        tracing::warn!(
            target: "lockgate::upstream", %server, avoided = ?health.fail_timeout(),
            "a server cannot be connected: others are tried first"
        );
    }

    /// Notes, and tells once, that it could be connected again.
    pub(crate) fn connected(&self) {
        if self.health.is_some_and(|health| health.connected(self.index)) {
            let server = Shown(self.address);
            tracing::info!(target: "lockgate::upstream", %server, "a server can be connected again");
        }
    }
}

/// An address as it is written in a configuration.
struct Shown<'a>(&'a Address);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Address::Socket(address) => address.fmt(f),
            Address::Host { name, port } => write!(f, "{name}:{port}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
            Address::OriginalDestination => f.write_str("original-destination"),
        }
    }
}
