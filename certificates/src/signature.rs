//! Signed requests (RFC 8555 §6.2) for what the ACME library has no call for: POST-as-GET of any URL, and an account for a key
//! that is on disk already.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::Full;
use ring::{
    digest::{SHA256, digest},
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Client, TransportError};

/// Signs as an account, or as a key that has none yet.
pub(crate) struct Signer {
    key: EcdsaKeyPair,
    /// Its URL.
    account: Option<String>,
    random: SystemRandom,
    /// One that is not used yet.
    nonce: Option<String>,
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
    #[error("the authority refuses")]
    Refused { source: instant_acme::Problem },
    #[error("the answer cannot be understood")]
    Nonsense { source: serde_json::Error },
}

/// The stored form of an account, as the ACME library writes it.
#[derive(Deserialize, Serialize)]
pub(crate) struct Credentials {
    /// Its URL.
    pub(crate) id: String,
    key_pkcs8: String,
    /// That of its authority.
    pub(crate) directory: Option<String>,
}

impl Credentials {
    /// Those of the account with this URL and key (PKCS #8).
    pub(crate) fn new(id: String, key: &[u8], directory: &str) -> Self {
        Self { id, key_pkcs8: BASE64_URL_SAFE_NO_PAD.encode(key), directory: Some(directory.to_owned()) }
    }
}

impl Signer {
    /// Signs as a stored account.
    pub(crate) fn new(credentials: &[u8]) -> Result<Self, SignedError> {
        let credentials: Credentials = serde_json::from_slice(credentials).map_err(|_error| SignedError::Key)?;
        let key = BASE64_URL_SAFE_NO_PAD.decode(credentials.key_pkcs8).map_err(|_error| SignedError::Key)?;
        Ok(Self { account: Some(credentials.id), ..Self::with_key(&key)? })
    }

    /// Signs as a key (PKCS #8), which has to be one of P-256.
    pub(crate) fn with_key(key: &[u8]) -> Result<Self, SignedError> {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key, &random);
        Ok(Self { key: key.map_err(|_error| SignedError::Key)?, account: None, random, nonce: None })
    }

    /// Fetches a document as the account (POST-as-GET, RFC 8555 §6.3).
    pub(crate) async fn fetch(
        &mut self,
        client: &Client,
        directory: &Value,
        url: &str,
    ) -> Result<Response<Bytes>, SignedError> {
        self.post(client, directory, url, "").await
    }

    /// The same for what is JSON.
    pub(crate) async fn fetch_document(
        &mut self,
        client: &Client,
        directory: &Value,
        url: &str,
    ) -> Result<(Value, Response<Bytes>), SignedError> {
        let response = self.fetch(client, directory, url).await?;
        let document = serde_json::from_slice(response.body()).map_err(|source| SignedError::Nonsense { source })?;
        Ok((document, response))
    }

    /// Sends a payload, which may be empty.
    pub(crate) async fn post(
        &mut self,
        client: &Client,
        directory: &Value,
        url: &str,
        payload: &str,
    ) -> Result<Response<Bytes>, SignedError> {
        // A good nonce may be refused (§6.5), with another one in the answer.
        for attempt in 1..=MOST_NONCES {
            let nonce = match self.nonce.take() {
                Some(nonce) => nonce,
                None => fresh_nonce(client, directory).await?,
            };
            let body = self.signed(&nonce, url, payload)?;
            let request =
                Request::builder().method(Method::POST).uri(url).header(header::CONTENT_TYPE, "application/jose+json");
            let request = request.body(Full::new(Bytes::from(body.to_string())));
            let request = request.map_err(|source| SignedError::Url { url: url.to_owned(), source })?;
            let response = client.send(request).await?;
            self.nonce = nonce_of(&response);
            if response.status().is_success() {
                return Ok(response);
            }
            let problem: instant_acme::Problem =
                serde_json::from_slice(response.body()).map_err(|source| SignedError::Nonsense { source })?;
            let is_nonce = problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:badNonce");
            if !is_nonce || attempt == MOST_NONCES {
                return Err(SignedError::Refused { source: problem });
            }
        }
        Err(SignedError::Nonce)
    }

    /// Says that this key is that of an account which is known by other means (RFC 8555 §7.3.4): signed with the key that
    /// goes with it.
    pub(crate) fn bound(&self, key_id: &str, key: &[u8], new_account: &str) -> Value {
        let header = json!({ "alg": "HS256", "kid": key_id, "url": new_account });
        let [protected, payload] = [header, self.public()].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
        let signature =
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), format!("{protected}.{payload}").as_bytes());
        json!({ "protected": protected, "payload": payload, "signature": BASE64_URL_SAFE_NO_PAD.encode(signature) })
    }

    /// The public key (RFC 7518 §6.2.1).
    fn public(&self) -> Value {
        let [x, y] = self.coordinates();
        json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y })
    }

    /// The thumbprint of the key ([RFC 7638](https://www.rfc-editor.org/rfc/rfc7638)), which key authorizations end with.
    pub(crate) fn thumbprint(&self) -> String {
        let [x, y] = self.coordinates();
        // The members in the order of their names, and no white space (§3): what JSON's writer does is its own affair.
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
    }

    fn coordinates(&self) -> [String; 2] {
        // After the octet that says "not compressed" come both coordinates (SEC 1 §2.3.3).
        let point = self.key.public_key().as_ref();
        let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len() / 2);
        [x, y].map(|coordinate| BASE64_URL_SAFE_NO_PAD.encode(coordinate))
    }

    /// A JWS in its flattened form.
    fn signed(&self, nonce: &str, url: &str, payload: &str) -> Result<Value, SignedError> {
        let header = match &self.account {
            Some(account) => json!({ "alg": "ES256", "kid": account, "nonce": nonce, "url": url }),
            None => json!({ "alg": "ES256", "jwk": self.public(), "nonce": nonce, "url": url }),
        };
        let [protected, payload] = [&header.to_string(), payload].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
        let signature = self.key.sign(&self.random, format!("{protected}.{payload}").as_bytes());
        let signature = signature.map_err(|_error| SignedError::Key)?;
        let signature = BASE64_URL_SAFE_NO_PAD.encode(signature);
        Ok(json!({ "protected": protected, "payload": payload, "signature": signature }))
    }
}

async fn fresh_nonce(client: &Client, directory: &Value) -> Result<String, SignedError> {
    let url = directory["newNonce"].as_str().ok_or(SignedError::Nonce)?;
    let request = Request::builder().method(Method::HEAD).uri(url).body(Full::default());
    let request = request.map_err(|source| SignedError::Url { url: url.to_owned(), source })?;
    nonce_of(&client.send(request).await?).ok_or(SignedError::Nonce)
}

fn nonce_of(response: &Response<Bytes>) -> Option<String> {
    response.headers().get("replay-nonce")?.to_str().ok().map(str::to_owned)
}

const MOST_NONCES: u32 = 4;
