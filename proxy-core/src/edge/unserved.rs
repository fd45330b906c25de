//! Requests that no chain serves: those that no route takes, and those that cannot be understood.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use bytes::BytesMut;
use http::{Method, StatusCode, Version};
use plugin_api::{
    Form,
    chain::{Broken, Run},
};

use super::{Edge, line};
use crate::{
    access_log::Record,
    answer::{Answer, Asked},
    conn::Conn,
    flight::Line,
    generation::Generation,
    head::{Framing, Head, Refusal},
    metrics::Metric,
    narrative, route,
};

impl Edge {
    /// No route takes the request: 404, and the connection goes on when there is no body to skip.
    pub(super) async fn unrouted(
        &self,
        generation: &Generation,
        mut conn: Box<Conn>,
        head: &Head,
        bytes: &[u8],
        after: BytesMut,
    ) -> Option<Box<Conn>> {
        self.shard.metrics.count(Metric::Unrouted);
        let started = Instant::now();
        let keep = head.keep_alive
            && self.listener.keep_alive
            && head.body == Framing::None
            && head.method != Method::CONNECT
            && !head.upgrade
            && !self.shard.is_draining();
        let mut page = match head.method {
            Method::CONNECT => Answer::page(StatusCode::METHOD_NOT_ALLOWED, "This listener opens no tunnels."),
            _ => Answer::page(StatusCode::NOT_FOUND, "No site is served under this address."),
        };
        let first = narrative::first_line(bytes);
        let asked = Asked { line: Some(&first), is_understood: true };
        self.render(generation, &mut page, asked).await;
        let with_body = head.method != Method::HEAD;
        let written = conn.send(&page.to_wire(keep, with_body), generation.timeouts.write).await;
        self.log(
            generation,
            line(generation, head, bytes),
            page.status,
            if with_body { page.body.len() } else { 0 },
            started,
            "unrouted",
        );
        if !written || !keep {
            conn.set_linger(true);
            return None;
        }
        conn.begin(Some(&Framing::None), after, false);
        Some(conn)
    }

    /// Answers a request that no chain may see, and ends the connection.
    pub(super) async fn refuse(&self, generation: &Generation, conn: &mut Conn, refusal: Refusal, bytes: &[u8]) {
        self.shard.metrics.count(Metric::Refused);
        tracing::debug!(target: "lockgate::edge", client = %self.connection.client, status = refusal.status.as_u16(), reason = refusal.reason, "refused");
        let mut page = generation.wording.refusal(refusal);
        let started = Instant::now();
        let first = narrative::first_line(bytes);
        let asked = Asked { line: Some(&first), is_understood: false };
        self.render(generation, &mut page, asked).await;
        conn.send(&page.to_wire(false, true), generation.timeouts.write).await;
        self.log_refusal(generation, Version::HTTP_11, page.status, page.body.len(), started);
        conn.set_linger(true);
    }

    /// Turns a client away whom no chain would serve, whatever he asks for: at once, so that he takes nobody's place.
    pub(super) async fn turns_away(&self, conn: &mut Conn) -> bool {
        let generation = self.shard.generation();
        let doors = route::doorkeepers(&generation.routes, &self.connection.listener, self.connection.client);
        let mut refusal: Option<Answer> = None;
        for chain in doors {
            match chain.client(&self.connection).await {
                Ok(None) => return false,
                Ok(Some(response)) => {
                    refusal.get_or_insert_with(|| (*response).into());
                }
                // His request will find the plugin broken, too, and be told so.
                Err(broken) => {
                    self.tell(&broken);
                    return false;
                }
            }
        }
        let Some(mut page) = refusal else { return false };
        self.shard.metrics.count(Metric::Requests);
        self.shard.metrics.count(Metric::Denied);
        let started = Instant::now();
        self.render(&generation, &mut page, Asked::NOTHING).await;
        conn.send(&page.to_wire(false, true), generation.timeouts.write).await;
        self.log_refusal(&generation, Version::HTTP_11, page.status, page.body.len(), started);
        conn.set_linger(true);
        true
    }

    /// Lets a chain render the page of a request that no chain has seen. What is told of the request is where it came from.
    pub(super) async fn render(&self, generation: &Generation, page: &mut Answer, asked: Asked<'_>) {
        generation.wording.sign(&mut page.headers);
        let (listener, client) = (&self.connection.listener, self.connection.client);
        let Some(chain) = route::spokesman(&generation.routes, listener, client).filter(|chain| chain.renders_pages())
        else {
            return;
        };
        let (uri, headers) = (http::Uri::default(), http::HeaderMap::new());
        let request = plugin_api::Request {
            method: &Method::GET,
            uri: &uri,
            version: Version::HTTP_11,
            headers: &headers,
            host: None,
            form: Form::Origin,
        };
        for broken in page.render_for(&mut Run::new(Arc::clone(chain)), request, &self.connection, asked).await {
            self.tell(&broken);
        }
    }

    fn tell(&self, broken: &Broken) {
        self.shard.metrics.count(Metric::BrokenHooks);
        tracing::error!(target: "lockgate::chain", plugin = broken.plugin, error = &broken.source as &dyn std::error::Error, "a hook is broken");
    }

    /// Logs an answer to what was not read as a request.
    pub(super) fn log_refusal(
        &self,
        generation: &Generation,
        version: Version,
        status: StatusCode,
        bytes: usize,
        started: Instant,
    ) {
        self.log(generation, nothing(version), status, bytes, started, "refused");
    }

    pub(super) fn log(
        &self,
        generation: &Generation,
        line: Line,
        status: StatusCode,
        bytes: usize,
        started: Instant,
        ending: &'static str,
    ) {
        let Some(log) = &generation.log else { return };
        log.write(Record {
            time: SystemTime::now(),
            client: self.connection.client,
            listener: Arc::clone(&self.connection.listener),
            route: None,
            method: line.method,
            host: line.host,
            target: line.target,
            version: line.version,
            status: Some(status),
            bytes: bytes as u64,
            duration: started.elapsed(),
            upstream: None,
            ending,
            user_agent: line.user_agent,
            referer: line.referer,
        });
    }
}

/// What the log shows of a request that was not read.
fn nothing(version: Version) -> Line {
    Line {
        bytes: None,
        method: Method::from_bytes(b"-").unwrap_or_default(),
        target: "-".into(),
        version,
        form: Form::Origin,
        host: None,
        user_agent: None,
        referer: None,
    }
}
