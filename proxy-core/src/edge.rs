//! The edge: one per connection. It reads heads, chooses routes, and hands requests to pingora one after the other.

mod secure;
mod streams;
mod unserved;

use std::{cell::RefCell, os::fd::AsRawFd as _, sync::Arc, time::Duration};

use bytes::{Buf as _, BytesMut};
use http::{Method, StatusCode};
use pingora::{
    apps::HttpServerApp as _,
    protocols::{Stream, UniqueID as _, http::ServerSession},
    proxy::HttpProxy,
};
use plugin_api::{Chain, Connection};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::watch,
};

use crate::{
    Listener,
    admission::{Guest, Place},
    client_stream::Socket,
    conn::{Conn, Watch},
    connect::{self, Tunnel},
    dial::Own,
    flight::{Flight, Line, Origin, Reuse},
    generation::Generation,
    head::{Framing, Head, Refusal, Scanner, settle},
    metrics::Metric,
    narrative,
    proxy_protocol::{self, Announced},
    relay::{HANDOVER, Relay},
    route::{self, Facts},
    shard::Shard,
};

/// One connection of a client.
pub(crate) struct Edge {
    shard: Arc<Shard>,
    proxy: Arc<HttpProxy<Relay>>,
    listener: Arc<Listener>,
    connection: Arc<Connection>,
    /// The port that the listener is bound to.
    port: u16,
    guest: Option<Arc<Guest>>,
    /// The descriptor of the client's socket, which logs name it by.
    fd: i32,
    /// Pingora wants to be told about shutdowns; ours are told to the edge.
    never: watch::Receiver<bool>,
}

/// Which request is waited for.
#[derive(Clone, Copy)]
enum Wait {
    /// The first on its connection.
    First,
    /// One more.
    Next,
}

/// What waiting for a request brought.
enum Arrival {
    /// A head of this length.
    Head(usize),
    /// The client is done, or there is nothing more to wait for.
    End,
    /// The client is to be told why not.
    Refused(Refusal),
}

/// What becomes of a connection after a request, unless it ends.
enum Served {
    /// It can serve another.
    Again(Box<Conn>),
    /// It is a tunnel now.
    Tunnel(Tunnel),
}

impl Edge {
    pub(crate) fn new(
        shard: Arc<Shard>,
        proxy: Arc<HttpProxy<Relay>>,
        listener: Arc<Listener>,
        connection: Arc<Connection>,
        port: u16,
        guest: Option<Arc<Guest>>,
    ) -> Self {
        let (_, never) = watch::channel(false);
        Self { shard, proxy, listener, connection, port, guest, fd: -1, never }
    }

    /// Serves the connection to its end, or until it has become a tunnel, which keeps its place.
    pub(crate) async fn serve(mut self, mut socket: Socket) -> Option<(Tunnel, Place)> {
        let mut bytes = BytesMut::new();
        self.fd = socket.as_raw_fd();
        self.meet(&mut socket, &mut bytes).await?;
        let (stream, http2) = self.secure(socket, &mut bytes).await?;
        let mut conn = Box::new(Conn::new(stream, self.connection.client, self.connection.local));
        conn.set_guest(self.guest.clone());
        if http2 {
            self.serve_streams(conn).await;
            return None;
        }
        let mut wait = Wait::First;
        if self.turns_away(&mut conn).await {
            return None;
        }
        loop {
            let arrival = self.arrival(&mut conn, &mut bytes, wait).await;
            // What is decided about this request is decided by the configuration of now, to its end.
            let mut generation = self.shard.generation();
            let (served, place) = match arrival {
                Arrival::Head(length) => {
                    let mut head = bytes.split_to(length);
                    narrative::requested(conn.id(), &head);
                    settle(&mut head, &generation.limits);
                    match Head::parse(&head, &generation.limits) {
                        Ok(parsed) => {
                            let place = self.shard.admission.enter(self.guest.as_ref()).await;
                            generation = self.shard.generation();
                            let after = std::mem::take(&mut bytes);
                            (self.request(generation, conn, parsed, head, after).await, place)
                        }
                        Err(refusal) => {
                            self.refuse(&generation, &mut conn, refusal, &head).await;
                            return None;
                        }
                    }
                }
                Arrival::End => {
                    if matches!(wait, Wait::First) {
                        self.shard.metrics.count(Metric::Silent);
                    }
                    return None;
                }
                Arrival::Refused(refusal) => {
                    narrative::requested(conn.id(), &bytes);
                    self.refuse(&generation, &mut conn, refusal, &bytes).await;
                    return None;
                }
            };
            let mut back = match served? {
                Served::Again(back) => back,
                Served::Tunnel(tunnel) => {
                    self.guest.iter().for_each(|guest| guest.becomes_tunnel());
                    return Some((tunnel, place));
                }
            };
            drop(place);
            bytes = back.take_stash();
            back.set_watch(None, false);
            conn = back;
            wait = Wait::Next;
        }
    }

    /// Learns who the client is, from a proxy that speaks for it if this is one. `None` when that does not say so.
    async fn meet(&mut self, socket: &mut Socket, bytes: &mut BytesMut) -> Option<()> {
        let proxy = self.connection.client;
        if self.listener.announcers.iter().any(|source| source.contains(proxy)) {
            let within = self.shard.generation().timeouts.head;
            let received = tokio::select! {
                biased;
                received = proxy_protocol::receive(socket, bytes, within) => received,
                () = self.drained(FIRST_REQUEST_GRACE) => return None,
            };
            match received {
                Ok(Announced::Client(client)) => {
                    let connection = Arc::make_mut(&mut self.connection);
                    connection.client = client;
                    self.guest.iter().for_each(|guest| guest.is(client));
                }
                Ok(Announced::Nobody) => {}
                Err(error) => {
                    self.shard.metrics.count(Metric::Refused);
                    tracing::info!(
                        target: "lockgate::listener", listener = &*self.listener.name, %proxy,
                        error = &error as &dyn std::error::Error, "a proxy does not say whom it speaks for"
                    );
                    return None;
                }
            }
        }
        let local = self.listener.tell_local.then_some(self.connection.local);
        narrative::connected(&*socket, self.connection.client, local);
        Some(())
    }

    /// Waits for a whole head: for its first byte as `wait` says, then the head's own time for all of it.
    async fn arrival(&self, conn: &mut Conn, bytes: &mut BytesMut, wait: Wait) -> Arrival {
        let generation = self.shard.generation();
        let (limits, timeouts) = (&generation.limits, generation.timeouts);
        let (patience, grace) = match wait {
            Wait::First => (timeouts.head, FIRST_REQUEST_GRACE),
            Wait::Next => (timeouts.keep_alive, Duration::ZERO),
        };
        let mut scanner = Scanner::default();
        if !bytes.is_empty()
            && let Some(arrival) = Self::scan(&mut scanner, bytes, limits)
        {
            return arrival;
        }
        if bytes.is_empty() {
            bytes.reserve(READ_SIZE);
            let first = tokio::select! {
                biased;
                read = tokio::time::timeout(patience, conn.read_buf(bytes)) => read,
                () = self.drained(grace) => return Arrival::End,
            };
            match first {
                Ok(Ok(read)) if read > 0 => {}
                // Silence, an end, a reset: there is no request to answer.
                _ => return Arrival::End,
            }
        }
        let rest = async {
            loop {
                if let Some(arrival) = Self::scan(&mut scanner, bytes, limits) {
                    return arrival;
                }
                bytes.reserve(READ_SIZE);
                match conn.read_buf(bytes).await {
                    Ok(read) if read > 0 => {}
                    // Who has asked for something and says no more may still be listening.
                    Ok(_) if scanner.has_begun() => return Arrival::Refused(INCOMPLETE),
                    _ => return Arrival::End,
                }
            }
        };
        match tokio::time::timeout(timeouts.head, rest).await {
            Ok(arrival) => arrival,
            Err(_) => Arrival::Refused(TOO_SLOW),
        }
    }

    /// Ready so long after the shard began to drain.
    async fn drained(&self, grace: Duration) {
        self.shard.draining().await;
        tokio::time::sleep(grace).await;
    }

    /// Looks whether a whole head is there; blank lines before it are dropped.
    fn scan(scanner: &mut Scanner, bytes: &mut BytesMut, limits: &crate::HeadLimits) -> Option<Arrival> {
        match scanner.find_end(bytes, limits) {
            Ok(Some(length)) => {
                let blanks = bytes.iter().take_while(|byte| b"\r\n".contains(byte)).count();
                bytes.advance(blanks);
                Some(Arrival::Head(length - blanks))
            }
            Ok(None) => None,
            Err(refusal) => Some(Arrival::Refused(refusal)),
        }
    }

    /// Serves one request.
    async fn request(
        &self,
        generation: Arc<Generation>,
        conn: Box<Conn>,
        head: Head,
        bytes: BytesMut,
        after: BytesMut,
    ) -> Option<Served> {
        let facts = Facts {
            listener: &self.connection.listener,
            host: head.host.as_deref(),
            path: &bytes[head.path.clone()],
            method: &head.method,
            client: self.connection.client,
        };
        let Some(chain) = route::find(&generation.routes, &facts) else {
            return self.unrouted(&generation, conn, &head, &bytes, after).await.map(Served::Again);
        };
        let flight = self.flight(conn.id(), Arc::clone(&generation), Arc::clone(chain), &head, &bytes);
        if head.method == Method::CONNECT {
            return connect::serve(conn, flight, &bytes, after).await.map(Served::Tunnel);
        }
        self.hand_over(conn, flight, &head, bytes, after).await.map(Served::Again)
    }

    fn flight(
        &self,
        fd: i32,
        generation: Arc<Generation>,
        chain: Arc<Chain>,
        head: &Head,
        bytes: &[u8],
    ) -> Box<Flight> {
        let mut line = line(&generation, head, bytes);
        let length = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
        line.bytes = chain.renders_pages().then(|| bytes[..length].into());
        let origin = Origin {
            shard: Arc::clone(&self.shard),
            generation,
            connection: Arc::clone(&self.connection),
            own: Own { port: self.port, listener: Arc::clone(&self.listener) },
            fd,
        };
        let mut flight = Flight::new(origin, chain, line);
        if !head.keep_alive || !self.listener.keep_alive || self.shard.is_draining() {
            flight.reuse = Reuse::Last;
        }
        flight.watch = head.upgrade.then(Watch::new);
        Box::new(flight)
    }

    async fn hand_over(
        &self,
        mut conn: Box<Conn>,
        mut flight: Box<Flight>,
        head: &Head,
        bytes: BytesMut,
        after: BytesMut,
    ) -> Option<Box<Conn>> {
        let mut bytes = match head.rewritten(&bytes) {
            Some(rewritten) => BytesMut::from(&*rewritten),
            None => bytes,
        };
        let framing = (!head.upgrade).then_some(&head.body);
        bytes.unsplit(conn.begin(framing, after, flight.origin.generation.half_closed_clients));
        // If the body is not read to its end, closing must wait for the client.
        conn.set_linger(framing != Some(&Framing::None));
        flight.date = Some(conn.origin_date());
        conn.set_watch(flight.watch.clone(), head.body != Framing::None);
        let mut session = ServerSession::new_http1(conn);
        session.set_pipelined_prefix(bytes);
        let handover = RefCell::new(Some(flight));
        let reused = HANDOVER.scope(handover, self.proxy.process_new_http(session, &self.never)).await?;
        let stream: Stream = reused.consume().0;
        let mut conn = stream.into_any().downcast::<Conn>().ok()?;
        conn.set_linger(false);
        conn.flush().await.ok()?;
        Some(conn)
    }
}

fn line(generation: &Generation, head: &Head, bytes: &[u8]) -> Line {
    // Only the log wants the fields as text of its own.
    let text =
        |range: &std::ops::Range<usize>| String::from_utf8_lossy(&bytes[range.clone()]).into_owned().into_boxed_str();
    let logged = generation.log.is_some();
    Line {
        bytes: None,
        method: head.method.clone(),
        target: if logged { text(&head.target) } else { Box::default() },
        version: head.version,
        form: head.form,
        host: head.host.clone(),
        user_agent: head.user_agent.as_ref().filter(|_| logged).map(text),
        referer: head.referer.as_ref().filter(|_| logged).map(text),
    }
}

pub(crate) const TOO_SLOW: Refusal =
    Refusal { status: StatusCode::REQUEST_TIMEOUT, reason: "The request head did not arrive in time." };
pub(crate) const INCOMPLETE: Refusal =
    Refusal { status: StatusCode::BAD_REQUEST, reason: "The request head ended in the middle." };
const READ_SIZE: usize = 4096;
/// Whoever has connected just before a drain began has its first request on the way: a round trip, or two with a loss.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(2);
