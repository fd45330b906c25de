//! What an operator asks of an authority outside orders: accounts, and the end of certificates.

use std::{sync::Arc, time::Duration};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use http::header;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::{Value, json};

use crate::{
    Authority, Client, Lineage, Store, StoredAccount,
    account::key::AccountKey,
    obtain::{ObtainError, on_disk},
    persistence::Persistence,
    signature::{SignedError, Signer},
};

/// Asks authorities for what is no certificate.
#[derive(Clone, Copy)]
pub struct Administration<'a> {
    /// Talks to authorities.
    pub client: &'a Client,
    /// Keeps accounts and certificates. The caller holds its lock, but for what only asks.
    pub store: &'a Store,
    /// For how long questions are repeated that fail for reasons that pass.
    pub patience: Duration,
}

/// What an authority knows about an account (RFC 8555 §7.1.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountStatus {
    /// `valid`, `deactivated` or `revoked`.
    pub status: String,
    /// `mailto:` URLs.
    pub contact: Vec<String>,
}

/// Why a certificate is revoked (RFC 5280 §5.3.1): the reasons that authorities take from its owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RevocationReason {
    /// Nobody says.
    #[default]
    Unspecified = 0,
    /// The private key is, or may be, known to others.
    KeyCompromise = 1,
    /// The names are somebody else's now.
    AffiliationChanged = 3,
    /// Another certificate has taken its place.
    Superseded = 4,
    /// Nobody uses it any more.
    CessationOfOperation = 5,
}

impl Administration<'_> {
    /// Makes an account and stores it. Its key is on disk before the authority hears of it.
    ///
    /// # Errors
    ///
    /// The authority refuses, wants its terms agreed to or an external account, or cannot be reached; storage does not do as
    /// asked.
    pub async fn register(&self, authority: &Authority) -> Result<StoredAccount, ObtainError> {
        // The authority's own word for where its terms are: never a URL from our source.
        let directory = self.directory(&authority.directory).await?;
        if let Some(terms) = directory["meta"]["termsOfService"].as_str()
            && !authority.agree_to_terms
        {
            return Err(ObtainError::Terms { url: terms.to_owned() });
        }
        let needs_external = directory["meta"]["externalAccountRequired"].as_bool() == Some(true);
        if authority.external_account.is_none() && needs_external {
            return Err(ObtainError::ExternalAccount { directory: authority.directory.clone() });
        }
        let url = authority.directory.clone();
        let key = Arc::new(on_disk(self.store, move |store| store.account_key(&url)).await??);
        let url = self.asked_for(authority, &directory, &key).await?;
        let (directory, kept, at) = (authority.directory.clone(), Arc::clone(&key), url.clone());
        on_disk(self.store, move |store| store.save_account(&directory, &kept, &at)).await??;
        Ok(StoredAccount { id: key.id(), url, created: None, key })
    }

    /// Asks for an account with this key, and returns its URL: of a new one, or of the one that the key has already (RFC 8555
    /// §7.3). So nothing is lost by asking twice.
    async fn asked_for(
        &self,
        authority: &Authority,
        directory: &Value,
        key: &Arc<AccountKey>,
    ) -> Result<String, ObtainError> {
        let url = self.resource(directory, "newAccount", CREATE)?;
        let mut signer = Signer::with_key(Arc::clone(key));
        let mut payload = json!({ "termsOfServiceAgreed": true, "contact": authority.contact });
        if let Some(external) = &authority.external_account {
            payload["externalAccountBinding"] = signer.bound(&external.key_id, external.key(), &url);
        }
        let mut persistence = Persistence::new(self.patience);
        let answer = loop {
            match signer.post(self.client, directory, &url, &payload.to_string()).await {
                Ok(answer) => break answer,
                Err(error) => persistence.after(self.failed(CREATE, error)).await?,
            }
        };
        let id = answer.headers().get(header::LOCATION).and_then(|id| id.to_str().ok());
        id.map(str::to_owned).ok_or_else(|| protocol(CREATE, "an account without a URL"))
    }

    /// What the authority knows about an account.
    ///
    /// # Errors
    ///
    /// It cannot be reached, or knows of none.
    pub async fn status(&self, directory: &str, account: &StoredAccount) -> Result<AccountStatus, ObtainError> {
        self.changed(directory, account, "show the account", "").await
    }

    /// Replaces the contacts (`mailto:` URLs) of an account.
    ///
    /// # Errors
    ///
    /// See [`status`](Self::status); the authority may not like an address.
    pub async fn update(
        &self,
        directory: &str,
        account: &StoredAccount,
        contact: &[String],
    ) -> Result<AccountStatus, ObtainError> {
        self.changed(directory, account, "change the account", &json!({ "contact": contact }).to_string()).await
    }

    /// Ends an account for good (RFC 8555 §7.3.6), and forgets it. Its certificates stay valid.
    ///
    /// # Errors
    ///
    /// See [`status`](Self::status); storage does not do as asked.
    pub async fn deactivate(&self, directory: &str, account: &StoredAccount) -> Result<(), ObtainError> {
        let payload = json!({ "status": "deactivated" }).to_string();
        let ended = self.changed(directory, account, "deactivate the account", &payload).await;
        // One that was deactivated by a run that did not come to its end is refused everything.
        if !matches!(&ended, Err(ObtainError::Refused { kind, .. }) if kind == "unauthorized") {
            ended?;
        }
        let (directory, id) = (directory.to_owned(), account.id.clone());
        Ok(on_disk(self.store, move |store| store.forget_account(&directory, &id)).await??)
    }

    /// Tells the authority that nobody is to trust the version in use any more (RFC 8555 §7.6), as the account that it was
    /// obtained with, or one that has proven its names since.
    ///
    /// # Errors
    ///
    /// The authority refuses or cannot be reached, or the certificate cannot be read.
    pub async fn revoke(
        &self,
        directory: &str,
        account: &StoredAccount,
        lineage: &Lineage,
        reason: RevocationReason,
    ) -> Result<(), ObtainError> {
        let version = lineage.clone();
        let (chain, _) = on_disk(self.store, move |store| store.pem(&version)).await??;
        let unreadable = |_error| ObtainError::Issued { source: crate::IssuedError::Unreadable };
        let leaf = CertificateDer::from_pem_slice(&chain).map_err(unreadable)?;
        let resources = self.directory(directory).await?;
        let url = self.resource(&resources, "revokeCert", REVOKE)?;
        let payload = json!({ "certificate": BASE64_URL_SAFE_NO_PAD.encode(&leaf), "reason": reason as u8 });
        match self.posted(&resources, account, &url, REVOKE, &payload.to_string()).await {
            // Somebody did so before.
            Err(ObtainError::Refused { kind, .. }) if kind == "alreadyRevoked" => Ok(()),
            done => done.map(|_| ()),
        }
    }

    async fn changed(
        &self,
        directory: &str,
        account: &StoredAccount,
        action: &'static str,
        payload: &str,
    ) -> Result<AccountStatus, ObtainError> {
        let resources = self.directory(directory).await?;
        let answer = self.posted(&resources, account, &account.url, action, payload).await?;
        let document: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        let contact = document["contact"].as_array().into_iter().flatten();
        Ok(AccountStatus {
            status: document["status"].as_str().unwrap_or("valid").to_owned(),
            contact: contact.filter_map(Value::as_str).map(str::to_owned).collect(),
        })
    }

    async fn posted(
        &self,
        directory: &Value,
        account: &StoredAccount,
        url: &str,
        action: &'static str,
        payload: &str,
    ) -> Result<http::Response<bytes::Bytes>, ObtainError> {
        let mut signer = Signer::new(Arc::clone(&account.key), account.url.clone());
        let mut persistence = Persistence::new(self.patience);
        loop {
            match signer.post(self.client, directory, url, payload).await {
                Ok(answer) => return Ok(answer),
                Err(error) => persistence.after(self.failed(action, error)).await?,
            }
        }
    }

    async fn directory(&self, url: &str) -> Result<Value, ObtainError> {
        self.client.get(url).await.map_err(|source| ObtainError::Transport { source })
    }

    fn resource(&self, directory: &Value, name: &str, action: &'static str) -> Result<String, ObtainError> {
        let url = directory[name].as_str().map(str::to_owned);
        url.ok_or_else(|| protocol(action, "the directory does not say where"))
    }

    fn failed(&self, action: &'static str, error: SignedError) -> ObtainError {
        match error {
            SignedError::Transport(source) => ObtainError::Transport { source },
            SignedError::Refused { source } => {
                ObtainError::acme(action, instant_acme::Error::Api(source)).answered_by(&self.client.last_answer())
            }
            other => ObtainError::Protocol { action, source: instant_acme::Error::Other(Box::new(other)) },
        }
    }
}

fn protocol(action: &'static str, text: &'static str) -> ObtainError {
    ObtainError::Protocol { action, source: instant_acme::Error::Str(text) }
}

const CREATE: &str = "create an account";
const REVOKE: &str = "revoke the certificate";
