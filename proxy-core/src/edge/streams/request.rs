//! A request on a stream: made into what chains and HTTP/1.1 servers expect, and handed to pingora.

use std::{cell::RefCell, sync::Arc, time::Instant};

use http::{HeaderValue, Method, StatusCode, Version, header};
use pingora::{
    apps::HttpServerApp as _,
    http::RequestHeader,
    protocols::http::{ServerSession, v2::server::HttpSession},
};
use plugin_api::{Ending, Form, Scheme};

use super::{Edge, Streams};
use crate::{
    answer::{Answer, Asked},
    connect,
    dial::Own,
    flight::{Flight, Line, Origin, Pulse},
    generation::Generation,
    head::{MOST_HEADERS, Refusal, TARGET_TOO_LONG, TOO_MANY_HEADERS, bad, has_port, host_of},
    metrics::Metric,
    relay::HANDOVER,
    route::{self, Facts},
};

impl Edge {
    /// Serves one request.
    pub(super) async fn stream(&self, mut session: HttpSession, streams: &Streams) {
        let generation = self.shard.generation();
        let started = Instant::now();
        let form = match settle(session.req_header_mut(), &generation) {
            Ok(form) => form,
            Err(refusal) => {
                self.shard.metrics.count(Metric::Refused);
                let page = generation.wording.refusal(refusal);
                let (status, length) = (page.status, page.body.len());
                // A client that is gone, or resets the stream, has no use for it.
                let _ = page.send(&mut session, generation.timeouts.write).await;
                self.log_refusal(&generation, Version::HTTP_2, status, length, started);
                return;
            }
        };
        let (place, is_given_up) = tokio::select! {
            biased;
            _ = session.idle() => (None, true),
            place = self.shard.admission.enter(self.guest.as_ref()) => (Some(place), false),
        };
        let _place = place;
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
        let Some(chain) = route::find(&generation.routes, &facts) else {
            let line = line(&generation, head, form, host);
            return self.stream_unrouted(&generation, session, line, started).await;
        };
        let origin = Origin {
            shard: Arc::clone(&self.shard),
            generation: Arc::clone(&generation),
            connection: Arc::clone(&self.connection),
            own: Own { port: self.port, listener: Arc::clone(&self.listener) },
            fd: self.fd,
        };
        let mut flight = Box::new(Flight::new(origin, Arc::clone(chain), line(&generation, head, form, host)));
        flight.given_up = Some(Arc::clone(&streams.given_up));
        if is_given_up {
            flight.progress.ending = Ending::Client;
            return;
        }
        if head.method == Method::CONNECT {
            return Box::pin(connect::serve_stream(session, flight)).await;
        }
        let pulse = (!session.is_body_done()).then(|| Arc::new(Pulse::new()));
        flight.pulse.clone_from(&pulse);
        let handover = RefCell::new(Some(flight));
        let session = ServerSession::new_http2(session);
        // Boxed: it is a big one, and there may be many.
        let served = Box::pin(HANDOVER.scope(handover, self.proxy.process_new_http(session, &self.never)));
        match pulse {
            Some(pulse) => tokio::select! {
                biased;
                _ = served => {}
                () = pulse.stopped() => {}
            },
            None => drop(served.await),
        }
    }

    async fn stream_unrouted(&self, generation: &Generation, mut session: HttpSession, line: Line, started: Instant) {
        self.shard.metrics.count(Metric::Unrouted);
        let mut page = match line.method {
            Method::CONNECT => Answer::page(StatusCode::METHOD_NOT_ALLOWED, "This listener opens no tunnels."),
            _ => Answer::page(StatusCode::NOT_FOUND, "No site is served under this address."),
        };
        self.render(generation, &mut page, Asked::NOTHING).await;
        let (status, length) = (page.status, page.body.len());
        let _ = page.send(&mut session, generation.timeouts.write).await;
        self.log(generation, line, status, length, started, "unrouted");
    }
}

/// Makes a head what plugins and HTTP/1.1 servers expect: a path, a `Host`, one `Cookie`. Returns the form in which HTTP/1.1
/// would have it.
fn settle(head: &mut RequestHeader, generation: &Generation) -> Result<Form, Refusal> {
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
    join_cookies(head)?;
    let host = head.headers.get(header::HOST).ok_or(WRONG_HOST)?;
    host_of(host).ok_or(WRONG_HOST)?;
    if head.method == Method::CONNECT {
        return if has_port(host) { Ok(Form::Authority) } else { Err(NO_PORT) };
    }
    let form = match head.uri.scheme_str() {
        // Nobody asks for that over TLS but a client that takes us for its proxy.
        Some("http") => Form::Absolute(Scheme::Http),
        Some("https") | None => Form::Origin,
        Some(_) => return Err(WRONG_TARGET),
    };
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let is_server_itself = target == "*" && head.method == Method::OPTIONS;
    if !target.starts_with('/') && !is_server_itself {
        return Err(WRONG_TARGET);
    }
    head.set_uri(target.parse().map_err(|_error: http::uri::InvalidUri| WRONG_TARGET)?);
    Ok(form)
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

fn line(generation: &Generation, head: &RequestHeader, form: Form, host: Option<Box<str>>) -> Line {
    let logged = generation.log.is_some();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned().into_boxed_str();
    let field = |name| head.headers.get(name).filter(|_| logged).map(|value: &HeaderValue| text(value.as_bytes()));
    let target = match form {
        _ if !logged => Box::default(),
        Form::Absolute(scheme) => {
            let authority = field(header::HOST).unwrap_or_default();
            format!("{}://{authority}{}", scheme.as_str(), text(head.raw_path())).into()
        }
        _ => text(head.raw_path()),
    };
    Line {
        bytes: None,
        method: head.method.clone(),
        target,
        version: Version::HTTP_2,
        form,
        host,
        user_agent: field(header::USER_AGENT),
        referer: field(header::REFERER),
    }
}

const WRONG_HOST: Refusal = bad("The host of the request is malformed.");
const NO_PORT: Refusal = bad("CONNECT needs a host and a port.");
const WRONG_TARGET: Refusal = bad("The request target is malformed.");
const WRONG_COOKIE: Refusal = bad("The cookies are malformed.");
