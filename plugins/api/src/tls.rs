//! TLS towards servers: whom we believe, and who we are.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName,
        pem::{self, PemObject as _},
    },
    sign::CertifiedKey,
};

use crate::BuildCx;

/// TLS towards a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Tls {
    /// The name sent as SNI and checked against the certificate. `None` takes the request's host; for a
    /// [`Parent`](crate::Parent), the host of its address.
    pub server_name: Option<Arc<str>>,
    /// Whether the certificate is checked.
    pub verify: bool,
    /// The only authorities whose certificates are believed; `None` for those that the system trusts.
    pub roots: Option<Roots>,
    /// What is shown to a server that asks who we are.
    pub identity: Option<Identity>,
}

impl Default for Tls {
    fn default() -> Self {
        Self { server_name: None, verify: true, roots: None, identity: None }
    }
}

impl Tls {
    /// Sends and checks this name instead of the request's host.
    #[must_use]
    pub fn server_name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Does not check the certificate.
    #[must_use]
    pub fn without_verification(mut self) -> Self {
        self.verify = false;
        self
    }

    /// Believes these authorities, and not those that the system trusts.
    #[must_use]
    pub fn roots(mut self, roots: Roots) -> Self {
        self.roots = Some(roots);
        self
    }

    /// Shows this certificate to a server that asks for one.
    #[must_use]
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }
}

/// Certificates of authorities. Every one of them can be used; a clone costs a reference count.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Roots(Arc<Blobs>);

impl Roots {
    /// Reads certificates in PEM ([RFC 7468](https://www.rfc-editor.org/rfc/rfc7468)).
    ///
    /// # Errors
    /// There is none among them, or one that names no authority.
    pub fn from_pem(text: &[u8]) -> Result<Self, TlsError> {
        let certificates = certificates(text)?;
        let mut store = RootCertStore::empty();
        for (index, certificate) in certificates.iter().enumerate() {
            let added = store.add(certificate.clone());
            added.map_err(|source| TlsError::Root { number: index + 1, source })?;
        }
        Ok(Self(Blobs::new(certificates.iter().map(|certificate| certificate.to_vec()).collect())))
    }

    /// The certificates, each in DER.
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.0.der
    }
}

/// A certificate and its private key. They fit; a clone costs a reference count.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    chain: Arc<Blobs>,
    key: Arc<Blobs>,
}

impl Identity {
    /// Reads a certificate with those between it and its authority, the first being its own, and its private key, both in
    /// PEM.
    ///
    /// # Errors
    /// One of them is missing or cannot be used, or they do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = certificates(chain)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(TlsError::Key)?;
        let blobs = chain.iter().map(|certificate| certificate.to_vec()).collect();
        let secret = key.secret_der().to_vec();
        CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(TlsError::Pair)?;
        Ok(Self { chain: Blobs::new(blobs), key: Blobs::new(vec![secret]) })
    }

    /// The certificates, each in DER.
    pub fn chain(&self) -> &[Vec<u8>] {
        &self.chain.der
    }

    /// The private key in DER. Not to be shown to anyone.
    pub fn key(&self) -> &[u8] {
        &self.key.der[0]
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Roots({})", self.0.der.len())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

/// Bytes that are compared and hashed often, and read once.
struct Blobs {
    der: Vec<Vec<u8>>,
    hash: u64,
}

impl Blobs {
    fn new(der: Vec<Vec<u8>>) -> Arc<Self> {
        let mut hasher = DefaultHasher::new();
        der.hash(&mut hasher);
        Arc::new(Self { hash: hasher.finish(), der })
    }
}

impl PartialEq for Blobs {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || (self.hash == other.hash && self.der == other.der)
    }
}

impl Eq for Blobs {}

impl Hash for Blobs {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.hash.hash(state);
    }
}

/// The keys of a plugin's table that are about TLS, for [`read`](Self::read) to make [`Tls`] of.
#[derive(Clone, Copy, Debug, Default)]
pub struct TlsKeys<'a> {
    /// The name that the certificate must have.
    pub server_name: Option<&'a str>,
    /// Whether the certificate is not checked.
    pub is_unverified: bool,
    /// File with certificates of authorities.
    pub ca: Option<&'a Path>,
    /// File with the certificate to show.
    pub certificate: Option<&'a Path>,
    /// File with its private key.
    pub key: Option<&'a Path>,
}

impl TlsKeys<'_> {
    /// The first key that is given at all, for a table in which none may be.
    pub fn given(&self) -> Option<&'static str> {
        let given = [
            ("server_name", self.server_name.is_some()),
            ("verify", self.is_unverified),
            ("ca", self.ca.is_some()),
            ("certificate", self.certificate.is_some()),
            ("key", self.key.is_some()),
        ];
        given.iter().find(|(_, is_given)| *is_given).map(|(key, _)| *key)
    }

    /// Reads the files, and asks for a reload when one of them changes. For [`Plugin::build`](crate::Plugin::build).
    ///
    /// # Errors
    /// The key that is to blame, and why.
    pub fn read(&self, cx: &mut BuildCx<'_>) -> Result<Tls, (&'static str, TlsError)> {
        let mut tls = Tls::default();
        if let Some(name) = self.server_name {
            ServerName::try_from(name).map_err(|_error| ("server_name", TlsError::Name))?;
            tls = tls.server_name(name);
        }
        if let Some(path) = self.ca {
            if self.is_unverified {
                return Err(("ca", TlsError::Unused));
            }
            let roots = file(path, cx).and_then(|text| Roots::from_pem(&text));
            tls = tls.roots(roots.map_err(|error| ("ca", error))?);
        }
        if self.is_unverified {
            tls = tls.without_verification();
        }
        match (self.certificate, self.key) {
            (None, None) => {}
            (Some(chain), Some(key)) => {
                let chain = file(chain, cx).map_err(|error| ("certificate", error))?;
                let key = file(key, cx).map_err(|error| ("key", error))?;
                tls = tls.identity(Identity::from_pem(&chain, &key).map_err(|error| (error.blamed(), error))?);
            }
            (Some(_), None) => return Err(("certificate", TlsError::Lonely)),
            (None, Some(_)) => return Err(("key", TlsError::Lonely)),
        }
        Ok(tls)
    }
}

/// Why keys about TLS cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The name can stand in no certificate.
    #[error("this is neither a host name nor an address")]
    Name,
    /// A file cannot be read.
    #[error("`{}` cannot be read: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not PEM.
    #[error("a certificate is malformed: {0}")]
    Pem(pem::Error),
    /// It holds no certificate.
    #[error("there is no certificate in PEM")]
    Empty,
    /// A certificate is not that of an authority.
    #[error("certificate {number} cannot be an authority's: {source}")]
    Root {
        /// Which, counted from 1.
        number: usize,
        /// Why.
        source: rustls::Error,
    },
    /// It holds no private key, or one that cannot be read.
    #[error("there is no private key in PEM: {0}")]
    Key(pem::Error),
    /// Certificate and key cannot be used together.
    #[error("the key cannot be used with the certificate: {0}")]
    Pair(rustls::Error),
    /// One of two keys that go together is missing.
    #[error("`certificate` and `key` go together")]
    Lonely,
    /// Nothing is checked, so nobody needs to be believed.
    #[error("with `verify = false` nothing is checked, and this would never be used")]
    Unused,
}

impl TlsError {
    fn blamed(&self) -> &'static str {
        if matches!(self, Self::Key(_) | Self::Pair(_)) { "key" } else { "certificate" }
    }
}

fn file(path: &Path, cx: &mut BuildCx<'_>) -> Result<Vec<u8>, TlsError> {
    cx.watch_file(path);
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().map_err(TlsError::Pem)?;
    if certificates.is_empty() { Err(TlsError::Empty) } else { Ok(certificates) }
}
