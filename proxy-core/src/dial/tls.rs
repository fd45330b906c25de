//! TLS towards servers: settings become what rustls and pingora need, once for each thread.

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use pingora::{
    protocols::tls::CaType,
    tls::{ClientTlsStream, TlsConnector, load_platform_certs_incl_env_into_store},
    utils::tls::{CertKey, WrappedX509, parse_x509},
};
use plugin_api::{Identity, Roots, Tls};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
};
use tokio::{net::TcpStream, sync::OnceCell};

/// Why a connection is not secure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecureError {
    #[error("the name `{0}` can stand in no certificate")]
    Name(String),
    #[error("the system's authorities cannot be read")]
    System(#[source] pingora::BError),
    #[error("the thread that reads the system's authorities ended")]
    Reader(#[source] tokio::task::JoinError),
    #[error("the TLS settings cannot be used")]
    Settings(#[source] rustls::Error),
    #[error("the TLS handshake failed")]
    Handshake(#[source] std::io::Error),
}

/// Shakes hands with the server that `name` says, or the settings.
pub(crate) async fn secure(
    stream: TcpStream,
    tls: &Tls,
    name: &str,
) -> Result<ClientTlsStream<TcpStream>, SecureError> {
    let name = tls.server_name.as_deref().unwrap_or(name);
    let name = ServerName::try_from(name.to_owned()).map_err(|_error| SecureError::Name(name.to_owned()))?;
    let config = config(tls).await?;
    TlsConnector::from(config).connect(name, stream).await.map_err(SecureError::Handshake)
}

/// Kept by the thread, so that sessions are resumed.
async fn config(tls: &Tls) -> Result<Arc<ClientConfig>, SecureError> {
    // The name is no part of what is prepared: sessions are kept by name.
    let mut key = tls.clone();
    key.server_name = None;
    if let Some(config) = CONFIGS.with_borrow_mut(|configs| configs.find(&key)) {
        return Ok(config);
    }
    let config = Arc::new(make_config(tls).await?);
    CONFIGS.with_borrow_mut(|configs| configs.keep(key, Arc::clone(&config)));
    Ok(config)
}

async fn make_config(tls: &Tls) -> Result<ClientConfig, SecureError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.map_err(SecureError::Settings)?;
    let builder = if tls.verify {
        let roots = match &tls.roots {
            Some(roots) => Arc::new(store(roots).map_err(SecureError::Settings)?),
            None => system_roots().await?,
        };
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
        builder.with_webpki_verifier(
            verifier.map_err(|error| SecureError::Settings(rustls::Error::General(error.to_string())))?,
        )
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
    };
    let mut config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = identity.chain().iter().map(|der| CertificateDer::from(der.clone())).collect();
            let key = PrivateKeyDer::try_from(identity.key().to_vec());
            let key = key.map_err(|error| SecureError::Settings(rustls::Error::General(error.to_owned())))?;
            builder.with_client_auth_cert(chain, key).map_err(SecureError::Settings)?
        }
    };
    // What both ends speak in any case; a server that prefers HTTP/2 must not choose it.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn store(roots: &Roots) -> Result<RootCertStore, rustls::Error> {
    let mut store = RootCertStore::empty();
    for der in roots.certificates() {
        store.add(CertificateDer::from(der.clone()))?;
    }
    Ok(store)
}

/// What the system trusts, read once for the whole process and away from the threads that serve.
async fn system_roots() -> Result<Arc<RootCertStore>, SecureError> {
    static SYSTEM: OnceCell<Arc<RootCertStore>> = OnceCell::const_new();
    let read = || async {
        let read = tokio::task::spawn_blocking(|| {
            let mut store = RootCertStore::empty();
            load_platform_certs_incl_env_into_store(&mut store).map(|()| Arc::new(store))
        });
        read.await.map_err(SecureError::Reader)?.map_err(SecureError::System)
    };
    SYSTEM.get_or_try_init(read).await.cloned()
}

/// Believes every certificate; that the server has its key is still checked.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The authorities for pingora; `None` when its parser cannot read what rustls could.
pub(crate) fn authorities(roots: &Roots) -> Option<Arc<CaType>> {
    AUTHORITIES.with_borrow_mut(|kept| {
        kept.find(roots).unwrap_or_else(|| {
            let wrapped = || roots.certificates().iter().map(|der| WrappedX509::new(der.clone(), parse_x509)).collect();
            // Pingora's parser panics.
            let made = catch_unwind(AssertUnwindSafe(wrapped)).ok();
            kept.keep(roots.clone(), made.clone());
            made
        })
    })
}

/// Certificate and key for pingora; `None` as above.
pub(crate) fn certificate(identity: &Identity) -> Option<Arc<CertKey>> {
    CERTIFICATES.with_borrow_mut(|kept| {
        kept.find(identity).unwrap_or_else(|| {
            let make = || Arc::new(CertKey::new(identity.chain().to_vec(), identity.key().to_vec()));
            let made = catch_unwind(AssertUnwindSafe(make)).ok();
            kept.keep(identity.clone(), made.clone());
            made
        })
    })
}

thread_local! {
    static CONFIGS: RefCell<Kept<Tls, Arc<ClientConfig>>> = const { RefCell::new(Kept(Vec::new())) };
    static AUTHORITIES: RefCell<Kept<Roots, Option<Arc<CaType>>>> = const { RefCell::new(Kept(Vec::new())) };
    static CERTIFICATES: RefCell<Kept<Identity, Option<Arc<CertKey>>>> = const { RefCell::new(Kept(Vec::new())) };
}

/// What was made of the settings of a few places in the configuration, the newest last.
struct Kept<K, V>(Vec<(K, V)>);

impl<K: PartialEq + Clone, V: Clone> Kept<K, V> {
    fn find(&mut self, key: &K) -> Option<V> {
        let (kept, value) = self.0.iter_mut().find(|(kept, _)| kept == key)?;
        // After a reload it is the same again, and compared in no time when it is the same place in memory.
        kept.clone_from(key);
        Some(value.clone())
    }

    /// Forgets the oldest, which may be of a configuration that is gone.
    fn keep(&mut self, key: K, value: V) {
        if self.0.len() >= MOST_KEPT {
            self.0.remove(0);
        }
        self.0.push((key, value));
    }
}

/// More than the different settings of one configuration.
const MOST_KEPT: usize = 64;
