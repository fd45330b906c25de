//! A certificate with its key, as it is shown in handshakes.

use std::{fmt, net::IpAddr, sync::Arc};

use rustls::{
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName,
        pem::{self, PemObject as _},
    },
    sign::CertifiedKey,
};
use webpki::EndEntityCert;

/// A certificate with those between it and its authority, and its private key.
#[derive(Clone)]
pub struct ServerCertificate {
    certified: Arc<CertifiedKey>,
    names: Arc<[Box<str>]>,
}

/// Why a certificate cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The text is no PEM.
    #[error("this is not PEM")]
    Pem(#[source] pem::Error),
    /// There is no certificate in the text.
    #[error("there is no certificate in it")]
    Empty,
    /// The private key cannot be read.
    #[error("this is not a private key in PEM")]
    Key(#[source] pem::Error),
    /// The private key is of a kind that cannot be used.
    #[error("the private key cannot be used")]
    KeyKind(#[source] rustls::Error),
    /// Certificate and key do not belong together.
    #[error("the private key does not fit the certificate")]
    Pair(#[source] rustls::Error),
}

impl ServerCertificate {
    /// Reads a chain, the server's own certificate first, and its private key, both in PEM
    /// ([RFC 7468](https://www.rfc-editor.org/rfc/rfc7468)).
    ///
    /// # Errors
    ///
    /// One of them is missing or cannot be used, or they do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(CertificateError::Pem)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(CertificateError::Key)?;
        let certified = certified(chain, key)?;
        match certified.keys_match() {
            // A kind of key that cannot be compared was at least readable.
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(error) => return Err(CertificateError::Pair(error)),
        }
        let names = names(&certified);
        Ok(Self { certified: Arc::new(certified), names })
    }

    /// The same from DER, for a certificate that proves something to an authority and is not to be looked into: it has
    /// an extension that must be understood and that only the authority understands
    /// ([RFC 8737 §3](https://www.rfc-editor.org/rfc/rfc8737#section-3)).
    ///
    /// # Errors
    ///
    /// The key cannot be used.
    pub fn proof(certificate: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let key = PrivateKeyDer::try_from(key.to_vec());
        let key = key.map_err(|error| CertificateError::KeyKind(rustls::Error::General(error.to_owned())))?;
        let certified = certified(vec![CertificateDer::from(certificate.to_vec())], key)?;
        Ok(Self { certified: Arc::new(certified), names: Arc::default() })
    }

    /// The DNS names that it is for, in lower case; `*.example.com` for all names one label below.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// The server's own certificate, in DER.
    pub fn der(&self) -> &[u8] {
        self.certified.cert.first().map(AsRef::as_ref).unwrap_or_default()
    }

    pub(super) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// Whether it is for this address.
    pub(super) fn is_for_address(&self, address: IpAddr) -> bool {
        let own = CertificateDer::from(self.der());
        let Ok(parsed) = EndEntityCert::try_from(&own) else { return false };
        parsed.verify_is_valid_for_subject_name(&ServerName::IpAddress(address.into())).is_ok()
    }
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerCertificate").field(&self.names).finish()
    }
}

/// Two are equal that look the same to clients.
impl PartialEq for ServerCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.certified.cert == other.certified.cert
    }
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, CertificateError> {
    if chain.is_empty() {
        return Err(CertificateError::Empty);
    }
    let key = ring::default_provider().key_provider.load_private_key(key).map_err(CertificateError::KeyKind)?;
    Ok(CertifiedKey::new(chain, key))
}

/// One that cannot be taken apart is for no name: it is shown where it is the only one.
fn names(certified: &CertifiedKey) -> Arc<[Box<str>]> {
    let Ok(own) = certified.end_entity_cert() else { return Arc::default() };
    let Ok(parsed) = EndEntityCert::try_from(own) else { return Arc::default() };
    parsed.valid_dns_names().map(|name| name.to_ascii_lowercase().into()).collect()
}
