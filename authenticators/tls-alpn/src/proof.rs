//! The certificate that proves control of a name ([RFC 8737 §3](https://www.rfc-editor.org/rfc/rfc8737#section-3)).

use authenticator_api::{Challenge, ChallengeCertificate, Error};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};

/// Makes the challenge's certificate: self-signed, for that name alone, with the digest of the key authorization in a
/// critical extension.
pub(crate) fn certificate(challenge: &Challenge) -> Result<ChallengeCertificate, Error> {
    let failed = |source: rcgen::Error| Error::Certificate { domain: challenge.domain.clone(), source: source.into() };
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = vec![match challenge.domain.address() {
        Some(address) => SanType::IpAddress(address),
        None => SanType::DnsName(challenge.domain.as_str().try_into().map_err(failed)?),
    }];
    let digest = ring::digest::digest(&ring::digest::SHA256, challenge.key_authorization.as_str().as_bytes());
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest.as_ref())];
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok(ChallengeCertificate {
        certificate: certificate.der().as_ref().into(),
        private_key: key.serialize_der().into_boxed_slice(),
    })
}
