//! The account at a certificate authority: made once, kept, used again.

use http::header;
use instant_acme::{Account, AccountCredentials};
use serde_json::{Value, json};

use crate::{
    Authority, Progress,
    obtain::{ObtainError, Peers, on_disk},
    signature::{Credentials, SignedError, Signer},
};

/// An account that can be used.
pub(crate) struct Opened {
    pub(crate) account: Account,
    /// As it is stored, with its key.
    pub(crate) credentials: Vec<u8>,
}

/// The stored account for the authority's directory, or a new one. A new one is on disk before it is used, and its key before
/// the authority hears of it: an account whose answer was lost is found again by its key.
pub(crate) async fn open(authority: &Authority, peers: &Peers<'_>) -> Result<Opened, ObtainError> {
    let Peers { client, store, observer, .. } = peers;
    let directory = authority.directory.clone();
    let (credentials, is_new) = match on_disk(store, move |store| store.account(&directory)).await?? {
        Some(text) => (text, false),
        None => (create(authority, peers).await?, true),
    };
    let unusable = |source| ObtainError::Account { path: store.account_file(&authority.directory), source };
    let read: AccountCredentials = serde_json::from_slice(&credentials).map_err(unusable)?;
    let builder = Account::builder_with_http(Box::new((*client).clone()));
    let account = builder.from_credentials(read).await.map_err(|error| peers.explain("open the account", error))?;
    let url = account.id().to_owned();
    observer.progress(if is_new { Progress::AccountCreated { url } } else { Progress::AccountReused { url } });
    Ok(Opened { account, credentials })
}

/// Makes an account and stores it; returns what is stored.
async fn create(authority: &Authority, peers: &Peers<'_>) -> Result<Vec<u8>, ObtainError> {
    let Peers { client, store, .. } = peers;
    // The authority's own word for where its terms are: never a URL from our source.
    let directory = client.get(&authority.directory).await.map_err(|source| ObtainError::Transport { source })?;
    if let Some(terms) = directory["meta"]["termsOfService"].as_str()
        && !authority.agree_to_terms
    {
        return Err(ObtainError::Terms { url: terms.to_owned() });
    }
    if authority.external_account.is_none() && directory["meta"]["externalAccountRequired"].as_bool() == Some(true) {
        return Err(ObtainError::ExternalAccount { directory: authority.directory.clone() });
    }
    let url = authority.directory.clone();
    let key = on_disk(store, move |store| store.account_key(&url)).await??;
    let id = register(authority, &directory, &key, peers).await?;
    let credentials = Credentials::new(id, &key, &authority.directory);
    let unusable = |source| ObtainError::Account { path: store.account_file(&authority.directory), source };
    let credentials = serde_json::to_vec_pretty(&credentials).map_err(unusable)?;
    let (url, text) = (authority.directory.clone(), credentials.clone());
    on_disk(store, move |store| store.save_account(&url, &text)).await??;
    Ok(credentials)
}

/// Asks for an account with this key, and returns its URL: of a new one, or of the one that the key has already (RFC 8555
/// §7.3). So nothing is lost by asking twice.
async fn register(
    authority: &Authority,
    directory: &Value,
    key: &[u8],
    peers: &Peers<'_>,
) -> Result<String, ObtainError> {
    let protocol = |text| ObtainError::Protocol { action: CREATE, source: instant_acme::Error::Str(text) };
    let url = directory["newAccount"].as_str().ok_or_else(|| protocol("the directory has no newAccount"))?;
    let failed = |error| match error {
        SignedError::Transport(source) => ObtainError::Transport { source },
        SignedError::Refused { source } => peers.explain(CREATE, instant_acme::Error::Api(source)),
        other => ObtainError::Protocol { action: CREATE, source: instant_acme::Error::Other(Box::new(other)) },
    };
    let mut signer = Signer::with_key(key).map_err(failed)?;
    let mut payload = json!({ "termsOfServiceAgreed": true, "contact": authority.contact });
    if let Some(external) = &authority.external_account {
        payload["externalAccountBinding"] = signer.bound(&external.key_id, external.key(), url);
    }
    let mut persistence = peers.persistence();
    let answer = loop {
        match signer.post(peers.client, directory, url, &payload.to_string()).await {
            Ok(answer) => break answer,
            Err(error) => persistence.after(failed(error)).await?,
        }
    };
    let id = answer.headers().get(header::LOCATION).and_then(|id| id.to_str().ok());
    id.map(str::to_owned).ok_or_else(|| protocol("an account without a URL"))
}

const CREATE: &str = "create an account";
