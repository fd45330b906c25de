//! What a certificate says, and whether it is the one that was asked for.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use authenticator_api::DomainName;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use rcgen::{KeyPair, PublicKeyData as _};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};

/// The names of a certificate.
pub type Names = BTreeSet<DomainName>;

/// A certificate with what leads from it to a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) chain: String,
    pub(crate) names: Names,
    /// Names that nobody here can prove: wildcards and the like.
    pub(crate) others: Vec<String>,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
    /// Its name in renewal information (RFC 9773 §4.1); `None` when it does not say who issued it.
    pub(crate) id: Option<String>,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IssuedError {
    /// It is not PEM, or not a certificate.
    #[error("it is no certificate chain in PEM")]
    Unreadable,
    /// The key is another one's.
    #[error("it is not for our private key")]
    OtherKey,
    /// The private key cannot be read.
    #[error("the private key cannot be read")]
    Key,
    /// A name is missing.
    #[error("it does not name {name}")]
    MissingName {
        /// The name.
        name: DomainName,
    },
}

/// When the first certificate of a chain in PEM expires; `None` when there is none that can be read.
pub fn expiry(chain: &[u8]) -> Option<SystemTime> {
    let leaf = CertificateDer::pem_slice_iter(chain).next()?.ok()?;
    let (_, leaf) = X509Certificate::from_der(&leaf).ok()?;
    let seconds = u64::try_from(leaf.validity().not_after.timestamp()).ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

impl Issued {
    /// Reads a chain, leaf first, and checks that its leaf is for this key (PKCS #8 or SEC 1, PEM).
    pub(crate) fn read(fullchain: &str, key: &str) -> Result<Self, IssuedError> {
        let end = "-----END CERTIFICATE-----";
        let split = fullchain.find(end).map(|at| at + end.len()).ok_or(IssuedError::Unreadable)?;
        let (certificate, chain) = fullchain.split_at(split);
        for der in CertificateDer::pem_slice_iter(chain.as_bytes()) {
            der.map_err(|_error| IssuedError::Unreadable)?;
        }
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(|_error| IssuedError::Unreadable)?;
        let (_, leaf) = X509Certificate::from_der(&der).map_err(|_error| IssuedError::Unreadable)?;
        let public = public_key(key)?;
        if leaf.public_key().raw != public {
            return Err(IssuedError::OtherKey);
        }
        let alternative = leaf.subject_alternative_name().map_err(|_error| IssuedError::Unreadable)?;
        let general = alternative.iter().flat_map(|extension| &extension.value.general_names);
        let (mut names, mut others) = (Names::new(), Vec::new());
        for name in general {
            match name {
                GeneralName::DNSName(text) => match DomainName::parse(text) {
                    Ok(name) => _ = names.insert(name),
                    Err(_) => others.push((*text).to_owned()),
                },
                GeneralName::IPAddress(octets) => match address(octets) {
                    Some(address) => _ = names.insert(DomainName::from_address(address)),
                    None => others.push(name.to_string()),
                },
                other => others.push(other.to_string()),
            }
        }
        let moment = |time: x509_parser::time::ASN1Time| {
            SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
        };
        Ok(Self {
            names,
            others,
            not_before: moment(leaf.validity().not_before),
            not_after: moment(leaf.validity().not_after),
            certificate: format!("{}\n", certificate.trim()),
            chain: format!("{}\n", chain.trim()),
            id: id_of(&leaf),
        })
    }

    /// Checks that every one of these names is in it.
    pub(crate) fn covers<'n>(&self, names: impl IntoIterator<Item = &'n DomainName>) -> Result<(), IssuedError> {
        match names.into_iter().find(|name| !self.names.contains(*name)) {
            Some(name) => Err(IssuedError::MissingName { name: name.clone() }),
            None => Ok(()),
        }
    }
}

/// The address of four or sixteen octets (RFC 5280 §4.2.1.6).
fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_error| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

/// How renewal information names a certificate (RFC 9773 §4.1): key identifier of the issuer and serial number, each as the
/// octets that are in it, so a leading zero stays.
fn id_of(leaf: &X509Certificate<'_>) -> Option<String> {
    let issuer = leaf.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(identifier) => identifier.key_identifier.as_ref(),
        _ => None,
    })?;
    Some(format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(issuer.0), BASE64_URL_SAFE_NO_PAD.encode(leaf.raw_serial())))
}

/// The public key (SubjectPublicKeyInfo) of a private one. Keys that rcgen with ring cannot load, such as some RSA ones,
/// count as unreadable.
fn public_key(pem: &str) -> Result<Vec<u8>, IssuedError> {
    KeyPair::from_pem(pem).map(|pair| pair.subject_public_key_info()).map_err(|_error| IssuedError::Key)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 9773 appendix A.
    #[test]
    fn the_id_of_the_rfcs_example_is_the_rfcs() {
        let pem = "-----BEGIN CERTIFICATE-----\n\
            MIIBQzCB66ADAgECAgUAh2VDIDAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt\n\
            cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS\n\
            BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu\n\
            7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf\n\
            qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B\n\
            yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb\n\
            +FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK\n\
            -----END CERTIFICATE-----\n";
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let (_, leaf) = X509Certificate::from_der(&der).unwrap();
        assert_eq!(id_of(&leaf).as_deref(), Some("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyA"));
    }
}
