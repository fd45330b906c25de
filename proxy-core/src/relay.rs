//! The one `ProxyHttp` implementation: pingora's hooks, each mapped to the chain of the request in flight.

pub(crate) mod heads;
mod order;
mod reply;
mod turn;

use std::{cell::RefCell, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{StatusCode, Version, header};
use pingora::{
    Error, ErrorType,
    http::{RequestHeader, ResponseHeader},
    modules::http::HttpModules,
    protocols::Digest,
    proxy::{FailToProxy, ProxyHttp, Session},
    upstreams::peer::HttpPeer,
};
use plugin_api::{Body, Ending, FallThrough, Request};

use self::{
    heads::{Incoming, Outgoing},
    reply::{classify, head_is_out, is_incomplete, reply, write},
    turn::{Turn, decide},
};
use crate::{
    answer::Answer,
    flight::{Flight, Line, Reply, Reuse},
    forwarded,
    metrics::Metric,
    narrative,
    shard::Shard,
    upstream::{Attempts, Failure},
};

tokio::task_local! {
    /// The request that the edge is handing to pingora, on its way to `new_ctx`.
    pub(crate) static HANDOVER: RefCell<Option<Box<Flight>>>;
}

/// Pingora's side of a shard.
pub(crate) struct Relay {
    shard: Arc<Shard>,
}

impl Relay {
    pub(crate) fn new(shard: Arc<Shard>) -> Self {
        Self { shard }
    }
}

#[async_trait]
impl ProxyHttp for Relay {
    type CTX = Option<Box<Flight>>;

    fn new_ctx(&self) -> Self::CTX {
        HANDOVER.try_with(|handover| handover.borrow_mut().take()).ok().flatten()
    }

    /// No compression module: it would cost every request a box.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> pingora::Result<bool> {
        let Some(flight) = ctx else {
            // Without the edge's decision there is no route, and never a default one.
            return Err(Error::explain(ErrorType::InternalError, "a request came past the edge"));
        };
        let timeouts = flight.origin.generation.timeouts;
        session.set_read_timeout(Some(timeouts.read));
        session.set_write_timeout(Some(timeouts.write));
        session.set_total_drain_timeout(Some(DRAIN_TIME));
        // An HTTP/1.0 client knows no interim responses (RFC 9110 §15.2).
        session.as_mut().set_ignore_info_resp(flight.line.version < Version::HTTP_11);
        if flight.reuse == Reuse::Last {
            session.set_keepalive(None);
        }
        let head = session.req_header();
        flight.keep_head(&head.uri, &head.headers);
        match decide(session.req_header(), flight).await {
            Turn::Upstream => Ok(false),
            Turn::Reply => {
                reply(session, flight).await?;
                Ok(true)
            }
        }
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Self::CTX,
    ) -> pingora::Result<()> {
        let Some(flight) = ctx else { return Ok(()) };
        flight.beat();
        if flight.run.chain().sees_request_bodies() && !session.was_upgraded() {
            let request = view(session.req_header(), &flight.line);
            let piece = Body::new(body, end_of_stream);
            match flight.run.request_body(request, &flight.origin.connection, piece).await {
                Ok(None) => {}
                Ok(Some(response)) => flight.reply = Some(Reply::Hooked((*response).into())),
                Err(broken) => flight.broken(&broken),
            }
            if flight.reply.is_some() {
                return Err(refusal());
            }
        }
        if end_of_stream {
            // Pingora writes an empty piece as a chunk of its own, which ends a body, and then ends it again: the server would take
            // that for the next request (pingora's issue 935).
            body.take_if(|body| body.is_empty());
        }
        Ok(())
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Self::CTX) -> pingora::Result<Box<HttpPeer>> {
        let Some(flight) = ctx else { return Err(refusal()) };
        let own = flight.origin.own.clone();
        loop {
            let Some(attempts) = &mut flight.attempts else { return Err(refusal()) };
            if let Some(to) =
                attempts.next(&self.shard.resolver, &self.shard.metrics, &flight.origin.connection, &own).await
            {
                let host = flight.line.host.as_deref();
                let Some(peer) = attempts.http_peer(&to, &flight.origin.connection, host, flight.watch.is_some())
                else {
                    attempts.failure = Some(Failure::Connect(None));
                    continue;
                };
                if flight.origin.generation.log.is_some() {
                    flight.progress.upstream = Some(to.to_string().into());
                }
                return Ok(Box::new(peer));
            }
            if attempts.is_circle() || attempts.peer().settings().fall_through == FallThrough::Never {
                let failure = attempts.failure.unwrap_or(Failure::Connect(None));
                if let Some((address, parent)) = attempts.aim() {
                    narrative::unreachable(address, parent, failure);
                }
                let status = attempts.peer().settings().unreachable_status;
                flight.unreachable(failure, status);
                return Err(refusal());
            }
            // The peer could not answer, and its plugin said that the chain goes on then.
            flight.attempts = None;
            if let Turn::Reply = decide(session.req_header(), flight).await {
                return Err(refusal());
            }
        }
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        peer: &HttpPeer,
        ctx: &mut Self::CTX,
        mut error: Box<Error>,
    ) -> Box<Error> {
        self.shard.metrics.count(Metric::ConnectFailures);
        match error.etype() {
            ErrorType::TLSHandshakeFailure | ErrorType::InvalidCert => {
                tracing::warn!(target: "lockgate::upstream", %peer, %error, "no TLS with a server");
            }
            _ => tracing::debug!(target: "lockgate::upstream", %peer, %error, "cannot connect"),
        }
        if let Some(attempts) = ctx.as_mut().and_then(|flight| flight.attempts.as_mut()) {
            attempts.unconnected(&error, &self.shard.metrics);
            // Asks pingora to call `upstream_peer` again, which knows whether there is another address.
            error.set_retry(true);
        }
        error
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        fd: std::os::unix::io::RawFd,
        _digest: Option<&Digest>,
        ctx: &mut Self::CTX,
    ) -> pingora::Result<()> {
        let Some(flight) = ctx else { return Ok(()) };
        flight.attempts.iter().for_each(Attempts::connected);
        if !reused {
            if let Some((address, parent)) = flight.attempts.as_ref().and_then(Attempts::aim) {
                narrative::established(address, parent, fd);
            }
            flight.progress.made = Some(fd);
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        head: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> pingora::Result<()> {
        let Some(flight) = ctx else { return Err(refusal()) };
        let request = view(session.req_header(), &flight.line);
        let host = request.headers.get(header::HOST);
        // Pingora has taken out what was between the client and us, and moved others into the gaps.
        order::like(head, request.headers);
        heads::send(head, request.headers);
        let mut head = Outgoing(head);
        if flight.attempts.as_ref().is_none_or(|attempts| attempts.peer().settings().forwarded) {
            let trusted = &flight.origin.generation.trusted_proxies;
            forwarded::set(&mut head, &flight.origin.connection, host, trusted);
        }
        if let Err(broken) = flight.run.upstream_request(request, &flight.origin.connection, &mut head).await {
            flight.broken(&broken);
            return Err(refusal());
        }
        if let Some(attempts) = &flight.attempts {
            heads::for_parent(&mut head, attempts);
        }
        if let (Some(watch), Some(attempts)) = (&flight.watch, &flight.attempts) {
            watch.allow(Some(attempts.peer().settings().timeouts.read));
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        _session: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> pingora::Result<()> {
        let Some(flight) = ctx else { return Ok(()) };
        if head.status == StatusCode::SWITCHING_PROTOCOLS && flight.watch.is_none() {
            return Err(Error::new_up(ErrorType::InvalidHTTPHeader));
        }
        let Some(attempts) = flight.attempts.as_mut() else { return Ok(()) };
        if attempts.declines(head.status) { Err(refusal()) } else { Ok(()) }
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> pingora::Result<()> {
        let Some(flight) = ctx else { return Ok(()) };
        let upgraded = head.status == StatusCode::SWITCHING_PROTOCOLS;
        if head.status.is_informational() && !upgraded {
            return Ok(());
        }
        if !upgraded {
            heads::receive(head);
        }
        if flight.line.version < Version::HTTP_11 {
            // A 1.0 client knows no chunks: without length and coding, the end of the connection ends the body.
            head.remove_header(&header::TRANSFER_ENCODING);
        }
        let request = view(session.req_header(), &flight.line);
        if let Err(broken) = flight.run.response(request, &flight.origin.connection, &mut Incoming(head)).await {
            flight.broken(&broken);
            return Err(refusal());
        }
        flight.progress.status = Some(head.status);
        flight.progress.server = flight.progress.made;
        if let Some(date) = &flight.date {
            date.keep(head.headers.get(header::DATE).cloned());
        }
        if upgraded {
            session.set_read_timeout(None);
            if let (Some(watch), Some(attempts)) = (&flight.watch, &flight.attempts) {
                watch.switch(attempts.peer().settings().timeouts.upgraded_idle);
            }
        } else if let Some(watch) = &flight.watch {
            watch.allow(None);
        }
        if let (Some(pulse), Some(attempts)) = (&flight.pulse, &flight.attempts) {
            // While the answer is not whole, one of these two times ends every pause before this one.
            let timeouts = attempts.peer().settings().timeouts;
            pulse.allow(timeouts.read.max(flight.origin.generation.timeouts.write) + Duration::from_secs(1));
        }
        if flight.origin.shard.is_draining() {
            session.set_keepalive(None);
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Self::CTX,
    ) -> pingora::Result<Option<Duration>> {
        let Some(flight) = ctx else { return Ok(None) };
        flight.beat();
        if flight.run.chain().sees_response_bodies() && !session.was_upgraded() {
            let request = view(session.req_header(), &flight.line);
            let body = Body::new(body, end_of_stream);
            if let Err(broken) = flight.run.response_body(request, &flight.origin.connection, body) {
                flight.broken(&broken);
                return Err(refusal());
            }
        }
        flight.progress.sent += body.as_ref().map_or(0, |body| body.len() as u64);
        Ok(None)
    }

    /// Decides on a second attempt after a connection was there: the next server may be asked, and a request that can be
    /// repeated is repeated once when a kept connection turned out to be closed.
    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Self::CTX,
        reused: bool,
    ) -> Box<Error> {
        let can_repeat = session.req_header().method.is_idempotent() && !session.as_ref().retry_buffer_truncated();
        error.retry.decide_reuse(reused);
        let asked = error.retry();
        error.set_retry(false);
        let Some(attempts) = ctx.as_mut().and_then(|flight| flight.attempts.as_mut()) else { return error };
        if head_is_out(session) {
            return error;
        }
        if asked && can_repeat && !attempts.repeated {
            attempts.repeat();
            error.set_retry(true);
        } else if attempts.is_passed_over(&error, can_repeat) {
            error.set_retry(true);
        }
        error
    }

    /// The one place that turns a failure into an answer.
    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Self::CTX) -> FailToProxy {
        let silent = FailToProxy { error_code: 0, can_reuse_downstream: false };
        let Some(flight) = ctx else {
            let page = Answer::page(StatusCode::INTERNAL_SERVER_ERROR, "The proxy lost track of this request.");
            let _ = write(session, page).await;
            return silent;
        };
        if flight.reply.is_none() {
            let (ending, answer) = classify(error, flight, is_incomplete(session, flight));
            flight.progress.ending = ending;
            if ending == Ending::Upstream {
                self.shard.metrics.count(Metric::Bad);
            }
            flight.reply = answer.map(Reply::Hooked);
        }
        if head_is_out(session) || flight.reply.is_none() {
            // The connection is cut: that is how a client learns that what it has is not all.
            return silent;
        }
        let ending = flight.progress.ending;
        session.set_keepalive(None);
        match reply(session, flight).await {
            // `reply` completed an answer, but what it answers about is this failure.
            Ok(()) if ending != Ending::Proxy => flight.progress.ending = ending,
            Ok(()) => {}
            Err(_) => flight.progress.ending = Ending::Client,
        }
        silent
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Self::CTX) {
        let Some(flight) = ctx else { return };
        if error.is_none() && session.response_written().is_some() && flight.progress.ending == Ending::Proxy {
            flight.progress.ending = Ending::Complete;
        }
        flight.end();
    }

    /// Failures are in the access log and in our own messages.
    fn suppress_error_log(&self, _session: &Session, _ctx: &Self::CTX, _error: &Error) -> bool {
        true
    }
}

fn view<'a>(head: &'a RequestHeader, line: &'a Line) -> Request<'a> {
    Request {
        method: &head.method,
        uri: &head.uri,
        version: head.version,
        headers: &head.headers,
        host: line.host.as_deref(),
        form: line.form,
    }
}

/// Makes pingora stop and ask `fail_to_proxy`, where the settled answer is written.
fn refusal() -> Box<Error> {
    Error::new_in(ErrorType::InternalError)
}

/// How long pingora reads the rest of a request body that nobody wants before it gives the connection up.
const DRAIN_TIME: Duration = Duration::from_secs(2);
