//! What is shown for a name that has no certificate yet: one that we made ourselves and that nobody believes. TLS is up from
//! the first second, and what is wrong is plain to see.

use proxy_core::ServerCertificate;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};

/// A self-signed certificate for these names (those of them that can stand in one).
pub(super) fn make(names: &[String]) -> Option<ServerCertificate> {
    let made = || {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, NAME);
        let certificate = params.self_signed(&key)?;
        Ok::<_, rcgen::Error>((certificate.pem(), key.serialize_pem()))
    };
    match made() {
        Ok((certificate, key)) => ServerCertificate::from_pem(certificate.as_bytes(), key.as_bytes()).ok(),
        Err(error) => {
            tracing::error!(target: "lockgate::certificates", %error, "not even a placeholder for a certificate can be made");
            None
        }
    }
}

/// So that people who look at it know what they see.
const NAME: &str = "Lockgate placeholder, no certificate yet";

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_for_the_names_that_it_stands_in_for() {
        let made = super::make(&["a.example".to_owned(), "192.0.2.1".to_owned()]).unwrap();
        assert_eq!(made.names().collect::<Vec<_>>(), ["a.example"]);
        assert!(super::make(&[]).is_some());
    }
}
