//! The TLS handshake of a connection, before there is any request.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use http::{StatusCode, Version};
use plugin_api::Scheme;
use tokio_rustls::rustls::HandshakeKind;

use super::{Edge, FIRST_REQUEST_GRACE};
use crate::{
    answer::Answer,
    client_stream::{ClientStream, Socket},
    conn::Conn,
    metrics::Metric,
    tls::{Secured, accept},
};

impl Edge {
    /// Shakes hands where the listener wants that. `bytes` have come already. Returns what requests come on and whether they
    /// come in HTTP/2; `None` when there is nobody to serve.
    pub(super) async fn secure(&mut self, socket: Socket, bytes: &mut BytesMut) -> Option<(ClientStream, bool)> {
        let Some(tls) = &self.listener.tls else { return Some((socket.into(), false)) };
        let within = self.shard.generation().timeouts.head;
        let address = matches!(socket, Socket::Tcp(_)).then(|| self.connection.local.ip());
        let accepted = tokio::select! {
            biased;
            accepted = accept(tls, socket, std::mem::take(bytes), address, within) => accepted,
            () = self.drained(FIRST_REQUEST_GRACE) => return None,
        };
        let metrics = &self.shard.metrics;
        match accepted {
            Ok(Secured::Client(client)) => {
                metrics.count(Metric::Handshakes);
                if client.stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
                    metrics.count(Metric::Resumed);
                }
                let connection = Arc::make_mut(&mut self.connection);
                connection.scheme = Scheme::Https;
                connection.server_name = client.server_name;
                connection.client_certificate = client.certificate;
                Some((client.stream.into(), client.http2))
            }
            Ok(Secured::Proven) => {
                metrics.count(Metric::Handshakes);
                tracing::debug!(target: "lockgate::listener", client = %self.connection.client, "an authority has seen its proof");
                None
            }
            Ok(Secured::Plain(socket)) => {
                metrics.count(Metric::HandshakeFailures);
                self.explain(socket).await;
                None
            }
            Err(error) => {
                metrics.count(Metric::HandshakeFailures);
                tracing::debug!(
                    target: "lockgate::listener", client = %self.connection.client,
                    error = &error as &dyn std::error::Error, "no TLS with a client"
                );
                None
            }
        }
    }

    /// Tells somebody who typed `http://` what is wrong; he would only see a broken connection.
    async fn explain(&self, socket: Socket) {
        let generation = self.shard.generation();
        let mut conn = Conn::new(socket.into(), self.connection.client, self.connection.local);
        let page = Answer::page(StatusCode::BAD_REQUEST, "This port speaks TLS: its address begins with https.");
        let started = Instant::now();
        conn.send(&page.to_wire(false, true), generation.timeouts.write.min(EXPLANATION)).await;
        self.log_refusal(&generation, Version::HTTP_11, page.status, page.body.len(), started);
        conn.set_linger(true);
    }
}

/// For a sentence that nobody waits for.
const EXPLANATION: Duration = Duration::from_secs(2);
