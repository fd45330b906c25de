//! One client's connection: request after request, each with the answer or the fault that it meets.

use std::{
    io::{self, BufReader, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned, pki_types::ServerName};
use socket2::SockRef;

use super::{
    Shared,
    alarm::{Watch, Woken, wait},
    fault::{Fault, Problem},
    journal::Outcome,
    message::{Answer, Request},
};

type Tls<C> = BufReader<StreamOwned<C, TcpStream>>;

/// The two TLS ends of the front, and where pebble is.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) server: Arc<ServerConfig>,
    pub(super) client: Arc<ClientConfig>,
    pub(super) behind: SocketAddr,
}

/// What comes next on a connection.
enum Next {
    /// Another request.
    Request,
    /// Nothing, not even a proper end.
    Nothing,
}

/// What becomes of a request.
enum Fate {
    /// It is answered.
    Usual,
    /// It is answered by this.
    Told(Answer),
    /// It is answered, and the answer is cut.
    Cut,
    /// It is not answered.
    Lost(Outcome),
}

/// Serves a connection to its end, or to the end of the front.
pub(super) fn serve(stream: TcpStream, shared: &Shared, stop: &Watch) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // Only for the parts of a request: between two of them the client may take its time.
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let connection = ServerConnection::new(Arc::clone(&shared.ends.server)).map_err(io::Error::other)?;
    let mut client = BufReader::new(StreamOwned::new(connection, stream));
    loop {
        if client.buffer().is_empty() && wait(&client.get_ref().sock, &[stop])? != Woken::Socket {
            break;
        }
        let Some(request) = Request::read(&mut client)? else { break };
        match answer(&mut client, &request, shared, stop)? {
            Next::Request if request.closes => break,
            Next::Request => {}
            Next::Nothing => return Ok(()),
        }
    }
    // No flush: it would wait for a handshake that has not come to its end.
    let StreamOwned { conn, sock } = client.get_mut();
    conn.send_close_notify();
    while conn.wants_write() {
        conn.write_tls(sock)?;
    }
    Ok(())
}

fn answer(client: &mut Tls<ServerConnection>, request: &Request, shared: &Shared, stop: &Watch) -> io::Result<Next> {
    let (number, fault) = shared.begin(request);
    let fate = match fault {
        Some((fault, cleared)) => meet(fault, &client.get_ref().sock, &[stop, &cleared])?,
        None => Fate::Usual,
    };
    let is_cut = matches!(fate, Fate::Cut);
    let told = match fate {
        Fate::Lost(outcome) => {
            shared.end(number, outcome);
            return Ok(Next::Nothing);
        }
        Fate::Told(answer) => Some(answer),
        Fate::Usual | Fate::Cut => shared.rule(request),
    };
    let answer = match told {
        Some(answer) => with_nonce(answer, request, shared),
        None => match forward(request, &shared.ends) {
            Ok(mut answer) => {
                shared.learn(number, request, &mut answer);
                answer
            }
            Err(error) => Answer::new(502, "text/plain", format!("pebble does not answer: {error}\n")),
        },
    };
    let text = answer.text(&request.method, request.closes);
    // Noted before it is sent: a client that has it may look.
    shared.end(number, if is_cut { Outcome::Cut { status: answer.status } } else { Outcome::of(&answer) });
    let tls = client.get_mut();
    tls.write_all(text.get(..if is_cut { middle(&text) } else { text.len() }).unwrap_or_default())?;
    tls.flush()?;
    Ok(if is_cut { Next::Nothing } else { Next::Request })
}

/// What a fault makes of the request of a client.
fn meet(fault: Fault, client: &TcpStream, stop_or_cleared: &[&Watch; 2]) -> io::Result<Fate> {
    Ok(match fault {
        Fault::Problem(problem) => Fate::Told(problem.answer()),
        Fault::BadNonce => Fate::Told(Problem::new(400, "badNonce", "JWS has an invalid anti-replay nonce").answer()),
        Fault::Page { status, retry_after } => {
            let mut page = Answer::new(status, "text/html; charset=utf-8", PAGE);
            retry_after.put_into(&mut page);
            Fate::Told(page)
        }
        Fault::Cut => Fate::Cut,
        Fault::Reset => {
            // Closing does this to a connection that must not linger.
            SockRef::from(client).set_linger(Some(Duration::ZERO))?;
            Fate::Lost(Outcome::Reset)
        }
        Fault::Hang => match wait(client, stop_or_cleared)? {
            Woken::Alarm(1) => Fate::Usual,
            Woken::Alarm(_) | Woken::Socket => Fate::Lost(Outcome::Left),
        },
    })
}

/// The middle of an answer's body, or of its head where it has none.
fn middle(text: &[u8]) -> usize {
    let head = text.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |end| end + 4);
    if head < text.len() { head.midpoint(text.len()) } else { head / 2 }
}

/// RFC 8555 §6.5: an answer to a POST has a fresh nonce. Only pebble can make one.
fn with_nonce(mut answer: Answer, request: &Request, shared: &Shared) -> Answer {
    let is_acme = answer.header("content-type").is_some_and(|kind| !kind.starts_with("text/"));
    if request.method == "POST" && is_acme {
        let nonce = forward(&Request::new("HEAD", "/nonce-plz", request.host()), &shared.ends);
        if let Some(nonce) = nonce.ok().as_ref().and_then(|nonce| nonce.header("replay-nonce")) {
            answer.set_header("replay-nonce", nonce);
        }
    }
    answer
}

/// Asks pebble, by a connection of its own. `Host` stays as it is: pebble makes its URLs from it, and compares it with the
/// URL that is signed.
fn forward(request: &Request, ends: &Ends) -> io::Result<Answer> {
    let stream = TcpStream::connect_timeout(&ends.behind, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let connection = ClientConnection::new(Arc::clone(&ends.client), ServerName::from(ends.behind.ip()));
    let mut pebble = BufReader::new(StreamOwned::new(connection.map_err(io::Error::other)?, stream));
    pebble.get_mut().write_all(&request.text())?;
    Answer::read(&mut pebble, &request.method)
}

const PAGE: &str =
    "<!doctype html><title>Not an ACME server</title><p>Somebody on the way has something to say to people.\n";
/// For pebble, and for a client that has begun to speak.
const PATIENCE: Duration = Duration::from_secs(20);
