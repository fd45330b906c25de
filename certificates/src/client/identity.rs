//! Who signs what the ACME library sends. The library can sign with keys of P-256 only, and accounts that certbot made have RSA
//! keys: what it sends is signed anew, with the key of the account.

use std::sync::Arc;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use bytes::Bytes;
use serde_json::{Map, Value};

use crate::account::key::AccountKey;

/// An account that signs.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) key: Arc<AccountKey>,
    /// Its URL.
    pub(crate) account: String,
}

impl Identity {
    /// The same request, signed as this account; `None` when it is no signed request.
    pub(super) fn sign_anew(&self, body: &[u8]) -> Option<Bytes> {
        let signed: Value = serde_json::from_slice(body).ok()?;
        let header = BASE64_URL_SAFE_NO_PAD.decode(signed["protected"].as_str()?).ok()?;
        let mut header: Map<String, Value> = serde_json::from_slice(&header).ok()?;
        header.remove("jwk");
        header.insert("kid".to_owned(), self.account.as_str().into());
        let anew = self.key.jws(header, signed["payload"].as_str()?).ok()?;
        Some(Bytes::from(anew.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_library_signed_is_signed_as_the_account() {
        let key = |()| Arc::new(AccountKey::generate().unwrap());
        let (library, account) = (key(()), key(()));
        let header = [("nonce", "n"), ("url", "https://ca.example/order"), ("kid", "https://ca.example/other")];
        let header = header.map(|(name, value)| (name.to_owned(), Value::from(value)));
        let sent = library.jws(Map::from_iter(header), "cGF5bG9hZA").unwrap().to_string();
        let identity = Identity { key: account, account: "https://ca.example/account/1".to_owned() };
        let anew: Value = serde_json::from_slice(&identity.sign_anew(sent.as_bytes()).unwrap()).unwrap();
        let header = BASE64_URL_SAFE_NO_PAD.decode(anew["protected"].as_str().unwrap()).unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        assert_eq!((&header["kid"], &header["nonce"]), (&identity.account.as_str().into(), &"n".into()));
        assert_eq!((&header["url"], &anew["payload"]), (&"https://ca.example/order".into(), &"cGF5bG9hZA".into()));
        assert_eq!(identity.sign_anew(b"{}"), None);
    }
}
