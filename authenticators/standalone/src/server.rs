//! A listener of the authenticator's own: answers challenges and nothing else.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use authenticator_api::{Error, Token};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinHandle,
};

use crate::tokens::Tokens;

/// Serves until it is stopped or dropped.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens at once. Needs a tokio runtime.
    pub(crate) fn start(address: SocketAddr, tokens: Arc<Tokens>) -> Result<Self, Error> {
        let failed = |source| Error::Listen { address, source };
        let listener = bind(address).and_then(TcpListener::from_std).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(accept(listener, tokens, stopped));
        Ok(Self { address, stop, task: Some(task) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more, lets answers in flight finish for a moment, closes the rest.
    pub(crate) async fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take() {
            // A task that panicked has ended too.
            let _ = task.await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

async fn accept(listener: TcpListener, tokens: Arc<Tokens>, mut stopped: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut visitors = tokio::task::JoinSet::new();
    loop {
        while visitors.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = told(&mut stopped) => break,
        };
        match accepted {
            // Every visitor leaves within the head's deadline, so a full house empties by itself; until then a new
            // visitor is turned away at once instead of left waiting.
            Ok((stream, _)) => {
                if let Ok(place) = Arc::clone(&room).try_acquire_owned() {
                    let (tokens, stopped) = (Arc::clone(&tokens), stopped.clone());
                    visitors.spawn(async move {
                        visit(stream, tokens, stopped).await;
                        drop(place);
                    });
                }
            }
            Err(error) => {
                tracing::warn!(target: "lockgate::standalone", %error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    let all = async { while visitors.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(STOP_TIME, all).await;
}

async fn visit(stream: TcpStream, tokens: Arc<Tokens>, mut stopped: watch::Receiver<bool>) {
    let service = service_fn(move |request| {
        let answer = answer(&request, &tokens);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MOST_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // What goes wrong on one visitor's connection is that visitor's business.
    tokio::select! {
        _ = tokio::time::timeout(VISIT_TIME, connection.as_mut()) => {}
        () = told(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(STOP_TIME, connection).await;
        }
    }
}

async fn told(stopped: &mut watch::Receiver<bool>) {
    // Without the sender there is nobody left to serve for.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

fn answer(request: &Request<Incoming>, tokens: &Tokens) -> Response<Full<Bytes>> {
    let known = request.uri().path().strip_prefix(PREFIX).and_then(|token| Token::parse(token).ok());
    let Some(known) = known.and_then(|token| tokens.get(&token)) else {
        return plain(StatusCode::NOT_FOUND, "no such challenge\n");
    };
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "challenges are read with GET\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    // RFC 8555 §8.3: any type will do, this is the one that is recommended.
    let mut response = Response::new(Full::from(known.as_str().to_owned()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

const PREFIX: &str = "/.well-known/acme-challenge/";
const MOST_CONNECTIONS: usize = 1024;
const HEAD_TIME: Duration = Duration::from_secs(10);
const VISIT_TIME: Duration = Duration::from_secs(15);
const STOP_TIME: Duration = Duration::from_secs(1);
/// Hyper takes no less.
const MOST_HEAD: usize = 8 * 1024;
