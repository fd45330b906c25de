//! One thread with its own runtime, sockets and upstream pool. No request crosses a thread.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use pingora::{
    proxy::{HttpProxy, http_proxy},
    server::configuration::ServerConf,
};
use plugin_api::Connection;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    Config, Listener,
    access_log::AccessLog,
    edge::Edge,
    listener,
    metrics::{Metric, Metrics},
    relay::Relay,
    resolver::Resolver,
};

/// What the requests of one shard share.
pub(crate) struct Shard {
    pub(crate) config: Arc<Config>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) log: Option<AccessLog>,
    pub(crate) resolver: Resolver,
    /// Names and ports of the listeners, to notice a request that would be passed on to ourselves.
    pub(crate) ports: Vec<(Arc<str>, u16)>,
    phase: watch::Receiver<Phase>,
    idle: Notify,
}

/// What the engine wants of its shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Serve.
    Serve,
    /// Take no new connections, finish the others until then.
    Drain(Instant),
    /// Stop at once.
    Stop,
}

/// A socket of this shard, with what it belongs to.
pub(crate) struct Socket {
    pub(crate) listener: Arc<Listener>,
    pub(crate) socket: std::net::TcpListener,
}

impl Shard {
    pub(crate) fn new(
        config: Arc<Config>,
        metrics: Arc<Metrics>,
        log: Option<AccessLog>,
        ports: Vec<(Arc<str>, u16)>,
        phase: watch::Receiver<Phase>,
    ) -> Arc<Self> {
        Arc::new(Self { config, metrics, log, resolver: Resolver::default(), ports, phase, idle: Notify::new() })
    }

    /// Whether connections are to be closed after the request in flight.
    pub(crate) fn is_draining(&self) -> bool {
        *self.phase.borrow() != Phase::Serve
    }

    /// Ready when the shard is to drain or stop.
    pub(crate) async fn draining(&self) {
        let mut phase = self.phase.clone();
        // The engine keeps the sender; without it there is nobody to serve for.
        let _ = phase.wait_for(|phase| *phase != Phase::Serve).await;
    }

    /// The port that the listener of this connection is bound to.
    pub(crate) fn port_of(&self, connection: &Connection) -> u16 {
        let bound = self.ports.iter().find(|(name, port)| {
            *name == connection.listener && (self.ports.len() == 1 || *port == connection.local.port())
        });
        bound.map_or(0, |(_, port)| *port)
    }

    fn open_connections(&self) -> u64 {
        self.metrics.open(Metric::Accepted, Metric::Closed)
    }

    /// Serves until the engine says otherwise and, when it drains, until every connection has ended. Returns the number
    /// of connections that were cut.
    pub(crate) async fn run(self: Arc<Self>, sockets: Vec<Socket>) -> u64 {
        let proxy = Arc::new(http_proxy(&Arc::new(pingora_conf()), Relay::new(Arc::clone(&self))));
        let accepting: Vec<_> = sockets
            .into_iter()
            .filter_map(|socket| {
                let listener = socket.listener;
                match TcpListener::from_std(socket.socket) {
                    Ok(socket) => Some(tokio::spawn(accept(Arc::clone(&self), Arc::clone(&proxy), listener, socket))),
                    Err(error) => {
                        tracing::error!(target: "lockgate::listener", %error, listener = &*listener.name, "cannot listen");
                        None
                    }
                }
            })
            .collect();
        let mut phase = self.phase.clone();
        let wanted = phase.wait_for(|phase| *phase != Phase::Serve).await.map_or(Phase::Stop, |phase| *phase);
        if let Phase::Drain(deadline) = wanted {
            let finished = async {
                for task in accepting {
                    let _ = task.await;
                }
                self.drained().await;
            };
            tokio::select! {
                _ = tokio::time::timeout_at(deadline, finished) => {}
                _ = phase.wait_for(|phase| *phase == Phase::Stop) => {}
            }
        }
        self.open_connections()
    }

    async fn drained(&self) {
        loop {
            let ended = self.idle.notified();
            if self.open_connections() == 0 {
                return;
            }
            ended.await;
        }
    }
}

/// Accepts until the shard drains, then empties the queue: a connection that is complete must not be reset.
async fn accept(shard: Arc<Shard>, proxy: Arc<HttpProxy<Relay>>, listener: Arc<Listener>, socket: TcpListener) {
    let grace = async {
        shard.draining().await;
        tokio::time::sleep(listener.accept_grace).await;
    };
    tokio::pin!(grace);
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = socket.accept() => accepted,
            () = &mut grace => return,
        };
        match accepted {
            Ok((stream, client)) => admit(&shard, &proxy, &listener, stream, client),
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                // Out of descriptors or memory. Waiting lets connections end; returning would stop the service.
                tracing::error!(target: "lockgate::listener", %error, listener = &*listener.name, "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_about_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

fn admit(
    shard: &Arc<Shard>,
    proxy: &Arc<HttpProxy<Relay>>,
    listener: &Arc<Listener>,
    stream: TcpStream,
    client: SocketAddr,
) {
    // Without Nagle's algorithm: pieces are gathered before they are written.
    let _ = stream.set_nodelay(true);
    let Ok(local) = stream.local_addr() else { return };
    let mut connection = Connection::new(client, Arc::clone(&listener.name), local);
    if listener.redirected {
        connection.original_destination = listener::original_destination(&stream).unwrap_or(local);
    }
    shard.metrics.count(Metric::Accepted);
    let open = Open(Arc::clone(shard));
    let edge = Edge::new(Arc::clone(shard), Arc::clone(proxy), Arc::clone(listener), Arc::new(connection));
    tokio::spawn(async move {
        edge.serve(stream).await;
        drop(open);
    });
}

/// Counts a connection as open until it is dropped.
struct Open(Arc<Shard>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.metrics.count(Metric::Closed);
        self.0.idle.notify_one();
    }
}

fn pingora_conf() -> ServerConf {
    // A request tries each address of its peer once, and there may be many.
    ServerConf { upstream_keepalive_pool_size: UPSTREAM_POOL, max_retries: 256, ..ServerConf::default() }
}

/// Unused upstream connections that a shard keeps.
const UPSTREAM_POOL: usize = 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
