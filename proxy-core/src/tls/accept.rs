//! One handshake.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use bytes::BytesMut;
use rustls::server::Acceptor;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::{
    ListenerTls,
    settings::{ACME, HTTP_2, proving},
};
use crate::client_stream::{Begun, Socket};

/// What came of a handshake.
pub(crate) enum Secured {
    /// A client that wants to be served.
    Client(Box<Client>),
    /// An authority has seen the proof that it came for; there is nothing more to say.
    Proven,
    /// The client speaks plain HTTP, and may be told so.
    Plain(Socket),
}

/// A client that has shaken hands.
pub(crate) struct Client {
    pub(crate) stream: TlsStream<Begun>,
    /// The host that it asked for.
    pub(crate) server_name: Option<Arc<str>>,
    /// The certificate that it has shown, which was checked.
    pub(crate) certificate: Option<Arc<[u8]>>,
    /// It speaks HTTP/2 from here on.
    pub(crate) http2: bool,
}

/// Why there is no TLS with a client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcceptError {
    #[error("the client said nothing")]
    Silent,
    #[error("the handshake did not end in time")]
    Slow,
    #[error("the handshake failed")]
    Handshake(#[source] io::Error),
    #[error("a proof cannot be shown")]
    Proof(#[source] rustls::Error),
}

/// Shakes hands with a client that came to the address `local`. `early` has come from it already.
///
/// Whether a client came for a proof is seen before a certificate is chosen: it offers `acme-tls/1` and nothing else
/// ([RFC 8737 §3](https://www.rfc-editor.org/rfc/rfc8737#section-3)). All others are not touched by that.
pub(crate) async fn accept(
    tls: &ListenerTls,
    socket: Socket,
    early: BytesMut,
    local: Option<IpAddr>,
    within: Duration,
) -> Result<Secured, AcceptError> {
    tokio::time::timeout(within, shake(tls, socket, early, local)).await.unwrap_or(Err(AcceptError::Slow))
}

async fn shake(
    tls: &ListenerTls,
    mut socket: Socket,
    mut early: BytesMut,
    local: Option<IpAddr>,
) -> Result<Secured, AcceptError> {
    if early.is_empty() {
        early.reserve(FIRST_READ);
        if socket.read_buf(&mut early).await.map_err(AcceptError::Handshake)? == 0 {
            return Err(AcceptError::Silent);
        }
    }
    if early.first().is_some_and(u8::is_ascii_uppercase) {
        return Ok(Secured::Plain(socket));
    }
    let begun = LazyConfigAcceptor::new(Acceptor::default(), Begun::new(early, socket));
    let begun = begun.await.map_err(AcceptError::Handshake)?;
    let hello = begun.client_hello();
    let server_name: Option<Arc<str>> = hello.server_name().map(Into::into);
    let wants_proof = hello.alpn().is_some_and(|offered| offered.eq([ACME]));
    if wants_proof && let Some(proof) = server_name.as_deref().and_then(|name| tls.certificates.proof(name)) {
        let config = proving(&proof).map_err(AcceptError::Proof)?;
        let mut stream = begun.into_stream(config).await.map_err(AcceptError::Handshake)?;
        // It may be gone: it has what it wanted.
        let _ = stream.shutdown().await;
        return Ok(Secured::Proven);
    }
    let own = local.filter(|_| server_name.is_none()).and_then(|local| tls.certificates.for_address(local));
    let config = own.map_or_else(|| Arc::clone(&tls.config), |certified| tls.only(certified));
    let stream = begun.into_stream(config).await.map_err(AcceptError::Handshake)?;
    let (_, connection) = stream.get_ref();
    let http2 = connection.alpn_protocol() == Some(HTTP_2);
    let certificate = connection.peer_certificates().and_then(|chain| chain.first()).map(|own| Arc::from(own.as_ref()));
    Ok(Secured::Client(Box::new(Client { stream, server_name, certificate, http2 })))
}

/// Enough for the first message of most clients.
const FIRST_READ: usize = 4096;
