//! `CONNECT`: the request goes through the chain like any other, and becomes a tunnel.

mod passed_on;
mod reply;
mod stream;

use std::{os::fd::AsRawFd as _, time::Duration};

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, Version};
use plugin_api::{
    Ending, ParentKind, Request, Target,
    chain::{Broken, Decision},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

pub(crate) use self::stream::serve as serve_stream;
use self::{passed_on::PassedOn, reply::Said};
use crate::{
    answer::Answer,
    client_stream::ClientStream,
    conn::Conn,
    dial::{DialError, Dialled, Stream, dial},
    flight::{Flight, Line, Reply},
    metrics::Metric,
    narrative,
    tunnel::{self, Closed},
    upstream::Failure,
};

/// Serves a `CONNECT` request. `head` is the whole request head, `after` what came behind it. A tunnel comes back open, and is
/// to be [carried](Tunnel::carry).
pub(crate) async fn serve(conn: Box<Conn>, mut flight: Box<Flight>, head: &[u8], after: BytesMut) -> Option<Tunnel> {
    let parts = Parts::of(head);
    match decide(&mut flight, &parts).await {
        Outcome::Open(target, dialled) => match accepted(&mut flight, &parts, &dialled).await {
            Some(accepted) => return open(*conn, flight, &target, *dialled, accepted, after).await,
            None => answer(*conn, flight, &parts).await,
        },
        Outcome::Declined { stream, reply } => match declined(&mut flight, &parts, &reply).await {
            Some(declined) => relay(*conn, flight, *stream, declined).await,
            None => answer(*conn, flight, &parts).await,
        },
        Outcome::Answer => answer(*conn, flight, &parts).await,
    }
    None
}

/// Sends the settled answer.
async fn answer(mut conn: Conn, mut flight: Box<Flight>, parts: &Parts) {
    if let Some(answer) = settled(&mut flight, parts).await {
        let sent = answer.body.len() as u64;
        let written = conn.send(&answer.to_wire(false, true), flight.origin.generation.timeouts.write).await;
        flight.answered(written.then_some(sent));
    }
    // Whoever did not wait for the answer may have sent more.
    conn.set_linger(true);
}

/// What tells the client that the tunnel is open: what a parent said to that, or a head of ours. `None` when another answer is
/// settled.
async fn accepted(flight: &mut Flight, parts: &Parts, dialled: &Dialled) -> Option<Vec<u8>> {
    let minor = minor(flight);
    let Some(reply) = Said::parse(&dialled.reply) else {
        let agent = flight.origin.generation.wording.agent();
        return Some(format!("HTTP/1.{minor} 200 Connection established\r\nProxy-agent: {agent}\r\n\r\n").into());
    };
    reply.head(flight, parts, minor).await.map_err(|broken| flight.broken(&broken)).ok()
}

/// What a parent says instead, for the client. `None` when another answer is settled.
async fn declined(flight: &mut Flight, parts: &Parts, reply: &[u8]) -> Option<BytesMut> {
    flight.progress.ending = Ending::Upstream;
    let minor = minor(flight);
    let Some(said) = Said::parse(reply).filter(|said| said.is_framed_for(minor)) else {
        flight.reply = Some(Reply::Hooked(flight.origin.generation.wording.nonsense()));
        return None;
    };
    flight.progress.status = Some(said.status());
    let body = said.body;
    let head = said.head(flight, parts, minor).await.map_err(|broken| flight.broken(&broken)).ok()?;
    Some([&*head, body].concat().as_slice().into())
}

/// The minor version that a tunnel's client is answered in.
fn minor(flight: &Flight) -> u8 {
    u8::from(flight.line.version != Version::HTTP_10)
}

/// What becomes of a request for a tunnel.
enum Outcome {
    Open(Target, Box<Dialled>),
    /// A parent proxy does not open it, and says this.
    Declined {
        stream: Box<Stream>,
        reply: BytesMut,
    },
    /// An answer is settled: `flight.reply`.
    Answer,
}

/// Lets the chain decide, and connects.
async fn decide(flight: &mut Flight, parts: &Parts) -> Outcome {
    flight.keep_head(&parts.uri, &parts.headers);
    let decision = flight.run.request(parts.view(&flight.line), &flight.origin.connection).await;
    match decision {
        Ok(Decision::Tunnel { target, .. }) => match fields(flight, parts, &target).await {
            Ok(fields) => match dial(&target, fields, &flight.origin).await {
                Ok(dialled) => return Outcome::Open(target, Box::new(dialled)),
                Err(DialError::Declined { stream, reply }) => {
                    return Outcome::Declined { stream: Box::new(stream), reply };
                }
                Err(DialError::Failed(failure)) => unreachable(flight, &target, failure),
            },
            Err(broken) => flight.broken(&broken),
        },
        Ok(Decision::Respond { response, .. }) => {
            flight.count_fault(&response);
            flight.reply = Some(Reply::Hooked((*response).into()));
        }
        Ok(Decision::Upstream { .. }) => {
            let page = Answer::page(StatusCode::METHOD_NOT_ALLOWED, "This listener opens no tunnels.");
            flight.reply = Some(Reply::Hooked(page));
        }
        Ok(Decision::Exhausted) => {
            let page = Answer::page(StatusCode::INTERNAL_SERVER_ERROR, "No part of this proxy took the request.");
            flight.reply = Some(Reply::Hooked(page));
        }
        Err(broken) => flight.broken(&broken),
    }
    Outcome::Answer
}

/// What a parent proxy that speaks HTTP is told beside where to connect: what the client said, as plugins change it for servers.
async fn fields(flight: &mut Flight, parts: &Parts, target: &Target) -> Result<HeaderMap, Broken> {
    if target.parent.as_ref().is_none_or(|parent| parent.kind != ParentKind::Http) {
        return Ok(HeaderMap::new());
    }
    let authority = parts.uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let mut head = PassedOn::of(authority.as_bytes(), &parts.headers);
    let request = parts.view(&flight.line);
    flight.run.upstream_request(request, &flight.origin.connection, &mut head).await?;
    Ok(head.into_fields())
}

/// The settled answer, after the response hooks unless one of them is to blame for it.
async fn settled(flight: &mut Flight, parts: &Parts) -> Option<Answer> {
    if let Some(Reply::Hooked(answer) | Reply::Plain(answer)) = &mut flight.reply {
        let line = flight.line.text();
        let request = parts.view(&flight.line);
        let broken = answer.render(&mut flight.run, request, &flight.origin.connection, line.as_deref()).await;
        flight.origin.generation.wording.sign(&mut answer.headers);
        flight.harmless(&broken);
    }
    if let Some(Reply::Hooked(mut answer)) = flight.reply.take_if(|reply| matches!(reply, Reply::Hooked(_))) {
        let hooked = flight.run.response(parts.view(&flight.line), &flight.origin.connection, &mut answer).await;
        match hooked {
            Ok(()) => flight.reply = Some(Reply::Plain(answer)),
            Err(broken) => flight.broken(&broken),
        }
    }
    let (Reply::Plain(answer) | Reply::Hooked(answer)) = flight.reply.take()?;
    flight.progress.status = Some(answer.status);
    Some(answer)
}

fn unreachable(flight: &mut Flight, target: &Target, failure: Failure) {
    flight.origin.shard.metrics.count(Metric::ConnectFailures);
    narrative::unreachable(&target.address, target.parent.as_deref(), failure);
    flight.unreachable(failure, target.unreachable_status);
}

/// Tells the client that the tunnel is open, and gives the server what the client has sent already.
async fn open(
    mut conn: Conn,
    mut flight: Box<Flight>,
    target: &Target,
    dialled: Dialled,
    accepted: Vec<u8>,
    after: BytesMut,
) -> Option<Tunnel> {
    note(&mut flight, target, &dialled);
    let Dialled { mut stream, early, .. } = dialled;
    let mut accepted = BytesMut::from(&*accepted);
    accepted.unsplit(early);
    let write = flight.origin.generation.timeouts.write;
    if !conn.send(&accepted, write).await {
        flight.progress.ending = Ending::Client;
        return None;
    }
    if !after.is_empty() && !matches!(tokio::time::timeout(write, give(&mut stream, &after)).await, Ok(Ok(()))) {
        flight.progress.ending = Ending::Upstream;
        return None;
    }
    Some(Tunnel { client: conn.into_socket(), server: stream, flight, silence: target.idle_timeout })
}

/// Notes that the tunnel is open.
fn note(flight: &mut Flight, target: &Target, dialled: &Dialled) {
    if flight.origin.generation.log.is_some() {
        flight.progress.upstream = Some(dialled.to.to_string().into());
    }
    let descriptor = dialled.stream.socket().as_raw_fd();
    narrative::established(&target.address, target.parent.as_deref(), descriptor);
    flight.progress.server = Some(descriptor);
    flight.progress.status = Some(StatusCode::OK);
}

/// An open tunnel: no more than what the hours that it may last need.
pub(crate) struct Tunnel {
    client: ClientStream,
    server: Stream,
    flight: Box<Flight>,
    silence: Option<Duration>,
}

impl Tunnel {
    /// Moves bytes until it ends.
    pub(crate) async fn carry(self) {
        let Self { mut client, server, mut flight, silence } = self;
        let sent = &mut flight.progress.sent;
        let closed = match (&mut client, server) {
            (ClientStream::Plain(client), Stream::Tcp(server)) => tunnel::carry(&*client, &server, silence, sent).await,
            (client, mut server) => tunnel::carry_through_memory(client, &mut server, silence, sent).await,
        };
        flight.progress.ending = ending(closed);
    }
}

fn ending(closed: Closed) -> Ending {
    match closed {
        Closed::Complete | Closed::Silent => Ending::Complete,
        Closed::Client => Ending::Client,
        Closed::Server => Ending::Upstream,
    }
}

async fn give(stream: &mut Stream, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// Passes on what the parent proxy said instead of opening the tunnel.
async fn relay(mut conn: Conn, mut flight: Box<Flight>, mut stream: Stream, mut reply: BytesMut) {
    let write = flight.origin.generation.timeouts.write;
    flight.progress.server = Some(stream.socket().as_raw_fd());
    conn.set_linger(true);
    while !reply.is_empty() {
        if !conn.send(&reply, write).await {
            flight.progress.ending = Ending::Client;
            return;
        }
        flight.progress.sent += reply.len() as u64;
        reply.clear();
        // It is framed for the client to understand; whatever it is, it ends when the parent has no more to say.
        let more = tokio::time::timeout(PARENT_REST, stream.read_buf(&mut reply)).await;
        if !matches!(more, Ok(Ok(1..))) {
            return;
        }
    }
}

/// Target and fields of a head that the edge has accepted.
struct Parts {
    uri: Uri,
    headers: HeaderMap,
}

impl Parts {
    fn of(head: &[u8]) -> Self {
        let mut fields = [httparse::EMPTY_HEADER; 256];
        let mut request = httparse::Request::new(&mut fields);
        let mut headers = HeaderMap::new();
        if request.parse(head).is_err() {
            return Self { uri: Uri::default(), headers };
        }
        for field in request.headers.iter() {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(field.name), HeaderValue::from_bytes(field.value)) {
                headers.append(name, value);
            }
        }
        Self { uri: request.path.and_then(|target| target.parse().ok()).unwrap_or_default(), headers }
    }

    fn view<'a>(&'a self, line: &'a Line) -> Request<'a> {
        Request {
            method: &http::Method::CONNECT,
            uri: &self.uri,
            version: line.version,
            headers: &self.headers,
            host: line.host.as_deref(),
            form: line.form,
        }
    }
}

/// How long the rest of a parent's refusal is waited for.
const PARENT_REST: Duration = Duration::from_secs(2);
