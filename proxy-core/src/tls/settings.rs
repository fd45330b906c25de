//! What a listener asks of clients that speak TLS.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use plugin_api::Roots;
use rustls::{
    RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::ring,
    pki_types::CertificateDer,
    server::{NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use super::{ServerCertificate, ServerCertificates};

/// TLS on a listener; a clone costs a few reference counts.
#[derive(Clone)]
pub struct ListenerTls {
    pub(super) config: Arc<ServerConfig>,
    pub(super) certificates: Arc<ServerCertificates>,
}

/// What is asked of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsOptions {
    /// The oldest version that is spoken.
    pub minimum: TlsVersion,
    /// Whether clients have to show a certificate.
    pub clients: ClientAuth,
    /// Whether HTTP/2 is offered beside HTTP/1.1.
    pub http2: bool,
}

/// A version of TLS. Older ones are not spoken at all ([RFC 8996](https://www.rfc-editor.org/rfc/rfc8996)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2, [RFC 5246](https://www.rfc-editor.org/rfc/rfc5246).
    #[default]
    V1_2,
    /// TLS 1.3, [RFC 8446](https://www.rfc-editor.org/rfc/rfc8446).
    V1_3,
}

/// Whether clients have to show a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// They are not asked.
    #[default]
    None,
    /// Who shows one must have it from these authorities.
    Optional(Roots),
    /// Everybody must show one from these authorities.
    Required(Roots),
}

/// The keys by which clients take up their sessions again without a whole handshake
/// ([RFC 5077](https://www.rfc-editor.org/rfc/rfc5077), [RFC 8446 §2.2](https://www.rfc-editor.org/rfc/rfc8446#section-2.2)).
///
/// One for a whole program, so that sessions survive a reload and are known to every shard. They change every six hours, and
/// never leave memory. Listeners that ask for other client certificates have other keys: a session says nothing about
/// whether its client had to show one.
#[derive(Default)]
pub struct Sessions(Mutex<Vec<(ClientAuth, Arc<dyn ProducesTickets>)>>);

impl Default for TlsOptions {
    fn default() -> Self {
        Self { minimum: TlsVersion::default(), clients: ClientAuth::default(), http2: true }
    }
}

impl ListenerTls {
    /// Prepares a listener.
    ///
    /// # Errors
    ///
    /// The authorities for client certificates cannot be used, or the system has no randomness.
    pub fn new(
        options: &TlsOptions,
        certificates: Arc<ServerCertificates>,
        sessions: &Sessions,
    ) -> Result<Self, rustls::Error> {
        let versions: &[&SupportedProtocolVersion] = match options.minimum {
            TlsVersion::V1_2 => &[&TLS13, &TLS12],
            TlsVersion::V1_3 => &[&TLS13],
        };
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(versions)?;
        let verifier = |roots: &Roots| -> Result<_, rustls::Error> {
            let mut store = RootCertStore::empty();
            for der in roots.certificates() {
                store.add(CertificateDer::from(der.clone()))?;
            }
            Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(store), Arc::clone(&provider)))
        };
        let general = |error: rustls::server::VerifierBuilderError| rustls::Error::General(error.to_string());
        let builder = match &options.clients {
            ClientAuth::None => builder.with_no_client_auth(),
            ClientAuth::Optional(roots) => {
                builder.with_client_cert_verifier(verifier(roots)?.allow_unauthenticated().build().map_err(general)?)
            }
            ClientAuth::Required(roots) => {
                builder.with_client_cert_verifier(verifier(roots)?.build().map_err(general)?)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::clone(&certificates) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        if options.http2 {
            config.alpn_protocols.insert(0, HTTP_2.to_vec());
        }
        config.ticketer = sessions.keys(&options.clients)?;
        // Tickets do it all: a client without them is rare, and a table of sessions would be one for each listener.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { config: Arc::new(config), certificates })
    }

    /// The same, with one certificate for everybody.
    pub(super) fn only(&self, certified: Arc<CertifiedKey>) -> Arc<ServerConfig> {
        let mut config = ServerConfig::clone(&self.config);
        config.cert_resolver = Arc::new(Only(certified));
        Arc::new(config)
    }
}

/// Settings for a client that came to see a proof, and for nothing else.
pub(super) fn proving(proof: &ServerCertificate) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(&[&TLS13, &TLS12])?.with_no_client_auth();
    let mut config = builder.with_cert_resolver(Arc::new(Only(Arc::clone(proof.certified()))));
    config.alpn_protocols = vec![ACME.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

impl Sessions {
    fn keys(&self, clients: &ClientAuth) -> Result<Arc<dyn ProducesTickets>, rustls::Error> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, keys)) = all.iter().find(|(of, _)| of == clients) {
            return Ok(Arc::clone(keys));
        }
        let keys = ring::Ticketer::new()?;
        all.push((clients.clone(), Arc::clone(&keys)));
        Ok(keys)
    }
}

/// Shows this, whatever is asked for.
#[derive(Debug)]
struct Only(Arc<CertifiedKey>);

impl ResolvesServerCert for Only {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl fmt::Debug for ListenerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerTls").field("certificates", &self.certificates).finish_non_exhaustive()
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

/// Names of protocols in ALPN (RFC 7301 §6, RFC 9113 §3.2, RFC 8737 §6.2).
const HTTP_1_1: &[u8] = b"http/1.1";
pub(super) const HTTP_2: &[u8] = b"h2";
pub(super) const ACME: &[u8] = b"acme-tls/1";
