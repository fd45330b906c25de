//! Tunnels on streams of HTTP/2 ([RFC 9113 §8.5](https://www.rfc-editor.org/rfc/rfc9113#section-8.5)), beside others on the same
//! connection.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use h2::{Reason, SendStream};
use http::{HeaderName, StatusCode, header};
use pingora::{http::ResponseHeader, protocols::http::v2::server::HttpSession};
use plugin_api::{Ending, Target};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::{Outcome, Parts, decide, ending, note, settled};
use crate::{
    answer::Answer,
    dial::Dialled,
    flight::Flight,
    tunnel::{self, Closed},
};

/// Serves a `CONNECT` request to the end of its tunnel.
pub(crate) async fn serve(mut session: HttpSession, mut flight: Box<Flight>) {
    let head = session.req_header();
    let parts = Parts { uri: head.uri.clone(), headers: head.headers.clone() };
    let outcome = tokio::select! {
        biased;
        _ = session.idle() => None,
        outcome = decide(&mut flight, &parts) => Some(outcome),
    };
    let answer = match outcome {
        None => {
            flight.progress.ending = Ending::Client;
            return;
        }
        Some(Outcome::Open(target, dialled)) => return carry(session, flight, &target, *dialled).await,
        Some(Outcome::Declined { reply, .. }) => {
            flight.progress.ending = Ending::Upstream;
            declined(&reply)
        }
        Some(Outcome::Answer) => match settled(&mut flight, &parts).await {
            Some(answer) => answer,
            None => return,
        },
    };
    flight.progress.status = Some(answer.status);
    let sent = answer.send(&mut session, flight.origin.generation.timeouts.write).await;
    flight.answered(sent.ok());
}

/// Tells the client that the tunnel is open, and moves bytes until it ends.
async fn carry(mut session: HttpSession, mut flight: Box<Flight>, target: &Target, dialled: Dialled) {
    note(&mut flight, target, &dialled);
    let Dialled { stream: mut server, early, .. } = dialled;
    let opened = async {
        let mut head = ResponseHeader::build(StatusCode::OK, Some(2))?;
        head.insert_header(PROXY_AGENT, flight.origin.generation.wording.agent())?;
        session.write_response_header(Box::new(head), false)
    };
    let opened: pingora::Result<()> = opened.await;
    let Some(writer) = opened.ok().and_then(|()| session.take_response_body_writer()) else {
        flight.progress.ending = Ending::Client;
        return;
    };
    let mut client = Tunnelled { session, writer, unread: Bytes::new() };
    let sent = &mut flight.progress.sent;
    let write = flight.origin.generation.timeouts.write;
    let closed = match tokio::time::timeout(write, client.write_all(&early)).await {
        Ok(Ok(())) => tunnel::carry_through_memory(&mut client, &mut server, target.idle_timeout, sent).await,
        _ => Closed::Client,
    };
    if closed == Closed::Server {
        client.writer.send_reset(Reason::CONNECT_ERROR);
    }
    flight.progress.ending = ending(closed);
}

/// What a parent proxy said instead of opening the tunnel: its status, and what its client needs to do better.
fn declined(reply: &[u8]) -> Answer {
    let mut fields = [httparse::EMPTY_HEADER; 256];
    let mut response = httparse::Response::new(&mut fields);
    let status = match response.parse(reply) {
        Ok(_) => response.code.and_then(|code| StatusCode::from_u16(code).ok()),
        Err(_) => None,
    };
    let mut answer = Answer::page(status.unwrap_or(StatusCode::BAD_GATEWAY), DECLINED);
    let wanted = response.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("proxy-authenticate"));
    for value in wanted.filter_map(|field| field.value.try_into().ok()) {
        answer.headers.append(header::PROXY_AUTHENTICATE, value);
    }
    answer
}

/// The client's end of a tunnel.
struct Tunnelled {
    session: HttpSession,
    writer: SendStream<Bytes>,
    /// Of a frame that was larger than the reader's buffer.
    unread: Bytes,
}

impl AsyncRead for Tunnelled {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.unread.is_empty() {
            match ready!(this.session.poll_read_body_bytes(cx)) {
                Some(piece) => this.unread = piece.map_err(broken)?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = this.unread.len().min(into.remaining());
        into.put_slice(&this.unread[..length]);
        this.unread.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnelled {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let writer = &mut self.get_mut().writer;
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        writer.reserve_capacity(bytes.len());
        let room = match writer.capacity() {
            0 => ready!(writer.poll_capacity(cx)).ok_or(io::ErrorKind::BrokenPipe)?.map_err(broken)?,
            room => room,
        };
        let length = room.min(bytes.len());
        writer.send_data(Bytes::copy_from_slice(&bytes[..length]), false).map_err(broken)?;
        Poll::Ready(Ok(length))
    }

    /// What was written is the connection's to send.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.get_mut().writer.send_data(Bytes::new(), true).map_err(broken))
    }
}

fn broken(error: h2::Error) -> io::Error {
    if error.is_io() {
        error.into_io().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
    } else {
        io::Error::other(error)
    }
}

const PROXY_AGENT: HeaderName = HeaderName::from_static("proxy-agent");
const DECLINED: &str = "The proxy that this proxy goes through did not make the connection.";
