//! HTTP/2 ([RFC 9113](https://www.rfc-editor.org/rfc/rfc9113)): a connection whose requests come on streams, side by side.
//!
//! h2 reads frames and pingora guards against malformed requests. For how long a connection is kept, and how much its client may
//! have under way, is decided here.

mod request;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use h2::{Reason, server::Connection};
use http::{StatusCode, Version};
use pingora::protocols::{
    Digest, GetSocketDigest as _, Stream,
    http::v2::server::{H2Accept, H2Options, HttpSession, default_h2_options, handshake},
};
use tokio::{io::AsyncReadExt as _, sync::Notify};

use super::{Edge, FIRST_REQUEST_GRACE};
use crate::{HeadLimits, conn::Conn, metrics::Metric};

/// The requests of one connection.
#[derive(Debug, Default)]
struct Streams {
    /// Those that are being served. One that its client has given up may take a while to end.
    served: AtomicUsize,
    ended: Notify,
    /// All so far, and those that the client has given up.
    taken: AtomicUsize,
    given_up: Arc<AtomicUsize>,
}

/// A request that is being served, until it is dropped.
struct Served(Arc<Streams>);

impl Edge {
    /// Serves a connection on which HTTP/2 was agreed, to its end.
    pub(super) async fn serve_streams(self, mut conn: Box<Conn>) {
        let generation = self.shard.generation();
        let (within, options) = (generation.timeouts.head, options(&generation.limits));
        drop(generation);
        let Some(preface) = self.preface(&mut conn, within).await else { return };
        conn.switch_to_http2(preface);
        let digest = Arc::new(Digest { socket_digest: conn.get_socket_digest(), ..Digest::default() });
        let opened = tokio::time::timeout(within, handshake(conn, Some(options))).await;
        let Ok(Ok(mut connection)) = opened else { return };
        let streams = Arc::new(Streams::default());
        if let Some(reason) = Arc::new(self).take(&mut connection, &digest, &streams).await {
            connection.abrupt_shutdown(reason);
            let told = async {
                while let Ok(Some(_)) = HttpSession::from_h2_conn(&mut connection, Arc::clone(&digest)).await {}
            };
            let _ = tokio::time::timeout(GOODBYE, told).await;
        }
        // With their connection the requests end, and all of them are logged before it counts as ended.
        drop(connection);
        streams.none().await;
    }

    /// Waits for what every client says first. h2 would wait for it for ever.
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

    /// Takes requests until the connection ends. When it is for us to end it, returns what the client is to be told.
    async fn take(
        self: Arc<Self>,
        connection: &mut Connection<Stream, Bytes>,
        digest: &Arc<Digest>,
        streams: &Arc<Streams>,
    ) -> Option<Reason> {
        let mut closing = self.shard.closing();
        let (mut is_closing, mut malformed) = (false, 0);
        loop {
            let timeouts = self.shard.generation().timeouts;
            let patience = match streams.taken.load(Ordering::Relaxed) {
                // Requests may have been on their way when the client was told that there is an end.
                _ if is_closing => FIRST_REQUEST_GRACE,
                0 => timeouts.head,
                _ => timeouts.keep_alive,
            };
            let accepted = tokio::select! {
                biased;
                _ = closing.wait_for(|closing| *closing), if !is_closing => {
                    connection.graceful_shutdown();
                    is_closing = true;
                    continue;
                }
                accepted = HttpSession::from_h2_conn(connection, Arc::clone(digest)) => accepted,
                () = streams.silence(patience) => return Some(Reason::NO_ERROR),
            };
            match accepted {
                Ok(Some(H2Accept::Session(mut session))) => {
                    if streams.served.load(Ordering::Relaxed) >= MOST_SERVED {
                        // Whoever is told so may ask again (RFC 9113 §8.7).
                        session.shutdown_with_reason(Reason::REFUSED_STREAM);
                    } else {
                        let (edge, served) = (Arc::clone(&self), Served::of(streams));
                        tokio::spawn(async move { edge.stream(session, &served.0).await });
                    }
                    if streams.are_given_up() {
                        tracing::info!(target: "lockgate::edge", client = %self.connection.client, "a client gives up most of its requests");
                        return Some(Reason::ENHANCE_YOUR_CALM);
                    }
                }
                // Pingora has answered or reset it.
                Ok(Some(H2Accept::Rejected)) => {
                    self.shard.metrics.count(Metric::Refused);
                    let (generation, status) = (self.shard.generation(), StatusCode::BAD_REQUEST);
                    self.log_refusal(&generation, Version::HTTP_2, status, 0, Instant::now());
                    malformed += 1;
                    if malformed == MOST_MALFORMED {
                        return Some(Reason::ENHANCE_YOUR_CALM);
                    }
                }
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

impl Streams {
    /// Ready when nothing was served for this long.
    async fn silence(&self, patience: Duration) {
        self.none().await;
        tokio::time::sleep(patience).await;
    }

    /// Ready when nothing is served.
    async fn none(&self) {
        while self.served.load(Ordering::Relaxed) > 0 {
            self.ended.notified().await;
        }
    }

    /// Whether the client hardly ever waits for an answer (CVE-2023-44487): each request that it gives up has cost a server
    /// more than it has cost the client.
    fn are_given_up(&self) -> bool {
        let given_up = self.given_up.load(Ordering::Relaxed);
        given_up > MOST_GIVEN_UP && given_up * 2 > self.taken.load(Ordering::Relaxed)
    }
}

impl Served {
    fn of(streams: &Arc<Streams>) -> Self {
        streams.served.fetch_add(1, Ordering::Relaxed);
        streams.taken.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(streams))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if self.0.served.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.ended.notify_one();
        }
    }
}

fn options(limits: &HeadLimits) -> H2Options {
    let mut options = default_h2_options();
    options.max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX));
    options.max_concurrent_streams(STREAMS);
    options.max_local_error_reset_streams(Some(MOST_BROKEN));
    options.initial_window_size(STREAM_WINDOW);
    options.initial_connection_window_size(CONNECTION_WINDOW);
    options.max_send_buffer_size(SEND_BUFFER);
    options
}

/// RFC 9113 §3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Requests of one connection at once, as its client sees it.
const STREAMS: u32 = 100;
/// The same as we see it: those that the client has given up may still be connecting to a server.
const MOST_SERVED: usize = 2 * STREAMS as usize;
/// Requests that a client may give up, whatever becomes of the others.
const MOST_GIVEN_UP: usize = 500;
/// Requests that pingora may refuse before the connection is ended, and streams that h2 may reset (CVE-2025-8671).
const MOST_MALFORMED: usize = 32;
const MOST_BROKEN: usize = 100;
/// Bytes of request bodies that may be on their way, for each stream and for a whole connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of an answer that wait for the client, for each stream.
const SEND_BUFFER: usize = 64 * 1024;
/// How long it is tried to tell a client why its connection ends.
const GOODBYE: Duration = Duration::from_secs(2);
