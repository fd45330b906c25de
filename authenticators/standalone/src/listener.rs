//! One listening socket and the visitors that come through it.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::poll_fn,
    io,
    net::{self, SocketAddr},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use authenticator_api::Error;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
    time,
};

use crate::{TARGET, answer::answer, tokens::Tokens};

/// A socket that listens and whose address is known.
pub(crate) struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds and listens. Needs a tokio runtime.
    pub(crate) fn bind(address: SocketAddr) -> Result<Self, Error> {
        let listen = || {
            let socket = TcpListener::from_std(open(address)?)?;
            let address = socket.local_addr()?;
            Ok(Self { socket, address })
        };
        listen().map_err(|source| Error::Listen { address, source })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Serves visitors until the sender of `stopped` is dropped; then answers whoever has connected by then, within
/// [`STOP_DEADLINE`], and closes.
pub(crate) async fn serve(listener: Listener, tokens: Arc<Tokens>, mut stopped: watch::Receiver<()>) {
    let Listener { socket, address } = listener;
    tracing::info!(target: TARGET, %address, "standalone authenticator listens");
    let mut visitors = Visitors::new(tokens, stopped.clone());
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            accepted = socket.accept() => match accepted {
                Ok((stream, from)) => visitors.welcome(stream, from),
                Err(error) => pause_after(&error, address).await,
            },
            () = visitors.one_left() => {}
        }
    }
    // Closing a listener resets who waits in its queue. What is longer than the queue came after the stop.
    for _ in 0..BACKLOG {
        let Some((stream, from)) = next_in_queue(&socket).await else { break };
        visitors.welcome(stream, from);
    }
    drop(socket);
    visitors.see_off().await;
    tracing::info!(target: TARGET, %address, "standalone authenticator stopped listening");
}

/// The connections of one listener, at most [`MOST_VISITORS`].
///
/// A connection carries one request and an honest visitor's lasts milliseconds, so when there is no room for a new one,
/// the oldest is an idle one: it is dropped, and the new one is served.
struct Visitors {
    tokens: Arc<Tokens>,
    stopped: watch::Receiver<()>,
    tasks: JoinSet<()>,
    oldest_first: VecDeque<AbortHandle>,
}

impl Visitors {
    fn new(tokens: Arc<Tokens>, stopped: watch::Receiver<()>) -> Self {
        Self { tokens, stopped, tasks: JoinSet::new(), oldest_first: VecDeque::new() }
    }

    fn welcome(&mut self, stream: TcpStream, from: SocketAddr) {
        self.forget_who_left();
        if self.tasks.len() >= MOST_VISITORS
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            tracing::warn!(target: TARGET, limit = MOST_VISITORS, "too many visitors, the oldest connection is dropped");
            oldest.abort();
        }
        let task = self.tasks.spawn(converse(stream, from, Arc::clone(&self.tokens), self.stopped.clone()));
        self.oldest_first.push_back(task);
    }

    /// Waits for the end of one connection; for ever, when there is none.
    async fn one_left(&mut self) {
        match self.tasks.join_next().await {
            Some(ended) => {
                report(ended);
                self.forget_who_left();
            }
            None => std::future::pending().await,
        }
    }

    /// The front is the oldest and no connection lives longer than [`CONNECTION_DEADLINE`], so what has ended behind it
    /// stays for that long at most.
    fn forget_who_left(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            report(ended);
        }
        while self.oldest_first.front().is_some_and(AbortHandle::is_finished) {
            self.oldest_first.pop_front();
        }
    }

    async fn see_off(&mut self) {
        let everyone_left = async {
            while let Some(ended) = self.tasks.join_next().await {
                report(ended);
            }
        };
        if time::timeout(STOP_DEADLINE, everyone_left).await.is_err() {
            tracing::debug!(target: TARGET, visitors = self.tasks.len(), "visitors are cut off");
            self.tasks.shutdown().await;
        }
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(failure) = ended
        && failure.is_panic()
    {
        tracing::error!(target: TARGET, error = %failure, "a conversation of the standalone authenticator panicked");
    }
}

/// One connection: one request, one answer, then closed by `Connection: close`.
async fn converse(stream: TcpStream, from: SocketAddr, tokens: Arc<Tokens>, mut stopped: watch::Receiver<()>) {
    let service = service_fn(|request| {
        let response = answer(&request, &tokens);
        tracing::info!(
            target: TARGET,
            visitor = %from,
            method = %request.method(),
            path = request.uri().path(),
            status = response.status().as_u16(),
            "standalone authenticator answered"
        );
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(MOST_HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let conversation = async {
        let mut connection = pin!(connection);
        tokio::select! {
            // First the connection: what already lies in its buffer is answered, also when `stop` came.
            biased;
            outcome = &mut connection => return outcome,
            _ = stopped.changed() => connection.as_mut().graceful_shutdown(),
        }
        connection.await
    };
    match time::timeout(CONNECTION_DEADLINE, conversation).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(target: TARGET, visitor = %from, %error, "visitor was not understood or left")
        }
        Err(_) => tracing::debug!(target: TARGET, visitor = %from, "visitor took too long"),
    }
}

/// A connection that waits in the listener's queue now, if any.
async fn next_in_queue(socket: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    poll_fn(|context| match socket.poll_accept(context) {
        Poll::Ready(Ok(accepted)) => Poll::Ready(Some(accepted)),
        Poll::Ready(Err(_)) | Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// What is wrong with one connection is over with it; a lack of descriptors or memory needs time to pass.
async fn pause_after(error: &io::Error, address: SocketAddr) {
    if !matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        tracing::warn!(target: TARGET, %address, %error, "cannot accept a visitor");
        time::sleep(ACCEPT_PAUSE).await;
    }
}

fn open(address: SocketAddr) -> io::Result<net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `[::]:80` beside `0.0.0.0:80` must not want the same port twice.
        socket.set_only_v6(true)?;
    }
    // A predecessor's closed connections may linger on the port for a minute.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// From the connection to the end of the request head.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// For a whole connection; a visitor who does not read the answer is dropped then.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(20);

/// For the answers in flight when the authenticator stops.
const STOP_DEADLINE: Duration = Duration::from_secs(2);

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The smallest buffer that hyper allows. A longer head is answered with 431.
const MOST_HEAD_BYTES: usize = 8 * 1024;

const MOST_VISITORS: usize = 1024;

/// The kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
