//! A client's connection, in the form in which pingora takes it and gives it back.

mod chunks;
mod http2;
mod intake;
mod ledger;
mod linger;
mod origin_date;
mod watch;

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    raw_connect::ProxyDigest,
};
use plugin_api::Client;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use self::{intake::Intake, ledger::Ledger, linger::linger, watch::Clock};
pub(crate) use self::{origin_date::OriginDate, watch::Watch};
use crate::{admission::Guest, client_stream::ClientStream, head::Framing};

/// A client's connection.
///
/// It adds three things to the socket: small writes are gathered, so that head and body leave in one system call; while a
/// request without a body is served, what the client sends next is kept for the edge, because pingora would give up the
/// connection; and it watches a clock for upgraded connections, whose silence pingora can only bound from one side.
pub(crate) struct Conn {
    socket: Option<ClientStream>,
    digest: Arc<SocketDigest>,
    id: i32,
    written: BytesMut,
    intake: Intake,
    /// The peer may still be sending: closing at once would reset the connection under our last answer.
    linger: bool,
    clock: Option<Clock>,
    date: Arc<OriginDate>,
    /// Bytes that were read already and are to be read again.
    unread: BytesMut,
    /// HTTP/2 is spoken: silence of the client says nothing about any one request.
    http2: bool,
    /// What requests over HTTP/2 wait for, where somebody wants to know.
    ledger: Option<Box<Ledger>>,
    /// The client takes nothing at all.
    blocked: bool,
    /// Our side is closed.
    ended: bool,
    /// Who wants to know when we wait for the client, and may end that.
    guest: Option<Arc<Guest>>,
}

impl Conn {
    pub(crate) fn new(socket: ClientStream, client: Client, local: SocketAddr) -> Self {
        use std::os::fd::AsRawFd as _;
        let id = socket.as_raw_fd();
        let digest = SocketDigest::from_raw_fd(id);
        let inet = pingora::protocols::l4::socket::SocketAddr::Inet;
        let (client, local) = match client {
            Client::Inet(client) => (Some(inet(client)), Some(inet(local))),
            Client::Unix => (None, None),
        };
        // Set once here, so that pingora never asks the system for them again.
        let _ = digest.peer_addr.set(client);
        let _ = digest.local_addr.set(local);
        Self {
            socket: Some(socket),
            digest: Arc::new(digest),
            id,
            written: BytesMut::new(),
            intake: Intake::new(),
            linger: false,
            clock: None,
            date: OriginDate::new(),
            unread: BytesMut::new(),
            http2: false,
            ledger: None,
            blocked: false,
            ended: false,
            guest: None,
        }
    }

    /// Tells this one from now on when we wait for the client, and ends the connection when it is sent away.
    pub(crate) fn set_guest(&mut self, guest: Option<Arc<Guest>>) {
        self.guest = guest;
    }

    /// A request with this body is served from now on: what follows it is kept for [`take_stash`](Self::take_stash). `early` has
    /// come behind the head; what of that is body is returned. Without a framing everything passes.
    pub(crate) fn begin(&mut self, framing: Option<&Framing>, early: BytesMut, serves_half_closed: bool) -> BytesMut {
        self.intake.begin(framing, early, serves_half_closed)
    }

    /// Ends that, and returns what was kept.
    pub(crate) fn take_stash(&mut self) -> BytesMut {
        self.intake.finish()
    }

    /// Whether a close must wait until the peer has read what was sent.
    pub(crate) fn set_linger(&mut self, linger: bool) {
        self.linger = linger;
    }

    /// Bounds the silence of this connection as `watch` says, from now on; `None` ends that.
    pub(crate) fn set_watch(&mut self, watch: Option<Arc<Watch>>, has_body: bool) {
        self.clock = watch.map(|watch| Clock::new(watch, has_body));
    }

    /// Where the date of an answer is kept that passes through this connection.
    pub(crate) fn origin_date(&self) -> Arc<OriginDate> {
        Arc::clone(&self.date)
    }

    /// Writes all of this, within the time; `false` when the client does not take it.
    pub(crate) async fn send(&mut self, bytes: &[u8], within: Duration) -> bool {
        let written = async {
            self.write_all(bytes).await?;
            self.flush().await
        };
        matches!(tokio::time::timeout(within, written).await, Ok(Ok(())))
    }

    /// The socket, for a tunnel. Everything written so far must have been flushed.
    pub(crate) fn into_socket(mut self) -> ClientStream {
        self.socket.take().expect("only drop and this, which consume it, take the socket")
    }

    fn socket(&mut self) -> &mut ClientStream {
        self.socket.as_mut().expect("only drop takes the socket")
    }

    /// Tells the guest what became of an attempt to move bytes to or from the client.
    fn tell<T>(
        &mut self,
        moved: Poll<io::Result<T>>,
        bytes: impl Fn(&T) -> usize,
        cx: &Context<'_>,
    ) -> Poll<io::Result<T>> {
        let Some(guest) = &self.guest else { return moved };
        self.blocked = moved.is_pending();
        if self.clock.as_ref().is_some_and(Clock::has_switched) {
            guest.becomes_tunnel();
        }
        match &moved {
            Poll::Pending => {
                guest.waits(cx);
                // After the waker is known, so that it is told either way.
                if guest.is_sent_away() {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "others need the place more")));
                }
            }
            Poll::Ready(Ok(moved)) => {
                guest.moves(bytes(moved));
                if let Some(ledger) = &self.ledger {
                    // A write is often the last that happens before everybody sleeps.
                    guest.listens(ledger.waiting(false), cx);
                }
            }
            Poll::Ready(Err(_)) => {}
        }
        moved
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.written.is_empty() {
            let socket = self.socket.as_mut().expect("only drop takes the socket");
            let sent = Pin::new(socket).poll_write(cx, &self.written);
            let sent = ready!(self.tell(sent, |sent| *sent, cx))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written.advance(sent);
        }
        let socket = self.socket.as_mut().expect("only drop takes the socket");
        if socket.holds_back() {
            let flushed = Pin::new(socket).poll_flush(cx);
            return self.tell(flushed, |()| 0, cx);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(clock) = &mut self.clock {
            clock.wind();
        }
        if self.date.put_right(data, &mut self.written) {
            return Poll::Ready(Ok(data.len()));
        }
        if self.written.len() + data.len() <= GATHER_LIMIT {
            self.written.extend_from_slice(data);
            return Poll::Ready(Ok(data.len()));
        }
        while !self.written.is_empty() {
            let pieces = [io::IoSlice::new(&self.written), io::IoSlice::new(data)];
            let socket = self.socket.as_mut().expect("only drop takes the socket");
            let sent = Pin::new(socket).poll_write_vectored(cx, &pieces);
            let sent = ready!(self.tell(sent, |sent| *sent, cx))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_gathered = sent.min(self.written.len());
            self.written.advance(of_gathered);
            if sent > of_gathered {
                return Poll::Ready(Ok(sent - of_gathered));
            }
        }
        let sent = Pin::new(self.socket()).poll_write(cx, data);
        self.tell(sent, |sent| *sent, cx)
    }

    /// Keeps what comes for the next request.
    fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.intake.kept() < STASH_LIMIT && !self.intake.is_half_closed() {
            let mut piece = [0; 4096];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(Pin::new(self.socket()).poll_read(cx, &mut piece))?;
            if piece.filled().is_empty() {
                return self.poll_end();
            }
            self.intake.pass(piece.filled());
        }
        // The client may send no more before it has its answer; a hang-up is noticed when that is written.
        Poll::Pending
    }

    /// The client's direction has ended while its request is served.
    fn poll_end(&mut self) -> Poll<io::Result<()>> {
        // Should it be gone though it may wait, it is noticed when the answer is written. Others wake who waits here.
        if self.intake.ends() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Reads what may be read of the body.
    fn poll_body(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.intake.passes_all() {
            return Pin::new(self.socket()).poll_read(cx, into);
        }
        if let Some(fault) = self.intake.fault() {
            return Poll::Ready(Err(fault));
        }
        let before = into.filled().len();
        let most = self.intake.most(into.remaining());
        let mut piece = ReadBuf::new(into.initialize_unfilled_to(most));
        ready!(Pin::new(self.socket()).poll_read(cx, &mut piece))?;
        let read = piece.filled().len();
        let passed = self.intake.pass(&into.initialized()[before..before + read]);
        into.set_filled(before + passed);
        match self.intake.fault() {
            Some(fault) if passed == 0 => Poll::Ready(Err(fault)),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for Conn {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Whoever waits for the client has nothing more to write for now: what was gathered must not wait with them.
        if let Poll::Ready(Err(error)) = self.poll_drain(cx) {
            return Poll::Ready(Err(error));
        }
        if self.intake.is_complete() {
            return self.poll_hold(cx);
        }
        if self.http2 {
            return self.poll_read_http2(cx, into);
        }
        // Pingora looks for the end of a connection with a single byte: that is no waiting for a body. Where the end of the body is
        // known, it looks into what is held.
        let is_look = into.remaining() == 1 && self.intake.passes_all();
        let before = into.filled().len();
        let is_awaited = !is_look && self.clock.as_ref().is_none_or(|clock| clock.has_body);
        let read = self.poll_body(cx, into);
        let read = if is_awaited { self.tell(read, |()| into.filled().len() - before, cx) } else { read };
        if let Some(clock) = &mut self.clock {
            if into.filled().len() > before {
                clock.wind();
            } else if read.is_pending()
                && let Poll::Ready(error) = clock.poll(cx)
            {
                return Poll::Ready(Err(error));
            }
        }
        read
    }
}

impl AsyncWrite for Conn {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(self.poll_send(cx, data))?;
        if let Some(ledger) = &mut self.ledger {
            ledger.sends(&data[..written]);
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_drain(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        ready!(Pin::new(self.socket()).poll_shutdown(cx))?;
        self.ended = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        let Some(socket) = self.socket.take() else { return };
        // Pingora gives up without a flush; what the client already has a right to must not be lost with it.
        while !self.written.is_empty()
            && let Ok(sent) = socket.try_write(&self.written)
            && sent > 0
        {
            self.written.advance(sent);
        }
        let lingers = self.linger || self.intake.kept() > 0 || !self.written.is_empty();
        // The end of TLS is a message, too: without it, what came before may have been cut off by anybody (RFC 8446 §6.1).
        let says_goodbye = socket.holds_back() && !self.ended;
        if (lingers || says_goodbye) && tokio::runtime::Handle::try_current().is_ok() {
            tokio::spawn(linger(socket, std::mem::take(&mut self.written), lingers));
        }
    }
}

#[async_trait]
impl Shutdown for Conn {
    async fn shutdown(&mut self) {
        // The peer may be gone; there is nobody to tell.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Conn {
    fn id(&self) -> i32 {
        self.id
    }
}

impl Ssl for Conn {
    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.http2.then_some(ALPN::H2)
    }
}

impl GetTimingDigest for Conn {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Conn {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetSocketDigest for Conn {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.digest))
    }
}

#[async_trait]
impl Peek for Conn {}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Conn({})", self.id)
    }
}

/// Bytes of following requests that are kept per connection.
const STASH_LIMIT: usize = 64 * 1024;
/// Writes up to this many bytes are gathered until a flush.
const GATHER_LIMIT: usize = 8 * 1024;
