//! The probe: proof, before a CA is asked, that a request to the port really comes out at our listener.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::rules::PROBE_MARK;

/// What to fetch, and what proves that it came from us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The `Host` header.
    pub host: String,
    /// The path, `/.well-known/acme-challenge/` and a token nobody can guess.
    pub path: String,
    /// The exact body that only our listener can answer.
    pub expected: String,
}

/// The gate does not lead where it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// There is nothing to probe.
    #[error("this host has no address to probe")]
    NoAddress,
    /// One address did not answer as expected.
    #[error("the probe of {address} did not come through the gate")]
    Address {
        /// Where the probe went.
        address: SocketAddr,
        /// What was seen instead.
        source: ProbeFault,
    },
}

/// What the probe saw instead of the expected answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeFault {
    /// The connection's socket could not be made or marked.
    #[error("the socket could not be marked")]
    Mark(#[source] io::Error),
    /// No connection.
    #[error("no connection")]
    Connect(#[source] io::Error),
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    /// No complete answer in time.
    #[error("no complete answer within {} ms", .limit.as_millis())]
    TimedOut {
        /// How long it had.
        limit: Duration,
    },
    /// The answer is not HTTP.
    #[error("the answer is not HTTP: {seen:?}")]
    NotHttp {
        /// Its beginning.
        seen: String,
    },
    /// Somebody else answered.
    #[error("somebody else answered: status {status}, {seen:?}")]
    WrongAnswer {
        /// The status.
        status: u16,
        /// The beginning of the body.
        seen: String,
    },
}

/// Asks each of this host's `addresses` on `port`, all at once, with the mark that leads a connection from this host
/// through the gate. It proves the gate, the listener and the authenticator; it does not prove the firewall outside.
///
/// # Errors
/// The first address that did not give the expected body within `limit`.
pub async fn probe(addresses: &[IpAddr], port: u16, question: &Question, limit: Duration) -> Result<(), ProbeError> {
    if addresses.is_empty() {
        return Err(ProbeError::NoAddress);
    }
    let mut probes = JoinSet::new();
    for &address in addresses {
        let (address, question) = (SocketAddr::new(address, port), question.clone());
        probes.spawn(async move {
            let outcome = timeout(limit, ask(address, &question)).await;
            let outcome = outcome.unwrap_or(Err(ProbeFault::TimedOut { limit }));
            outcome.map_err(|source| ProbeError::Address { address, source })
        });
    }
    while let Some(outcome) = probes.join_next().await {
        // A task is only cancelled with the runtime, which takes this future along.
        outcome.unwrap_or(Ok(()))?;
    }
    Ok(())
}

async fn ask(address: SocketAddr, question: &Question) -> Result<(), ProbeFault> {
    let socket = marked_socket(address).map_err(ProbeFault::Mark)?;
    let mut stream = socket.connect(address).await.map_err(ProbeFault::Connect)?;
    let Question { host, path, .. } = question;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: lockgate-probe\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(ProbeFault::Broken)?;
    let answer = read_answer(&mut stream).await.map_err(ProbeFault::Broken)?;
    judge(&answer, &question.expected)
}

fn marked_socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_mark(PROBE_MARK)?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

/// Reads to the end of the body or of the connection, and never more than is of interest.
async fn read_answer(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    while answer.len() < MAX_ANSWER && stream.read_buf(&mut answer).await? > 0 {
        if is_complete(&answer) {
            break;
        }
    }
    Ok(answer)
}

fn is_complete(answer: &[u8]) -> bool {
    parse(answer).is_some_and(|answer| answer.length.is_some_and(|length| answer.body.len() >= length))
}

fn judge(answer: &[u8], expected: &str) -> Result<(), ProbeFault> {
    let Some(Answer { status, body, .. }) = parse(answer) else {
        return Err(ProbeFault::NotHttp { seen: beginning(answer) });
    };
    if status == 200 && body == expected.as_bytes() {
        return Ok(());
    }
    Err(ProbeFault::WrongAnswer { status, seen: beginning(body) })
}

struct Answer<'a> {
    status: u16,
    length: Option<usize>,
    body: &'a [u8],
}

/// `None` while the head is incomplete, and when it is not a head.
fn parse(answer: &[u8]) -> Option<Answer<'_>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(end)) = head.parse(answer) else { return None };
    let length = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse().ok());
    Some(Answer { status: head.code?, length, body: answer.get(end..)? })
}

fn beginning(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(120).collect()
}

const MAX_ANSWER: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_body_with_status_200_is_proof() {
        assert!(judge(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ntoken", "token").is_ok());
        let other = judge(b"HTTP/1.1 200 OK\r\n\r\n<html>", "token").unwrap_err();
        assert!(matches!(other, ProbeFault::WrongAnswer { status: 200, ref seen } if seen == "<html>"), "{other}");
        let missing = judge(b"HTTP/1.1 404 Not Found\r\n\r\ntoken", "token").unwrap_err();
        assert!(matches!(missing, ProbeFault::WrongAnswer { status: 404, .. }), "{missing}");
        assert!(matches!(judge(b"SSH-2.0-OpenSSH_9.2\r\n", "token"), Err(ProbeFault::NotHttp { .. })));
        assert!(matches!(judge(b"", "token"), Err(ProbeFault::NotHttp { .. })));
    }

    #[test]
    fn an_answer_is_complete_with_its_declared_length() {
        assert!(!is_complete(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ntoke"));
        assert!(is_complete(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\ntoken"));
        assert!(!is_complete(b"HTTP/1.1 200 OK\r\n\r\ntoken"), "without a length it ends with the connection");
    }
}
