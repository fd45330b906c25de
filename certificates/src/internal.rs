//! A certificate authority of this machine's own, for machines that no public one can see.
//!
//! Its root is made once and kept in `lockgate/internal/` below the storage directory; whoever is to trust the certificates
//! takes `root.pem` from there. Certificates are short-lived and signed by the root itself: nobody can revoke them.

use std::{
    fs, io,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use authenticator_api::DomainName;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::{Store, StoreError, issued::Issued, obtain::ObtainError};

/// The internal authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Internal {
    /// How long its certificates are valid.
    pub life: Duration,
}

impl Internal {
    /// What stands where a directory URL would: in `renewal/NAME.conf`, as the server.
    pub const SERVER: &'static str = "internal";

    /// Makes a certificate for these names and a key for it (PEM); it needs no proof. Blocks on files.
    pub(crate) fn issue(
        self,
        store: &Store,
        names: &[DomainName],
        now: SystemTime,
    ) -> Result<(Issued, String), ObtainError> {
        let failed = |source| ObtainError::Key { source };
        let root = root(store, now + self.life)?;
        let names = names.iter().map(|name| name.as_str().to_owned());
        let mut params = CertificateParams::new(names.collect::<Vec<_>>()).map_err(failed)?;
        params.distinguished_name = DistinguishedName::new();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        // Clocks of clients are not exact.
        (params.not_before, params.not_after) = (date(now - SKEW), date(now + self.life));
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let leaf = params.signed_by(&key, &root.issuer).map_err(failed)?;
        let key = key.serialize_pem();
        Ok((Issued::read(&format!("{}{}", leaf.pem(), root.certificate), &key)?, key))
    }
}

impl Default for Internal {
    /// A week.
    fn default() -> Self {
        Self { life: 7 * DAY }
    }
}

impl Store {
    /// The root of the internal authority, once it has issued: what clients have to trust.
    pub fn internal_root(&self) -> PathBuf {
        self.own_directory().join("internal").join("root.pem")
    }
}

struct Root {
    /// PEM.
    certificate: String,
    issuer: rcgen::Issuer<'static, KeyPair>,
}

/// The stored root, or a new one where there is none, it is damaged, or it expires before `needed`.
fn root(store: &Store, needed: SystemTime) -> Result<Root, ObtainError> {
    let (certificate_file, key_file) = (store.internal_root(), store.internal_root().with_file_name("root.key"));
    let read = |path: &PathBuf| match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // A root that is there is not replaced because of a passing fault: clients trust it.
        Err(source) => Err(StoreError { action: "read", path: path.clone(), source }),
    };
    if let (Some(certificate), Some(key)) = (read(&certificate_file)?, read(&key_file)?) {
        match stored(&certificate, &key, needed) {
            Some(issuer) => return Ok(Root { certificate, issuer }),
            None => {
                let path = certificate_file.display();
                tracing::error!(target: "lockgate::certificates", %path, "the root of the internal authority is damaged or about to expire: a new one is made, which clients have to trust anew");
            }
        }
    }
    let failed = |source| ObtainError::Key { source };
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let text = key.serialize_pem();
    let now = SystemTime::now();
    // Two roots with one name would be mistaken for each other.
    let mut params = params_of(&format!("Lockgate internal authority {:08x}", crate::ledger::random() >> 32));
    (params.not_before, params.not_after) = (date(now - SKEW), date(needed.max(now) + ROOT_LIFE));
    let certificate = params.self_signed(&key).map_err(failed)?.pem();
    // The key first: a certificate whose key is another one's is damaged, a key without certificate is none.
    store.write_own(&key_file, text.as_bytes(), 0o600)?;
    store.write_own(&certificate_file, certificate.as_bytes(), 0o644)?;
    Ok(Root { certificate, issuer: rcgen::Issuer::new(params, key) })
}

/// A root that was read, when certificate and key fit and it is valid until `needed`.
fn stored(certificate: &str, key: &str, needed: SystemTime) -> Option<rcgen::Issuer<'static, KeyPair>> {
    // That they fit is what is looked at here too.
    let read = Issued::read(certificate, key).ok()?;
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).ok()?;
    let (_, parsed) = X509Certificate::from_der(&der).ok()?;
    let name = parsed.subject().iter_common_name().next()?.as_str().ok()?;
    (needed < read.not_after && parsed.is_ca()).then_some(())?;
    Some(rcgen::Issuer::new(params_of(name), KeyPair::from_pem(key).ok()?))
}

fn params_of(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn date(moment: SystemTime) -> OffsetDateTime {
    OffsetDateTime::from(moment)
}

const DAY: Duration = Duration::from_secs(86_400);
const SKEW: Duration = Duration::from_secs(300);
/// Ten years beyond the first certificate.
const ROOT_LIFE: Duration = Duration::from_secs(3650 * 86_400);

#[cfg(test)]
mod tests {
    use rustls::{
        RootCertStore,
        client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
        pki_types::{ServerName, UnixTime},
    };

    use super::*;

    fn names() -> Vec<DomainName> {
        vec![DomainName::parse("a.example").unwrap(), DomainName::from_address("192.0.2.1".parse().unwrap())]
    }

    /// Whether a client that trusts the root takes the certificate for the name.
    fn is_trusted(store: &Store, issued: &Issued, name: &'static str, when: SystemTime) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(store.internal_root()).unwrap()).unwrap();
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
        let leaf = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
        let since = UnixTime::since_unix_epoch(when.duration_since(SystemTime::UNIX_EPOCH).unwrap());
        verifier.verify_server_cert(&leaf, &[], &ServerName::try_from(name).unwrap(), &[], since).is_ok()
    }

    #[test]
    fn clients_that_trust_the_root_trust_every_certificate_after_a_restart_too() {
        let directory = test_support::scratch_dir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let now = SystemTime::now();
        let (first, _) = Internal::default().issue(&store, &names(), now).unwrap();
        let root = fs::read(store.internal_root()).unwrap();
        let store = Store::open(directory.path()).unwrap();
        let (second, _) = Internal::default().issue(&store, &names(), now).unwrap();
        assert_eq!(fs::read(store.internal_root()).unwrap(), root, "the root is made once");
        for issued in [&first, &second] {
            assert!(is_trusted(&store, issued, "a.example", now) && is_trusted(&store, issued, "192.0.2.1", now));
            assert!(!is_trusted(&store, issued, "b.example", now));
            assert!(!is_trusted(&store, issued, "a.example", now + 8 * DAY), "a week");
        }
        assert_ne!(first.id, second.id);
        use std::os::unix::fs::PermissionsExt as _;
        let key = fs::metadata(store.internal_root().with_file_name("root.key")).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_root_that_is_damaged_or_too_old_is_replaced() {
        let directory = test_support::scratch_dir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let now = SystemTime::now();
        Internal::default().issue(&store, &names(), now).unwrap();
        let good = fs::read(store.internal_root()).unwrap();
        let key = KeyPair::generate().unwrap().serialize_pem();
        for (file, damage) in [("root.pem", ""), ("root.key", "no key"), ("root.key", key.as_str())] {
            let before = fs::read(store.internal_root()).unwrap();
            fs::write(store.internal_root().with_file_name(file), damage).unwrap();
            let (issued, _) = Internal::default().issue(&store, &names(), now).unwrap();
            assert_ne!(fs::read(store.internal_root()).unwrap(), before, "{file}");
            assert!(is_trusted(&store, &issued, "a.example", now));
        }
        assert_ne!(fs::read(store.internal_root()).unwrap(), good);
        let later = now + ROOT_LIFE + DAY;
        let (issued, _) = Internal::default().issue(&store, &names(), later).unwrap();
        assert!(is_trusted(&store, &issued, "a.example", later));
    }
}
