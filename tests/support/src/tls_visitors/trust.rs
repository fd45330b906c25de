//! Whom visitors believe.

use std::{fs, io, path::PathBuf, sync::Arc};

use rustls::{
    DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use tempfile::TempDir;

use crate::scratch_dir;

/// Whom visitors believe that a site is what it says.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'t> {
    /// Those who have a certificate that leads to one of these roots (PEM).
    Roots(&'t str),
    /// Whoever has the key of whatever certificate, as where there is only a placeholder yet.
    Anyone,
}

/// The same, as clients want it.
#[derive(Debug)]
pub(super) struct Believed {
    verifier: Arc<dyn ServerCertVerifier>,
    /// The roots in a file, for others.
    directory: Option<TempDir>,
}

impl Believed {
    pub(super) fn read(trust: Trust<'_>) -> io::Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let Trust::Roots(pem) = trust else {
            return Ok(Self { verifier: anyone(&provider), directory: None });
        };
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            roots.add(root.map_err(io::Error::other)?).map_err(io::Error::other)?;
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let directory = scratch_dir()?;
        fs::write(directory.path().join(FILE), pem)?;
        Ok(Self { verifier: verifier.map_err(io::Error::other)?, directory: Some(directory) })
    }

    pub(super) fn verifier(&self) -> Arc<dyn ServerCertVerifier> {
        Arc::clone(&self.verifier)
    }

    /// The roots; `None` where nobody has to lead to any.
    pub(super) fn file(&self) -> Option<PathBuf> {
        self.directory.as_ref().map(|directory| directory.path().join(FILE))
    }
}

/// Takes every certificate, and sees that the server has its key: for whoever wants to look at what is shown.
#[must_use]
pub fn anyone(provider: &CryptoProvider) -> Arc<dyn ServerCertVerifier> {
    Arc::new(Anyone(provider.signature_verification_algorithms))
}

#[derive(Debug)]
struct Anyone(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anyone {
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
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

const FILE: &str = "roots.pem";
