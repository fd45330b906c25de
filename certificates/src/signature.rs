//! Signed requests (RFC 8555 §6.2) for what the ACME library has no call for: POST-as-GET of any URL.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{Client, TransportError};

/// An account's key and URL.
pub(crate) struct Signer {
    key: EcdsaKeyPair,
    account: String,
    random: SystemRandom,
}

/// Why a signed request has no good answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignedError {
    #[error("the key of the account cannot be used")]
    Key,
    #[error("the authority hands out no nonces")]
    Nonce,
    #[error("the URL {url} cannot be used")]
    Url { url: String, source: http::Error },
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("the authority refuses: {status} {detail}")]
    Refused { status: http::StatusCode, detail: String },
}

/// The stored form of an account, as the ACME library writes it.
#[derive(Deserialize)]
struct Credentials {
    id: String,
    key_pkcs8: String,
}

impl Signer {
    /// Signs as a stored account.
    pub(crate) fn new(credentials: &[u8]) -> Result<Self, SignedError> {
        let Credentials { id, key_pkcs8 } = serde_json::from_slice(credentials).map_err(|_error| SignedError::Key)?;
        let key = BASE64_URL_SAFE_NO_PAD.decode(key_pkcs8).map_err(|_error| SignedError::Key)?;
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key, &random);
        Ok(Self { key: key.map_err(|_error| SignedError::Key)?, account: id, random })
    }

    /// Fetches a document as the account (POST-as-GET, RFC 8555 §6.3).
    pub(crate) async fn fetch(&self, client: &Client, directory: &Value, url: &str) -> Result<Bytes, SignedError> {
        let mut nonce = self.fresh_nonce(client, directory).await?;
        // A good nonce may be refused (§6.5), with another one in the answer.
        for attempt in 1..=MOST_NONCES {
            let body = self.signed(&nonce, url)?;
            let request =
                Request::builder().method(Method::POST).uri(url).header(header::CONTENT_TYPE, "application/jose+json");
            let request = request.body(Full::new(Bytes::from(body.to_string())));
            let request = request.map_err(|source| SignedError::Url { url: url.to_owned(), source })?;
            let response = client.send(request).await?;
            if response.status().is_success() {
                return Ok(response.into_body());
            }
            let problem: Value = serde_json::from_slice(response.body()).unwrap_or_default();
            let is_nonce = problem["type"] == "urn:ietf:params:acme:error:badNonce";
            match nonce_of(&response) {
                Some(next) if is_nonce && attempt < MOST_NONCES => nonce = next,
                _ => {
                    let detail = problem["detail"].as_str().unwrap_or("without saying why").to_owned();
                    return Err(SignedError::Refused { status: response.status(), detail });
                }
            }
        }
        Err(SignedError::Nonce)
    }

    async fn fresh_nonce(&self, client: &Client, directory: &Value) -> Result<String, SignedError> {
        let url = directory["newNonce"].as_str().ok_or(SignedError::Nonce)?;
        let request = Request::builder().method(Method::HEAD).uri(url).body(Full::default());
        let request = request.map_err(|source| SignedError::Url { url: url.to_owned(), source })?;
        nonce_of(&client.send(request).await?).ok_or(SignedError::Nonce)
    }

    /// A JWS in its flattened form, with an empty payload.
    fn signed(&self, nonce: &str, url: &str) -> Result<Value, SignedError> {
        let header = json!({ "alg": "ES256", "kid": self.account, "nonce": nonce, "url": url });
        let protected = BASE64_URL_SAFE_NO_PAD.encode(header.to_string());
        let signature = self.key.sign(&self.random, format!("{protected}.").as_bytes());
        let signature = signature.map_err(|_error| SignedError::Key)?;
        Ok(json!({ "protected": protected, "payload": "", "signature": BASE64_URL_SAFE_NO_PAD.encode(signature) }))
    }
}

fn nonce_of(response: &http::Response<Bytes>) -> Option<String> {
    response.headers().get("replay-nonce")?.to_str().ok().map(str::to_owned)
}

const MOST_NONCES: u32 = 4;
