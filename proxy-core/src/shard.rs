//! One thread with its own runtime, sockets and upstream pool. No request crosses a thread.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use pingora::{
    proxy::{HttpProxy, http_proxy},
    server::configuration::ServerConf,
};
use plugin_api::{Client, Connection};
use socket2::SockRef;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};

use crate::{
    Listener,
    admission::{Admission, Seat},
    client_stream::Socket as ClientSocket,
    edge::Edge,
    generation::Generation,
    listener::{self, Acceptor},
    listeners::{Slot, Socket},
    metrics::{Metric, Metrics},
    relay::Relay,
    resolver::Resolver,
};

/// What the requests of one shard share.
pub(crate) struct Shard {
    generation: ArcSwap<Generation>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) resolver: Resolver,
    pub(crate) admission: Arc<Admission>,
    phase: watch::Receiver<Phase>,
    idle: Notify,
    /// Turns true when connections are to end, in the form in which pingora wants to be told.
    closing: watch::Sender<bool>,
}

/// What the engine tells a running shard.
pub(crate) struct Orders {
    /// Sockets to accept from.
    pub(crate) sockets: mpsc::UnboundedReceiver<Socket>,
}

/// What the engine wants of its shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Serve.
    Serve,
    /// Take no new connections, finish the others until then.
    Drain(Instant),
    /// The same, but tunnels, which know no end of their own, end at once.
    DrainRequests(Instant),
    /// Stop at once.
    Stop,
}

impl Shard {
    pub(crate) fn new(
        generation: Arc<Generation>,
        admission: Arc<Admission>,
        phase: watch::Receiver<Phase>,
    ) -> Arc<Self> {
        Arc::new(Self {
            generation: ArcSwap::from(generation),
            metrics: Arc::new(Metrics::default()),
            resolver: Resolver::default(),
            admission,
            phase,
            idle: Notify::new(),
            closing: watch::Sender::new(false),
        })
    }

    /// The generation that requests which start now belong to.
    pub(crate) fn generation(&self) -> Arc<Generation> {
        self.generation.load_full()
    }

    /// Replaces the generation.
    pub(crate) fn renew(&self, generation: Arc<Generation>) {
        self.generation.store(generation);
    }

    /// Whether connections are to be closed after the request in flight.
    pub(crate) fn is_draining(&self) -> bool {
        *self.phase.borrow() != Phase::Serve
    }

    /// Turns true when the shard drains or stops.
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        let mut closing = self.closing.subscribe();
        if *closing.borrow() {
            // Who comes when it has been said is to hear it, too.
            closing.mark_changed();
        }
        closing
    }

    /// Ready when the shard is to drain or stop.
    pub(crate) async fn draining(&self) {
        let mut phase = self.phase.clone();
        // The engine keeps the sender; without it there is nobody to serve for.
        let _ = phase.wait_for(|phase| *phase != Phase::Serve).await;
    }

    /// Ready when tunnels are to end.
    async fn tunnels_end(&self) {
        let mut phase = self.phase.clone();
        // See above.
        let _ = phase.wait_for(|phase| matches!(phase, Phase::DrainRequests(_) | Phase::Stop)).await;
    }

    fn open_connections(&self) -> u64 {
        self.metrics.open(Metric::Accepted, Metric::Closed)
    }

    /// Serves until the engine says otherwise and, when it drains, until every connection has ended. Returns the number
    /// of connections that were cut.
    pub(crate) async fn run(self: Arc<Self>, mut orders: Orders) -> u64 {
        let proxy = Arc::new(http_proxy(&Arc::new(pingora_conf()), Relay::new(Arc::clone(&self))));
        let mut accepting = JoinSet::new();
        let mut phase = self.phase.clone();
        // Whenever a timer is set that is due before all others, tokio wakes itself up with a system call. With one that is
        // always due soon, that is not one more for each request and each handshake.
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let wanted = loop {
            tokio::select! {
                biased;
                Some(socket) = orders.sockets.recv() => self.listen(&proxy, socket, &mut accepting),
                Some(_) = accepting.join_next() => {}
                _ = ticks.tick() => {}
                wanted = phase.wait_for(|phase| *phase != Phase::Serve) => {
                    break wanted.map_or(Phase::Stop, |phase| *phase);
                }
            }
        };
        self.closing.send_replace(true);
        if let Phase::Drain(deadline) | Phase::DrainRequests(deadline) = wanted {
            let finished = async {
                while accepting.join_next().await.is_some() {}
                self.drained().await;
            };
            tokio::select! {
                _ = tokio::time::timeout_at(deadline, finished) => {}
                _ = phase.wait_for(|phase| *phase == Phase::Stop) => {}
            }
        }
        self.open_connections()
    }

    fn listen(self: &Arc<Self>, proxy: &Arc<HttpProxy<Relay>>, socket: Socket, accepting: &mut JoinSet<()>) {
        let Socket { slot, socket } = socket;
        match Acceptor::new(socket) {
            Ok(socket) => {
                accepting.spawn(accept(Arc::clone(self), Arc::clone(proxy), slot, socket));
            }
            Err(error) => {
                tracing::error!(target: "lockgate::listener", %error, address = %slot.address, "cannot listen");
            }
        }
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

/// Accepts until the shard drains or the address is no longer wanted, then empties the queue: a connection that is complete
/// must not be reset.
async fn accept(shard: Arc<Shard>, proxy: Arc<HttpProxy<Relay>>, slot: Arc<Slot>, socket: Acceptor) {
    let end = async {
        tokio::select! {
            () = shard.draining() => tokio::time::sleep(slot.listener.load().accept_grace).await,
            () = slot.closing() => {}
        }
    };
    tokio::pin!(end);
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = socket.accept() => accepted,
            () = &mut end => return,
        };
        match accepted {
            Ok((stream, client)) => {
                // Without a seat for it, it waits here, and the others wait in the kernel's queue.
                let seat = shard.admission.seat(client).await;
                admit(&shard, &proxy, &slot, stream, client, seat);
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                // Out of descriptors or memory. Waiting lets connections end; returning would stop the service.
                tracing::error!(target: "lockgate::listener", %error, address = %slot.address, "cannot accept");
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
    slot: &Arc<Slot>,
    stream: ClientSocket,
    client: Client,
    seat: Option<Seat>,
) {
    let listener = slot.listener.load_full();
    let Some(connection) = connection(&listener, &stream, client) else { return };
    shard.metrics.count(Metric::Accepted);
    let guest = seat.as_ref().map(|seat| Arc::clone(seat.guest()));
    if guest.is_some() {
        // Otherwise a large buffer hides for minutes whether a client reads; a smaller one would slow down those that do.
        let _ = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT);
    }
    slot.opens();
    let home = Arc::clone(shard);
    let open = Open { shard: Arc::clone(shard), slot: Arc::clone(slot), _seat: seat };
    let (shard, proxy, port) = (Arc::clone(shard), Arc::clone(proxy), slot.address.port());
    let edge = Edge::new(shard, proxy, listener, Arc::new(connection), port, guest);
    tokio::spawn(async move {
        // Apart, so that what a tunnel does not need is given back when it opens.
        let tunnel = Box::pin(edge.serve(stream)).await;
        if let Some((tunnel, place)) = tunnel {
            tokio::select! {
                () = tunnel.carry() => {}
                () = home.tunnels_end() => {}
            }
            drop(place);
        }
        drop(open);
    });
}

/// What is known about a connection; `None` when it is gone already.
fn connection(listener: &Listener, stream: &ClientSocket, client: Client) -> Option<Connection> {
    let name = Arc::clone(&listener.name);
    let ClientSocket::Tcp(stream) = stream else { return Some(Connection::new(client, name, NOWHERE)) };
    // Without Nagle's algorithm: pieces are gathered before they are written.
    let _ = stream.set_nodelay(true);
    let local = stream.local_addr().ok()?;
    let mut connection = Connection::new(client, name, local);
    if listener.redirected {
        connection.original_destination = listener::original_destination(stream).unwrap_or(local);
    }
    Some(connection)
}

/// Counts a connection as open until it is dropped.
struct Open {
    shard: Arc<Shard>,
    slot: Arc<Slot>,
    _seat: Option<Seat>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.slot.closes();
        self.shard.metrics.count(Metric::Closed);
        self.shard.idle.notify_one();
    }
}

fn pingora_conf() -> ServerConf {
    // A request tries each address of its peer once, and there may be many.
    ServerConf { upstream_keepalive_pool_size: UPSTREAM_POOL, max_retries: 256, ..ServerConf::default() }
}

/// Our end of a connection without addresses.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
/// Unused upstream connections that a shard keeps.
const UPSTREAM_POOL: usize = 1024;
/// Bytes that wait in a client's socket to be sent, where it matters whether the client reads.
const UNSENT: u32 = 128 * 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Less than what clients are waited for.
const TICK: Duration = Duration::from_secs(1);
