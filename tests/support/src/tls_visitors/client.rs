//! One visitor's end of TLS.

use std::{
    io::{self, Read as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, StreamOwned, SupportedProtocolVersion, client::Resumption,
    crypto::ring, pki_types::ServerName,
};

use super::Believed;
use crate::Connection;

/// A connection over TLS.
pub(super) type Line = Connection<StreamOwned<ClientConnection, TcpStream>>;

/// What a visitor brings to a handshake.
pub(super) struct Client(Arc<ClientConfig>);

/// What a visitor remembers of earlier handshakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// Nothing: every handshake is a whole one.
    None,
    /// The session at each name.
    Sessions,
}

/// A handshake that is done.
pub(super) struct Shaken {
    pub(super) line: Line,
    /// The certificate that was shown; `None` where a session was taken up.
    pub(super) leaf: Option<Vec<u8>>,
}

impl Client {
    pub(super) fn new(believed: &Believed, version: &'static SupportedProtocolVersion, memory: Memory) -> Self {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(&[version]).expect("ring has suites of every version");
        // What it takes is for the tests to say; with the right roots it is what `with_root_certificates` makes.
        let builder = builder.dangerous().with_custom_certificate_verifier(believed.verifier());
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = match memory {
            Memory::None => Resumption::disabled(),
            Memory::Sessions => Resumption::in_memory_sessions(1024),
        };
        Self(Arc::new(config))
    }

    pub(super) fn shake(&self, address: SocketAddr, name: &str) -> io::Result<Shaken> {
        let mut stream = TcpStream::connect_timeout(&address, Connection::DEADLINE)?;
        stream.set_read_timeout(Some(Connection::DEADLINE))?;
        stream.set_write_timeout(Some(Connection::DEADLINE))?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let mut tls = ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        let leaf = match tls.handshake_kind() {
            Some(HandshakeKind::Resumed) => None,
            _ => tls.peer_certificates().and_then(|chain| chain.first()).map(|leaf| leaf.to_vec()),
        };
        Ok(Shaken { line: Connection::speaking(StreamOwned::new(tls, stream)), leaf })
    }
}

/// The connection, unless its server has properly ended it while nothing was under way. Any other end is an error.
pub(super) fn still_open(mut line: Line) -> io::Result<Option<Line>> {
    line.stream().sock.set_nonblocking(true)?;
    let read = line.stream_mut().read(&mut [0]);
    line.stream().sock.set_nonblocking(false)?;
    match read {
        Ok(0) => Ok(None),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "bytes that nobody asked for")),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Some(line)),
        Err(error) => Err(error),
    }
}

/// Says good-bye, as is proper.
pub(super) fn hang_up(mut line: Line) {
    let StreamOwned { conn, sock } = line.stream_mut();
    conn.send_close_notify();
    // The server may be gone already, which is its right by now.
    while conn.wants_write() && conn.write_tls(sock).is_ok() {}
}
