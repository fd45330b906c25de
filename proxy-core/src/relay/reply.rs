//! Answers of our own: what they say, and how they are written.

use http::{HeaderValue, StatusCode, header};
use pingora::{Error, ErrorSource, ErrorType, http::ResponseHeader, proxy::Session};
use plugin_api::Ending;

use super::view;
use crate::{
    answer::{Answer, spelled},
    flight::{Flight, Reply},
};

/// Whether the client has a final head, or no longer speaks HTTP.
pub(super) fn head_is_out(session: &Session) -> bool {
    session
        .response_written()
        .is_some_and(|head| !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS)
}

/// Writes the settled answer, through the response hooks unless one of them is to blame for it.
pub(super) async fn reply(session: &mut Session, flight: &mut Flight) -> pingora::Result<()> {
    if let Some(Reply::Hooked(answer) | Reply::Plain(answer)) = &mut flight.reply {
        let request = view(session.req_header(), &flight.line);
        let line = flight.line.text();
        let broken = answer.render(&mut flight.run, request, &flight.origin.connection, line.as_deref()).await;
        flight.origin.generation.wording.sign(&mut answer.headers);
        flight.harmless(&broken);
    }
    if let Some(Reply::Hooked(mut answer)) = flight.reply.take_if(|reply| matches!(reply, Reply::Hooked(_))) {
        let request = view(session.req_header(), &flight.line);
        match flight.run.response(request, &flight.origin.connection, &mut answer).await {
            Ok(()) => flight.reply = Some(Reply::Plain(answer)),
            Err(broken) => flight.broken(&broken),
        }
    }
    let Some(Reply::Plain(answer) | Reply::Hooked(answer)) = flight.reply.take() else { return Ok(()) };
    if flight.origin.shard.is_draining() {
        session.set_keepalive(None);
    }
    flight.progress.status = Some(answer.status);
    flight.progress.sent += write(session, answer).await?;
    Ok(())
}

/// Writes an answer and returns how many bytes of body went out.
pub(super) async fn write(session: &mut Session, answer: Answer) -> pingora::Result<u64> {
    let bodiless = matches!(answer.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let silent = bodiless || session.req_header().method == http::Method::HEAD;
    let mut head = ResponseHeader::build(answer.status, Some(answer.headers.len() + 3))?;
    head.set_reason_phrase(answer.phrase)?;
    for (name, value) in &answer.headers {
        head.append_header(spelled(name), value)?;
    }
    if !bodiless {
        head.insert_header(header::CONTENT_LENGTH, HeaderValue::from(answer.body.len()))?;
    }
    let silent = silent || answer.body.is_empty();
    session.write_response_header(Box::new(head), silent).await?;
    if silent {
        session.as_mut().finish_body().await?;
        return Ok(0);
    }
    let length = answer.body.len() as u64;
    session.write_response_body(Some(answer.body), true).await?;
    Ok(length)
}

/// Whether the server may still be waiting for the client. Over HTTP/2 a body may stay open for as long as a conversation lasts,
/// and nobody waits for its end.
pub(super) fn is_incomplete(session: &mut Session, flight: &Flight) -> bool {
    flight.pulse.is_none() && !session.as_mut().is_body_done()
}

/// Whose fault an error of pingora's is, and what the client is told.
pub(super) fn classify(error: &Error, flight: &Flight, is_incomplete: bool) -> (Ending, Option<Answer>) {
    use ErrorType::{
        ConnectTimedout, ConnectionClosed, H2Error, InvalidHTTPHeader, ReadError, ReadTimedout, TLSHandshakeTimedout,
        WriteError, WriteTimedout,
    };
    let page = |status, reason| Some(Answer::page(status, reason));
    let late = || page(StatusCode::REQUEST_TIMEOUT, "The rest of the request did not arrive in time.");
    let wording = flight.origin.generation.wording;
    match (error.esource(), error.etype()) {
        (ErrorSource::Upstream, InvalidHTTPHeader) => (Ending::Upstream, Some(wording.nonsense())),
        (ErrorSource::Upstream, ConnectionClosed) if has_begun(error) => (Ending::Upstream, Some(wording.nonsense())),
        // The clocks of both sides run at once, and the server's may be the first that rings.
        (ErrorSource::Upstream, ReadTimedout) if is_incomplete => (Ending::Client, late()),
        (ErrorSource::Upstream, ConnectTimedout | ReadTimedout | WriteTimedout | TLSHandshakeTimedout) => (
            Ending::Upstream,
            page(StatusCode::GATEWAY_TIMEOUT, "The server behind this proxy did not answer in time."),
        ),
        (ErrorSource::Upstream, _) => {
            (Ending::Upstream, page(StatusCode::BAD_GATEWAY, "The server behind this proxy closed the connection."))
        }
        // The clock of an upgrade request runs on the client's connection, but it waits for the upstream server.
        (ErrorSource::Downstream, ReadError) if flight.watch.is_some() && is_timeout(error) => (
            Ending::Upstream,
            page(StatusCode::GATEWAY_TIMEOUT, "The server behind this proxy did not answer in time."),
        ),
        (ErrorSource::Downstream, etype) if *etype == ReadTimedout || (*etype == ReadError && is_timeout(error)) => {
            (Ending::Client, late())
        }
        (ErrorSource::Downstream, ReadError) if has_kind(error, std::io::ErrorKind::InvalidData) => {
            (Ending::Client, page(StatusCode::BAD_REQUEST, "The request is malformed."))
        }
        // Over HTTP/2, a request that its client gives up is such an error.
        (ErrorSource::Downstream, ConnectionClosed | H2Error | ReadError | WriteError | WriteTimedout) => {
            (Ending::Client, None)
        }
        (ErrorSource::Downstream, _) => (Ending::Client, page(StatusCode::BAD_REQUEST, "The request is malformed.")),
        _ => (Ending::Proxy, page(StatusCode::INTERNAL_SERVER_ERROR, "The proxy failed.")),
    }
}

/// Whether a server closed its connection in the middle of a head. Only the text of the error tells.
fn has_begun(error: &Error) -> bool {
    let text = error.context.as_ref().map(|context| context.as_str()).unwrap_or_default();
    text.starts_with("while reading response headers") && !text.ends_with("already read: 0")
}

fn is_timeout(error: &Error) -> bool {
    has_kind(error, std::io::ErrorKind::TimedOut)
}

fn has_kind(error: &Error, kind: std::io::ErrorKind) -> bool {
    let cause = error.cause.as_deref().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(|cause| cause.kind() == kind)
}
