//! The private keys of certificates.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_RSA_SHA256};

/// What kind of key a certificate has, and whether it stays the same from one to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyChoice {
    /// What kind.
    pub kind: KeyKind,
    /// Whether the key of the current certificate is used again. A new one is better, but for those whose clients know the key
    /// (DANE, pinning).
    pub is_reused: bool,
}

/// A kind of key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA with P-256.
    #[default]
    P256,
    /// ECDSA with P-384.
    P384,
    /// RSA. The crypto library makes no such keys: the one of the current certificate is used again.
    Rsa,
}

impl KeyChoice {
    /// A key (PKCS #8, PEM) for a new certificate, when the current one has this key.
    ///
    /// # Errors
    ///
    /// It cannot be made: see [`KeyKind::Rsa`].
    pub(crate) fn make(self, current: Option<&str>) -> Result<String, rcgen::Error> {
        let algorithm = match self.kind {
            KeyKind::P256 => &PKCS_ECDSA_P256_SHA256,
            KeyKind::P384 => &PKCS_ECDSA_P384_SHA384,
            KeyKind::Rsa => &PKCS_RSA_SHA256,
        };
        let is_reused = self.is_reused || self.kind == KeyKind::Rsa;
        // Of another kind than is wanted now it is no choice any more.
        let fits = |key: &&str| KeyPair::from_pem(key).is_ok_and(|key| key.is_compatible(algorithm));
        match current.filter(|_| is_reused).filter(fits) {
            Some(current) => Ok(current.to_owned()),
            None => Ok(KeyPair::generate_for(algorithm)?.serialize_pem()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_reused_where_that_is_wanted_and_it_is_of_the_kind() {
        let choice = |kind, is_reused| KeyChoice { kind, is_reused };
        let first = choice(KeyKind::P384, true).make(None).unwrap();
        assert!(KeyPair::from_pem(&first).unwrap().is_compatible(&PKCS_ECDSA_P384_SHA384));
        assert_eq!(choice(KeyKind::P384, true).make(Some(&first)).unwrap(), first);
        assert_ne!(choice(KeyKind::P384, false).make(Some(&first)).unwrap(), first);
        let other = choice(KeyKind::P256, true).make(Some(&first)).unwrap();
        assert!(KeyPair::from_pem(&other).unwrap().is_compatible(&PKCS_ECDSA_P256_SHA256));
        for none in [None, Some(first.as_str())] {
            assert!(choice(KeyKind::Rsa, false).make(none).is_err());
        }
    }
}
