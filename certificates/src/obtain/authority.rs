//! Where a certificate comes from, and on which terms.

use std::fmt;

use base64::{
    Engine as _,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use crate::Internal;

/// Where a certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Issuer {
    /// A certificate authority that speaks ACME.
    Acme(Authority),
    /// This machine itself. After others it is for want of anything better: it issues only where no good certificate is, and
    /// for a day at most, so that the others are asked again soon.
    Internal(Internal),
}

impl Issuer {
    /// The directory URL, or [`Internal::SERVER`].
    pub fn server(&self) -> &str {
        match self {
            Self::Acme(authority) => &authority.directory,
            Self::Internal(_) => Internal::SERVER,
        }
    }
}

impl From<Authority> for Issuer {
    fn from(authority: Authority) -> Self {
        Self::Acme(authority)
    }
}

/// A certificate authority, and what is agreed with it. Each has an account of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authority {
    /// Its directory URL.
    pub directory: String,
    /// What the account is called that is to be used ([`StoredAccount::id`](crate::StoredAccount::id)); without, the one that
    /// there is.
    pub account: Option<String>,
    /// `mailto:` URLs for the account; may be empty.
    pub contact: Vec<String>,
    /// Whether the operator agrees to its terms.
    pub agree_to_terms: bool,
    /// The account that the operator has with it by other means (RFC 8555 §7.3.4).
    pub external_account: Option<ExternalAccount>,
    /// The kind of certificate, where it offers several.
    pub profile: Option<Profile>,
    /// Common name of the root that the chain should lead to, where it offers several chains.
    pub preferred_chain: Option<String>,
}

/// A kind of certificate, by the name that the authority's directory has for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Profile {
    /// This one where it is offered, else the authority's choice.
    Preferred(String),
    /// This one or no certificate.
    Required(String),
}

/// An account with the authority that exists outside ACME, and the key that proves it.
#[derive(Clone, PartialEq, Eq)]
pub struct ExternalAccount {
    /// The key's name.
    pub key_id: String,
    key: Vec<u8>,
}

/// The key of an external account is not base64url.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key of the external account is not base64url")]
pub struct ExternalAccountError;

impl ExternalAccount {
    /// An account with its HMAC key in base64url, as authorities hand it out, with or without padding.
    ///
    /// # Errors
    ///
    /// The key is something else.
    pub fn new(key_id: &str, key: &str) -> Result<Self, ExternalAccountError> {
        let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let key = GeneralPurpose::new(&URL_SAFE, lenient).decode(key.trim()).map_err(|_error| ExternalAccountError)?;
        if key.is_empty() {
            return Err(ExternalAccountError);
        }
        Ok(Self { key_id: key_id.to_owned(), key })
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }
}

impl fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExternalAccount").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_with_and_without_padding_and_are_not_shown() {
        let account = ExternalAccount::new("kid-1", " AQIDBA== ").unwrap();
        assert_eq!(account.key, [1, 2, 3, 4]);
        assert_eq!(ExternalAccount::new("kid-1", "AQIDBA").unwrap(), account);
        assert!(!format!("{account:?}").contains("1, 2"));
        for wrong in ["", "a b", "+/+/"] {
            assert_eq!(ExternalAccount::new("kid-1", wrong), Err(ExternalAccountError), "{wrong:?}");
        }
    }
}
