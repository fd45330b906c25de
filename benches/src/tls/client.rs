//! Clients that shake hands, and check what they get.

use std::{
    io::{self, Read as _},
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    CipherSuite, ClientConfig, DigitallySignedStruct, HandshakeKind, ProtocolVersion, SignatureScheme,
    SupportedProtocolVersion,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::http2;
use crate::count::{Count, repeat};

/// Where to go, and what is shown there.
#[derive(Clone)]
pub(crate) struct Site {
    address: SocketAddr,
    certificate: CertificateDer<'static>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V1_2,
    V1_3,
}

/// How a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Session {
    New,
    /// With what the server gave for this purpose before.
    Resumed,
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// How a handshake went.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Handshake {
    kind: HandshakeKind,
    version: ProtocolVersion,
    suite: CipherSuite,
}

/// Clients that come for one request at a time, and know each whether it has been here before.
pub(crate) struct Visitors {
    site: Site,
    version: Version,
    session: Session,
    configs: Vec<Arc<ClientConfig>>,
}

impl Site {
    pub(crate) fn new(address: SocketAddr, certificate: &Path) -> io::Result<Self> {
        let certificate = CertificateDer::from_pem_file(certificate).map_err(io::Error::other)?;
        Ok(Self { address, certificate })
    }
}

impl Visitors {
    /// So many. Those that are to take up sessions have been here then.
    pub(crate) async fn prepare(site: &Site, version: Version, session: Session, number: usize) -> io::Result<Self> {
        let mut configs = Vec::new();
        for _ in 0..number {
            let config = Arc::new(config(site, &[version], session, Protocol::Http1)?);
            if session == Session::Resumed {
                visit(site, &config).await?;
            }
            configs.push(config);
        }
        Ok(Self { site: site.clone(), version, session, configs })
    }

    /// All of them come again and again in this time. Who has no handshake of the kind that is wanted, and not the whole
    /// answer, counts as bad.
    pub(crate) async fn run(self, time: Duration) -> Count {
        let Self { site, version, session, mut configs } = self;
        let kind = match session {
            Session::New => HandshakeKind::Full,
            Session::Resumed => HandshakeKind::Resumed,
        };
        let wanted = Handshake { kind, version: version.wire(), suite: version.suite() };
        repeat(configs.len(), time, move |deadline| {
            let (site, config) = (site.clone(), configs.pop());
            async move {
                let mut count = Count::default();
                while let Some(config) = config.as_ref().filter(|_| Instant::now() < deadline) {
                    match timeout(PATIENCE, visit(&site, config)).await {
                        Ok(Ok(was)) if was == wanted => count.done += 1,
                        other => {
                            if count.bad == 0 {
                                eprintln!("{}: {other:?} instead of {wanted:?}", site.address);
                            }
                            count.bad += 1;
                        }
                    }
                }
                count
            }
        })
        .await
    }
}

impl Version {
    fn wire(self) -> ProtocolVersion {
        self.supported().version
    }

    /// What everybody speaks, so that the same is compared.
    fn suite(self) -> CipherSuite {
        match self {
            Self::V1_2 => WANTED[1],
            Self::V1_3 => WANTED[0],
        }
    }

    fn supported(self) -> &'static SupportedProtocolVersion {
        match self {
            Self::V1_2 => &TLS12,
            Self::V1_3 => &TLS13,
        }
    }
}

/// A connection, a request, and the end.
async fn visit(site: &Site, config: &Arc<ClientConfig>) -> io::Result<Handshake> {
    let mut stream = connect(site, config).await?;
    let answer = get(&mut stream, "Connection: close\r\n").await?;
    check(&answer)?;
    let (_, connection) = stream.get_ref();
    let facts = (connection.handshake_kind(), connection.protocol_version(), connection.negotiated_cipher_suite());
    let (Some(kind), Some(version), Some(suite)) = facts else { return Err(io::ErrorKind::InvalidData.into()) };
    Ok(Handshake { kind, version, suite: suite.suite() })
}

/// Opens so many connections, makes one request on each, and hands them out.
pub(crate) async fn hold(site: &Site, protocol: Protocol, number: usize) -> io::Result<Vec<TlsStream<TcpStream>>> {
    let config = Arc::new(config(site, &[Version::V1_3, Version::V1_2], Session::New, protocol)?);
    let mut held = Vec::with_capacity(number);
    let mut tasks = JoinSet::new();
    for _ in 0..number {
        let (site, config) = (site.clone(), Arc::clone(&config));
        tasks.spawn(async move { timeout(PATIENCE, open(&site, &config, protocol)).await? });
        if tasks.len() >= AT_ONCE
            && let Some(opened) = tasks.join_next().await
        {
            held.push(opened??);
        }
    }
    while let Some(opened) = tasks.join_next().await {
        held.push(opened??);
    }
    Ok(held)
}

/// Whether the other side has not ended it. Asks the system: what the runtime knows may be old.
pub(crate) fn is_open(stream: TlsStream<TcpStream>) -> bool {
    let Ok(mut socket) = stream.into_inner().0.into_std() else { return false };
    let mut waste = [0; 4096];
    loop {
        match socket.read(&mut waste) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

async fn open(site: &Site, config: &Arc<ClientConfig>, protocol: Protocol) -> io::Result<TlsStream<TcpStream>> {
    let mut stream = connect(site, config).await?;
    let agreed = stream.get_ref().1.alpn_protocol() == Some(protocol.name());
    match protocol {
        _ if !agreed => return Err(io::Error::other("another protocol was agreed on")),
        Protocol::Http1 => check(&get(&mut stream, "").await?)?,
        Protocol::Http2 if http2::get(&mut stream, NAME, "/small").await? == BODY => {}
        Protocol::Http2 => return Err(io::ErrorKind::InvalidData.into()),
    }
    Ok(stream)
}

async fn connect(site: &Site, config: &Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(site.address).await?;
    socket.set_nodelay(true)?;
    let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
    TlsConnector::from(Arc::clone(config)).connect(name, socket).await
}

/// Makes a request and reads the answer: to its end where the connection is to be closed, else until its body is there.
async fn get(stream: &mut TlsStream<TcpStream>, fields: &str) -> io::Result<Vec<u8>> {
    stream.write_all(format!("GET /small HTTP/1.1\r\nHost: {NAME}\r\n{fields}\r\n").as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::with_capacity(1024);
    loop {
        match stream.read_buf(&mut answer).await {
            Ok(0) => return Ok(answer),
            Ok(_) if fields.is_empty() && answer.ends_with(BODY) => return Ok(answer),
            Ok(_) => {}
            // The answer says itself how long it is.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(answer),
            Err(error) => return Err(error),
        }
    }
}

fn check(answer: &[u8]) -> io::Result<()> {
    let good = answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(BODY);
    if good { Ok(()) } else { Err(io::Error::other(String::from_utf8_lossy(answer).into_owned())) }
}

fn config(site: &Site, versions: &[Version], session: Session, protocol: Protocol) -> io::Result<ClientConfig> {
    let mut provider = ring::default_provider();
    // What browsers want most comes first for them, and for what else loads the proxies, so that all speak it.
    provider.cipher_suites.sort_by_key(|suite| !WANTED.contains(&suite.suite()));
    let provider = Arc::new(provider);
    let versions: Vec<_> = versions.iter().map(|version| version.supported()).collect();
    let verifier = Arc::new(Same { certificate: site.certificate.clone(), provider: Arc::clone(&provider) });
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&versions);
    let builder = builder.map_err(io::Error::other)?.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![protocol.name().to_vec()];
    config.resumption = match session {
        Session::New => Resumption::disabled(),
        Session::Resumed => Resumption::in_memory_sessions(16),
    };
    Ok(config)
}

impl Protocol {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

/// Trusts one certificate, and does not check signatures: the time is the proxies', and who has not the key does not get to
/// the end of a handshake that others had with it.
#[derive(Debug)]
struct Same {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Same {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *own == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

const WANTED: [CipherSuite; 2] =
    [CipherSuite::TLS13_AES_128_GCM_SHA256, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256];
/// The site's name, and its file `small`.
pub(crate) const NAME: &str = "a.example";
pub(crate) const BODY: &[u8] = b"Somebody is always at home.\n";
const AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::{OVER_TLS, Setup, origin};
    use std::fs;
    use test_support::{Authority, scratch_dir};

    const TIME: Duration = Duration::from_millis(300);

    async fn count(site: &Site, version: Version, session: Session) -> Count {
        Visitors::prepare(site, version, session, 2).await.unwrap().run(TIME).await
    }

    #[tokio::test]
    async fn handshakes_are_counted_and_what_goes_wrong_too() {
        let (directory, authority) = (scratch_dir().unwrap(), Authority::new().unwrap());
        let credentials = authority.issue("site", &[NAME]).unwrap();
        fs::write(directory.path().join("small"), BODY).unwrap();
        let (address, _origin) = origin(directory.path()).unwrap();
        let setup =
            Setup { root: directory.path(), origin: address, lockgate: "", bare: "", credentials: Some(&credentials) };
        let nginx = OVER_TLS[0](&setup).unwrap();
        let site = Site::new(nginx.address, &credentials.certificate).unwrap();
        for version in [Version::V1_2, Version::V1_3] {
            for session in [Session::New, Session::Resumed] {
                let count = count(&site, version, session).await;
                assert!(count.done > 4 && count.bad == 0, "{version:?}, {session:?}: {count:?}");
            }
        }
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let held = hold(&site, protocol, 3).await.unwrap();
            assert!(held.len() == 3 && held.into_iter().all(is_open), "{protocol:?}");
        }
        let held = hold(&site, Protocol::Http2, 1).await.unwrap();
        // The whole group: a worker that is left would keep the connection.
        drop(nginx);
        assert!(!held.into_iter().any(is_open));
        let nginx = OVER_TLS[0](&setup).unwrap();
        let other = authority.issue("other", &[NAME]).unwrap();
        let wrong = Site::new(nginx.address, &other.certificate).unwrap();
        let count = count(&wrong, Version::V1_3, Session::New).await;
        assert!(count.done == 0 && count.bad > 0, "{count:?}");
    }
}
