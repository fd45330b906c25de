//! HTTP/2 ([RFC 9113](https://www.rfc-editor.org/rfc/rfc9113)): a connection whose requests come on streams, side by side.
//!
//! Pingora reads frames and guards against malformed streams; each request comes by here for its route.

use std::{
    cell::RefCell,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::BytesMut;
use http::{HeaderValue, Method, StatusCode, Version, header};
use pingora::{
    apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp as _},
    http::{RequestHeader, ResponseHeader},
    protocols::http::{
        ServerSession,
        v2::server::{H2Options, default_h2_options},
    },
};
use plugin_api::Form;
use tokio::{io::AsyncReadExt as _, sync::watch};

use super::{Edge, FIRST_REQUEST_GRACE};
use crate::{
    answer::Answer,
    conn::Conn,
    flight::{Flight, Line, Origin},
    generation::Generation,
    head::{MOST_HEADERS, Refusal, TARGET_TOO_LONG, TOO_MANY_HEADERS, host_of},
    metrics::Metric,
    relay::HANDOVER,
    route::{self, Facts},
};

/// Takes the requests of one connection.
struct Streams {
    edge: Edge,
    options: HttpServerOptions,
    header_list: u32,
}

impl Edge {
    /// Serves a connection on which HTTP/2 was agreed, to its end.
    pub(super) async fn serve_streams(self, mut conn: Box<Conn>) {
        let generation = self.shard.generation();
        let Some(preface) = self.preface(&mut conn, generation.timeouts.head).await else { return };
        conn.switch_to_http2(preface);
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(generation.timeouts.keep_alive);
        let header_list = u32::try_from(generation.limits.head).unwrap_or(u32::MAX);
        drop(generation);
        let shutdown = self.shard.closing();
        let streams = Arc::new(Streams { edge: self, options, header_list });
        streams.process_new(conn, &shutdown).await;
    }

    /// Waits for what every client says first. Pingora would wait for it for ever.
    async fn preface(&self, conn: &mut Conn, within: Duration) -> Option<BytesMut> {
        let mut bytes = BytesMut::with_capacity(super::READ_SIZE);
        let read = async {
            while bytes.len() < PREFACE.len() {
                if conn.read_buf(&mut bytes).await.ok()? == 0
                    || !PREFACE.starts_with(&bytes[..bytes.len().min(PREFACE.len())])
                {
                    return None;
                }
            }
            bytes.starts_with(PREFACE).then_some(())
        };
        let read = tokio::select! {
            biased;
            read = tokio::time::timeout(within, read) => read,
            () = self.drained(FIRST_REQUEST_GRACE) => return None,
        };
        read.ok().flatten().map(|()| bytes)
    }

    /// Serves one request.
    async fn stream(&self, mut session: ServerSession, shutdown: &watch::Receiver<bool>) {
        let generation = self.shard.generation();
        let started = Instant::now();
        if let Err(refusal) = settle(session.req_header_mut(), &generation) {
            self.shard.metrics.count(Metric::Refused);
            let page = generation.wording.refusal(refusal);
            let length = page.body.len();
            let status = page.status;
            send(&mut session, page, generation.timeouts.write).await;
            self.log_refusal(&generation, status, length, started);
            return;
        }
        let _place = self.shard.admission.enter(self.guest.as_ref()).await;
        let generation = self.shard.generation();
        let head = session.req_header();
        let host = head.headers.get(header::HOST).and_then(host_of);
        let facts = Facts {
            listener: &self.connection.listener,
            host: host.as_deref(),
            path: path(head),
            method: &head.method,
            client: self.connection.client,
        };
        let Some(chain) = route::find(&generation.routes, &facts).filter(|_| head.method != Method::CONNECT) else {
            self.shard.metrics.count(Metric::Unrouted);
            let line = line(&generation, head, host);
            let mut page = match line.method {
                Method::CONNECT => {
                    Answer::page(StatusCode::METHOD_NOT_ALLOWED, "Tunnels are opened over HTTP/1.1 here.")
                }
                _ => Answer::page(StatusCode::NOT_FOUND, "No site is served under this address."),
            };
            self.render(&generation, &mut page, None).await;
            let (status, length) = (page.status, page.body.len());
            send(&mut session, page, generation.timeouts.write).await;
            self.log(&generation, line, status, length, started, "unrouted");
            return;
        };
        let origin = Origin {
            shard: Arc::clone(&self.shard),
            generation: Arc::clone(&generation),
            connection: Arc::clone(&self.connection),
            port: self.port,
            fd: self.fd,
        };
        let flight = Flight::new(origin, Arc::clone(chain), line(&generation, head, host));
        let handover = RefCell::new(Some(Box::new(flight)));
        HANDOVER.scope(handover, self.proxy.process_new_http(session, shutdown)).await;
    }
}

#[async_trait]
impl HttpServerApp for Streams {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &watch::Receiver<bool>,
    ) -> Option<ReusedHttpStream> {
        // Boxed apart: pingora keeps this future for each stream.
        Box::pin(self.edge.stream(session, shutdown)).await;
        None
    }

    fn h2_options(&self) -> Option<H2Options> {
        let mut options = default_h2_options();
        options.max_header_list_size(self.header_list);
        options.max_concurrent_streams(STREAMS);
        options.initial_window_size(STREAM_WINDOW);
        options.initial_connection_window_size(CONNECTION_WINDOW);
        options.max_send_buffer_size(SEND_BUFFER);
        Some(options)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}

/// Makes a head what plugins and HTTP/1.1 servers expect: a path, a `Host`, one `Cookie`.
fn settle(head: &mut RequestHeader, generation: &Generation) -> Result<(), Refusal> {
    if head.headers.len() > MOST_HEADERS {
        return Err(TOO_MANY_HEADERS);
    }
    if head.raw_path().len() > generation.limits.target {
        return Err(TARGET_TOO_LONG);
    }
    let authority = head.uri.authority().map(|authority| HeaderValue::from_str(authority.as_str()));
    if let Some(authority) = authority {
        let authority = authority.map_err(|_error| WRONG_HOST)?;
        // Pingora has made sure that they agree where both are there.
        head.insert_header(header::HOST, authority).map_err(|_error| WRONG_HOST)?;
    }
    if head.headers.get(header::HOST).and_then(host_of).is_none() {
        return Err(WRONG_HOST);
    }
    if head.method != Method::CONNECT {
        let target = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        head.set_uri(target.parse().map_err(|_error: http::uri::InvalidUri| WRONG_TARGET)?);
    }
    join_cookies(head)
}

/// A client may send its cookies one by one; before they leave HTTP/2 they are one field (RFC 9113 §8.2.3).
fn join_cookies(head: &mut RequestHeader) -> Result<(), Refusal> {
    let mut cookies = head.headers.get_all(header::COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return Ok(());
    }
    let all: Vec<&[u8]> = head.headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    let joined = HeaderValue::from_bytes(&all.join(&b"; "[..])).map_err(|_error| WRONG_COOKIE)?;
    head.insert_header(header::COOKIE, joined).map_err(|_error| WRONG_COOKIE)
}

/// The target without its query, as it was sent.
fn path(head: &RequestHeader) -> &[u8] {
    let target = head.raw_path();
    let end = target.iter().position(|byte| b"?#".contains(byte)).unwrap_or(target.len());
    &target[..end]
}

fn line(generation: &Generation, head: &RequestHeader, host: Option<Box<str>>) -> Line {
    let logged = generation.log.is_some();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned().into_boxed_str();
    let field = |name| head.headers.get(name).filter(|_| logged).map(|value: &HeaderValue| text(value.as_bytes()));
    Line {
        method: head.method.clone(),
        target: if logged { text(head.raw_path()) } else { Box::default() },
        version: Version::HTTP_2,
        form: if head.method == Method::CONNECT { Form::Authority } else { Form::Origin },
        host,
        user_agent: field(header::USER_AGENT),
        referer: field(header::REFERER),
    }
}

/// Writes an answer of our own.
async fn send(session: &mut ServerSession, answer: Answer, within: Duration) {
    session.set_write_timeout(Some(within));
    let silent = session.req_header().method == Method::HEAD || answer.body.is_empty();
    let written = async {
        let mut head = ResponseHeader::build(answer.status, Some(answer.headers.len() + 2))?;
        for (name, value) in &answer.headers {
            head.append_header(name.clone(), value)?;
        }
        head.insert_header(header::CONTENT_LENGTH, HeaderValue::from(answer.body.len()))?;
        session.write_response_header(Box::new(head)).await?;
        if !silent {
            session.write_response_body(answer.body, true).await?;
        }
        Ok::<_, Box<pingora::Error>>(())
    };
    // A client that is gone or resets the stream has no use for it.
    let _ = written.await;
    if let ServerSession::H2(stream) = session {
        let _ = stream.finish();
    }
}

/// RFC 9113 §3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const WRONG_HOST: Refusal =
    Refusal { status: StatusCode::BAD_REQUEST, reason: "The host of the request is malformed." };
const WRONG_TARGET: Refusal = Refusal { status: StatusCode::BAD_REQUEST, reason: "The request target is malformed." };
const WRONG_COOKIE: Refusal = Refusal { status: StatusCode::BAD_REQUEST, reason: "The cookies are malformed." };
/// Requests of one connection at once.
const STREAMS: u32 = 100;
/// Bytes of request bodies that may be on their way, for each stream and for a whole connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of an answer that wait for the client, for each stream.
const SEND_BUFFER: usize = 256 * 1024;
