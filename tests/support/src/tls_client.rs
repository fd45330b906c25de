//! A client's end of TLS, for whatever is to be said over it.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

/// A connection on which every read and write has a deadline. Dropping it ends it without a word.
#[derive(Debug)]
pub struct TlsClient(StreamOwned<ClientConnection, TcpStream>);

impl TlsClient {
    /// Connects and shakes hands with somebody who has a certificate of `ca` for `name`. Offers these protocols; none is fine, too.
    ///
    /// # Errors
    /// What the system or the server says; no answer within [`Self::DEADLINE`].
    pub fn connect(address: SocketAddr, ca: &Path, name: &str, protocols: &[&str]) -> io::Result<Self> {
        Self::over(TcpStream::connect_timeout(&address, Self::DEADLINE)?, ca, name, protocols)
    }

    /// The same over a stream that is connected already.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn over(stream: TcpStream, ca: &Path, name: &str, protocols: &[&str]) -> io::Result<Self> {
        stream.set_read_timeout(Some(Self::DEADLINE))?;
        stream.set_write_timeout(Some(Self::DEADLINE))?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(settings(ca, protocols)?, name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self(stream))
    }

    /// How long a read or write may take.
    pub const DEADLINE: Duration = Duration::from_secs(20);

    /// The protocol that was agreed on.
    #[must_use]
    pub fn protocol(&self) -> Option<&str> {
        std::str::from_utf8(self.0.conn.alpn_protocol()?).ok()
    }

    /// The socket, for its deadlines and its buffers.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        &self.0.sock
    }

    /// Says that nothing more comes, and still listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn end(&mut self) -> io::Result<()> {
        self.0.conn.send_close_notify();
        self.0.flush()
    }
}

impl Read for TlsClient {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for TlsClient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn settings(ca: &Path, protocols: &[&str]) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(ca).map_err(io::Error::other)?;
    roots.add(ca).map_err(io::Error::other)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}
