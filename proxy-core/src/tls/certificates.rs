//! All certificates of a program, and which of them a client is shown.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    SignatureScheme,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::ServerCertificate;

/// The certificates that clients are shown, by the name that they ask for (SNI,
/// [RFC 6066 §3](https://www.rfc-editor.org/rfc/rfc6066#section-3)).
///
/// One for a whole program, across reloads. What is shown is replaced as a whole; a handshake under way goes on with what it
/// began with. Of several certificates for one name the first is shown whose key the client can check, so one name can have
/// an ECDSA and an RSA certificate.
#[derive(Default)]
pub struct ServerCertificates {
    shown: ArcSwap<Shown>,
    proofs: ArcSwap<Proofs>,
}

/// Finds the certificate that proves control of a name to an authority (TLS-ALPN-01,
/// [RFC 8737](https://www.rfc-editor.org/rfc/rfc8737)). Called in the middle of a handshake: it must not wait.
pub struct Proofs(Box<Find>);

type Find = dyn Fn(&str) -> Option<ServerCertificate> + Send + Sync;

#[derive(Default)]
struct Shown {
    by_name: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
    all: Vec<ServerCertificate>,
}

impl ServerCertificates {
    /// Shows nothing yet: every handshake fails.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Shows these from now on. The first is the one for clients that name no host, or one that no certificate is for.
    pub fn show(&self, certificates: Vec<ServerCertificate>) {
        let mut by_name: HashMap<Box<str>, Vec<Arc<CertifiedKey>>> = HashMap::new();
        for certificate in &certificates {
            for name in certificate.names() {
                by_name.entry(name.into()).or_default().push(Arc::clone(certificate.certified()));
            }
        }
        self.shown.store(Arc::new(Shown { by_name, all: certificates }));
    }

    /// Asks this for proofs from now on.
    pub fn prove_by(&self, proofs: Proofs) {
        self.proofs.store(Arc::new(proofs));
    }

    /// What a client is shown that asks for this name.
    pub fn find(&self, server_name: Option<&str>) -> Option<ServerCertificate> {
        let shown = self.shown.load();
        let key = shown.find(server_name, None)?;
        shown.all.iter().find(|certificate| Arc::ptr_eq(certificate.certified(), &key)).cloned()
    }

    /// The proof for a name, while an authority may ask for it.
    pub(super) fn proof(&self, server_name: &str) -> Option<ServerCertificate> {
        (self.proofs.load().0)(server_name)
    }

    /// What a client is shown that names no host and has come to this address, if there is something of its own for it.
    pub(super) fn for_address(&self, address: IpAddr) -> Option<Arc<CertifiedKey>> {
        let shown = self.shown.load();
        let first = shown.all.first()?;
        if first.is_for_address(address) {
            return None;
        }
        let certificate = shown.all.iter().find(|certificate| certificate.is_for_address(address))?;
        Some(Arc::clone(certificate.certified()))
    }
}

impl Shown {
    fn find(&self, server_name: Option<&str>, schemes: Option<&[SignatureScheme]>) -> Option<Arc<CertifiedKey>> {
        let named = server_name.and_then(|name| {
            let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
            self.by_name.get(&*name).or_else(|| {
                let (_, parent) = name.split_once('.')?;
                self.by_name.get(&*format!("*.{parent}"))
            })
        });
        let suits = |key: &Arc<CertifiedKey>| schemes.is_none_or(|schemes| key.key.choose_scheme(schemes).is_some());
        match named {
            Some(keys) => keys.iter().find(|key| suits(key)).or(keys.first()).cloned(),
            None => {
                let mut all = self.all.iter().map(ServerCertificate::certified);
                let first = all.next()?;
                // The second best for a client that cannot check the first; the first says at least who is here.
                Some(if suits(first) { first } else { all.find(|key| suits(key)).unwrap_or(first) }.clone())
            }
        }
    }
}

impl ResolvesServerCert for ServerCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.shown.load().find(hello.server_name(), Some(hello.signature_schemes()))
    }
}

impl Proofs {
    /// Asks this function, with the name as it came in the handshake.
    pub fn new(find: impl Fn(&str) -> Option<ServerCertificate> + Send + Sync + 'static) -> Self {
        Self(Box::new(find))
    }
}

impl Default for Proofs {
    /// There are none.
    fn default() -> Self {
        Self::new(|_| None)
    }
}

impl std::fmt::Debug for ServerCertificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.shown.load().all).finish()
    }
}

#[cfg(test)]
mod tests;
