//! Where a request goes next: names and settings, never sockets.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use http::StatusCode;

use crate::{Health, Parent, Rotation, Tls};

/// An upstream server, or several to be tried in turn, with everything the engine needs to talk to it.
///
/// Made once when the plugin is built; a clone costs a reference count.
#[derive(Clone, Debug)]
pub struct Peer {
    inner: Arc<Inner>,
    first: usize,
}

#[derive(Debug)]
struct Inner {
    settings: PeerBuilder,
    pool_key: u64,
}

impl Peer {
    /// Starts a peer that is reached at `addresses`. There must be at least one, or the request ends with 502.
    pub fn builder(addresses: Vec<Address>) -> PeerBuilder {
        PeerBuilder {
            addresses,
            tls: None,
            protocol: Protocol::Http1,
            timeouts: Timeouts::default(),
            patience: None,
            bind: Bind::Any,
            parent: None,
            fall_through: FallThrough::Never,
            forwarded: true,
            unreachable_status: None,
            public_only: false,
            health: None,
        }
    }

    /// The same peer, with the address of this index (modulo their number) tried first and the others after it.
    #[must_use]
    pub fn starting_at(mut self, first: usize) -> Self {
        self.first = first.checked_rem(self.inner.settings.addresses.len()).unwrap_or(0);
        self
    }

    /// The index of the address that is tried first.
    pub fn first(&self) -> usize {
        self.first
    }

    /// The addresses in the order in which they are tried.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        let (before, from) = self.inner.settings.addresses.split_at(self.first);
        from.iter().chain(before)
    }

    /// Everything but the order.
    pub fn settings(&self) -> &PeerBuilder {
        &self.inner.settings
    }

    /// A hash of what distinguishes a connection to this peer beside its address: source address, parent, TLS settings.
    /// The engine never reuses a connection for a peer with another key.
    pub fn pool_key(&self) -> u64 {
        self.inner.pool_key
    }
}

/// The settings of a [`Peer`]. All have defaults but the addresses.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PeerBuilder {
    /// Where it is.
    pub addresses: Vec<Address>,
    /// TLS towards it; `None` for plain.
    pub tls: Option<Tls>,
    /// The HTTP version spoken with it.
    pub protocol: Protocol,
    /// How long to wait for it.
    pub timeouts: Timeouts,
    /// How long all its addresses together may take to be connected and to begin an answer, whatever `timeouts` gives to each:
    /// an attempt has no more than half of what is left for either. `None` where each has its own time and no more is asked.
    pub patience: Option<Duration>,
    /// The source address towards it.
    pub bind: Bind,
    /// The proxy through which it is reached.
    pub parent: Option<Arc<Parent>>,
    /// Whether the chain goes on when it cannot answer.
    pub fall_through: FallThrough,
    /// Whether it is told about the client (`X-Forwarded-*` and `Forwarded`): right for one's own servers, wrong for others'.
    pub forwarded: bool,
    /// The status when no address can be connected, instead of 502 or 504.
    pub unreachable_status: Option<StatusCode>,
    /// Refuses addresses that are not of the public Internet: loopback, link-local (cloud metadata services), private and
    /// the like. Looked at after names are resolved; the request is answered with 403.
    pub public_only: bool,
    /// Which of the addresses could not be connected lately, and are tried last; the engine keeps it up to date.
    pub health: Option<Arc<Health>>,
}

impl PeerBuilder {
    /// Uses TLS.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets the HTTP version.
    #[must_use]
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// Sets the timeouts.
    #[must_use]
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }

    /// Bounds the time for all addresses together.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// Sets the source address.
    #[must_use]
    pub fn bind(mut self, bind: Bind) -> Self {
        self.bind = bind;
        self
    }

    /// Lets the chain go on when the peer cannot answer.
    #[must_use]
    pub fn fall_through(mut self, fall_through: FallThrough) -> Self {
        self.fall_through = fall_through;
        self
    }

    /// Goes through another proxy.
    #[must_use]
    pub fn parent(mut self, parent: impl Into<Arc<Parent>>) -> Self {
        self.parent = Some(parent.into());
        self
    }

    /// Sets whether it is told about the client.
    #[must_use]
    pub fn forwarded(mut self, forwarded: bool) -> Self {
        self.forwarded = forwarded;
        self
    }

    /// Sets the status for the case that no address can be connected.
    #[must_use]
    pub fn unreachable_status(mut self, status: StatusCode) -> Self {
        self.unreachable_status = Some(status);
        self
    }

    /// Sets whether only public addresses are connected.
    #[must_use]
    pub fn public_only(mut self, public_only: bool) -> Self {
        self.public_only = public_only;
        self
    }

    /// Tries addresses last that could not be connected lately. One for each address.
    #[must_use]
    pub fn health(mut self, health: Option<Arc<Health>>) -> Self {
        self.health = health;
        self
    }

    /// The finished peer.
    pub fn build(self) -> Peer {
        let mut hasher = DefaultHasher::new();
        (&self.bind, &self.parent, &self.tls, &self.protocol, self.public_only).hash(&mut hasher);
        Peer { inner: Arc::new(Inner { pool_key: hasher.finish(), settings: self }), first: 0 }
    }
}

/// One place where a peer may be reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and port.
    Socket(SocketAddr),
    /// A name that the engine resolves, and a port.
    Host {
        /// The name.
        name: Arc<str>,
        /// The port.
        port: u16,
    },
    /// A Unix domain socket, see unix(7).
    Unix(PathBuf),
    /// Where the client wanted to go before a firewall rule brought it to us.
    OriginalDestination,
}

/// The HTTP version spoken with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: agreed on by ALPN over TLS, and spoken at once without it
    /// ([RFC 9113 §3.3](https://www.rfc-editor.org/rfc/rfc9113#section-3.3)). What gRPC needs. A request for another protocol
    /// (WebSocket) goes over HTTP/1.1 all the same.
    Http2,
}

/// How long the engine waits for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For the connection, per address, TLS handshake included.
    pub connect: Duration,
    /// For each read: the wait for the response head, and each pause within the body.
    pub read: Duration,
    /// For each write.
    pub write: Duration,
    /// How long an unused connection is kept.
    pub idle: Duration,
    /// How long an upgraded connection (WebSocket) may be silent in both directions; `None` for ever.
    pub upgraded_idle: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            read: Duration::from_secs(60),
            write: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            upgraded_idle: None,
        }
    }
}

/// The source address towards a peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Bind {
    /// Whatever the system chooses.
    Any,
    /// The first of these that is of the peer's address family and of this machine. Where none is, the peer cannot be reached.
    Addresses(Vec<IpAddr>),
    /// The next of these that is of the peer's address family, for each request. Where none is, the peer cannot be reached.
    InTurn(Rotation),
    /// Our end of the client's connection; a peer of the other address family cannot be reached then.
    Same,
}

/// Whether the chain goes on behind a [`Terminal::Sometimes`](crate::Terminal::Sometimes) plugin whose peer failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FallThrough {
    /// The failure is the answer.
    Never,
    /// Goes on when no address can be connected.
    Unreachable,
    /// Every address is asked in turn: one that cannot be connected, gives no answer in time or answers with this status is
    /// passed over for the next, and the chain goes on behind the last. Only for requests without a body.
    UnreachableOr(StatusCode),
}

/// Where a `CONNECT` tunnel leads.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Target {
    /// The far end.
    pub address: Address,
    /// The proxy through which it is reached.
    pub parent: Option<Arc<Parent>>,
    /// The source address.
    pub bind: Bind,
    /// How long to wait for the connection.
    pub connect_timeout: Duration,
    /// How long the tunnel may be silent in both directions; `None` for ever.
    pub idle_timeout: Option<Duration>,
    /// The status when no address can be connected, instead of 502 or 504.
    pub unreachable_status: Option<StatusCode>,
    /// Refuses addresses that are not of the public Internet; see [`PeerBuilder::public_only`].
    pub public_only: bool,
}

impl Target {
    /// A tunnel straight to this address.
    pub fn new(address: Address) -> Self {
        Self {
            address,
            parent: None,
            bind: Bind::Any,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: None,
            unreachable_status: None,
            public_only: false,
        }
    }
}
