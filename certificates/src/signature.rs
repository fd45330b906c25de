//! Signed requests (RFC 8555 §6.2) for what the ACME library has no call for: POST-as-GET of any URL, and an account for a key
//! that is on disk already.

use std::sync::Arc;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::Full;
use ring::hmac;
use serde_json::{Map, Value, json};

use crate::{
    Client, TransportError,
    account::key::{AccountKey, KeyError},
};

/// Signs as an account, or as a key that has none yet.
pub(crate) struct Signer {
    key: Arc<AccountKey>,
    /// Its URL.
    account: Option<String>,
    /// One that is not used yet.
    nonce: Option<String>,
}

/// Why a signed request has no good answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignedError {
    #[error("the key of the account cannot be used")]
    Key(#[from] KeyError),
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

impl Signer {
    /// Signs as the account with this URL.
    pub(crate) fn new(key: Arc<AccountKey>, account: String) -> Self {
        Self { account: Some(account), ..Self::with_key(key) }
    }

    /// Signs as a key.
    pub(crate) fn with_key(key: Arc<AccountKey>) -> Self {
        Self { key, account: None, nonce: None }
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
        let [protected, payload] =
            [header, self.key.public()].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
        let signature =
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), format!("{protected}.{payload}").as_bytes());
        json!({ "protected": protected, "payload": payload, "signature": BASE64_URL_SAFE_NO_PAD.encode(signature) })
    }

    /// A JWS in its flattened form.
    fn signed(&self, nonce: &str, url: &str, payload: &str) -> Result<Value, SignedError> {
        let mut header = Map::from_iter([("nonce".to_owned(), nonce.into()), ("url".to_owned(), url.into())]);
        match &self.account {
            Some(account) => header.insert("kid".to_owned(), account.as_str().into()),
            None => header.insert("jwk".to_owned(), self.key.public()),
        };
        Ok(self.key.jws(header, &BASE64_URL_SAFE_NO_PAD.encode(payload))?)
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
