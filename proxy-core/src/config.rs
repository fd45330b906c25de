//! What the engine is started with: resolved values, no text.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use crate::{Counters, ListenAddress, ListenerTls, LogConfig, Route, Source, Wording};

/// Everything that the engine needs.
pub struct Config {
    /// Where it listens.
    pub listeners: Vec<Listener>,
    /// Routes; the first that matches a request takes it.
    pub routes: Vec<Route>,
    /// Peers whose forwarding headers are believed.
    pub trusted_proxies: Vec<Source>,
    /// How long it waits for clients.
    pub timeouts: ClientTimeouts,
    /// How large a request head may be.
    pub limits: HeadLimits,
    /// Whose words answers of the proxy itself have.
    pub wording: Wording,
    /// Whether a client that ends its direction behind its request over HTTP/1 gets its answer. It may be gone instead; a server
    /// that is slow works for nobody then.
    pub half_closed_clients: bool,
    /// Threads that serve; one per CPU is best.
    pub shards: NonZeroUsize,
    /// Connections that are served at once; further ones wait. `None` for any number.
    pub max_clients: Option<usize>,
    /// Where the engine counts; the same across reloads.
    pub counters: Arc<Counters>,
    /// The access log; `None` for no log.
    pub log: Option<LogConfig>,
}

/// A listener.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its addresses. Port 0 takes a free port, the same for every shard. `[::]` takes IPv6 only.
    pub addresses: Vec<ListenAddress>,
    /// Who may connect to those that are unix sockets.
    pub access: SocketAccess,
    /// Sets `IP_TRANSPARENT`, so that connections which TPROXY brings here keep their destination (needs
    /// `CAP_NET_ADMIN`, see ip(7)).
    pub transparent: bool,
    /// Whether connections that a firewall redirected here are asked for their original destination.
    pub redirected: bool,
    /// How clients shake hands; `None` for plain connections.
    pub tls: Option<ListenerTls>,
    /// Whether connections are kept for further requests.
    pub keep_alive: bool,
    /// Clients that announce for whom they speak (PROXY protocol); a connection of theirs without an announcement is ended.
    pub announcers: Vec<Source>,
    /// Whether tinyproxy's lines about new connections say where they came in.
    pub tell_local: bool,
    /// How much longer connections are accepted after a stop was asked for: whoever sent a SYN before traffic was led
    /// elsewhere still gets in.
    pub accept_grace: Duration,
}

impl Listener {
    /// A plain listener with keep-alive.
    pub fn new(name: impl Into<Arc<str>>, addresses: Vec<impl Into<ListenAddress>>) -> Self {
        Self {
            name: name.into(),
            addresses: addresses.into_iter().map(Into::into).collect(),
            access: SocketAccess::default(),
            transparent: false,
            redirected: false,
            tls: None,
            keep_alive: true,
            tell_local: false,
            announcers: Vec::new(),
            accept_grace: Duration::ZERO,
        }
    }
}

/// Permissions and owner of unix sockets: who may write to one may connect (unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketAccess {
    /// The permission bits.
    pub mode: u32,
    /// The user that it belongs to; the process's own where there is none.
    pub owner: Option<u32>,
    /// The group that it belongs to; the process's own where there is none.
    pub group: Option<u32>,
}

impl Default for SocketAccess {
    /// For the process's own user and group.
    fn default() -> Self {
        Self { mode: 0o660, owner: None, group: None }
    }
}

/// How long the engine waits for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientTimeouts {
    /// For a whole request head, from its first byte (or from the connection, for the first request).
    pub head: Duration,
    /// For the next request on a connection.
    pub keep_alive: Duration,
    /// For each read of a request body.
    pub read: Duration,
    /// For each write of a response.
    pub write: Duration,
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            keep_alive: Duration::from_secs(60),
            read: Duration::from_secs(60),
            write: Duration::from_secs(60),
        }
    }
}

/// How large a request head may be, and how it may be written. More than 256 header fields are always refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of the whole head.
    pub head: usize,
    /// Bytes of the request target.
    pub target: usize,
    /// Whether lines may end without CR (RFC 9112 §2.2 lets a recipient choose).
    pub bare_lf: bool,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { head: 64 * 1024, target: 16 * 1024, bare_lf: false }
    }
}
