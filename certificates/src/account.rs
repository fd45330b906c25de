//! The account at a certificate authority: made once, kept, used again.

use instant_acme::{Account, AccountCredentials, NewAccount};

use crate::{
    Authority, Progress,
    obtain::{ObtainError, Peers, on_disk},
};

/// An account that can be used.
pub(crate) struct Opened {
    pub(crate) account: Account,
    /// As it is stored, with its key.
    pub(crate) credentials: Vec<u8>,
}

/// The stored account for the authority's directory, or a new one. A new one is on disk before it is used.
pub(crate) async fn open(authority: &Authority, peers: &Peers<'_>) -> Result<Opened, ObtainError> {
    let Peers { client, store, observer, .. } = peers;
    let builder = || Account::builder_with_http(Box::new((*client).clone()));
    let unusable = |source| ObtainError::Account { path: store.account_file(&authority.directory), source };
    let directory = authority.directory.clone();
    if let Some(text) = on_disk(store, move |store| store.account(&directory)).await?? {
        let credentials: AccountCredentials = serde_json::from_slice(&text).map_err(unusable)?;
        let account = builder().from_credentials(credentials).await.map_err(ObtainError::acme("open the account"))?;
        observer.progress(Progress::AccountReused { url: account.id().to_owned() });
        return Ok(Opened { account, credentials: text });
    }
    // The authority's own word for where its terms are: never a URL from our source.
    let directory = client.get(&authority.directory).await.map_err(|source| ObtainError::Transport { source })?;
    if let Some(terms) = directory["meta"]["termsOfService"].as_str()
        && !authority.agree_to_terms
    {
        return Err(ObtainError::Terms { url: terms.to_owned() });
    }
    let external = authority.external_account.as_ref().map(crate::ExternalAccount::key);
    if external.is_none() && directory["meta"]["externalAccountRequired"].as_bool() == Some(true) {
        return Err(ObtainError::ExternalAccount { directory: authority.directory.clone() });
    }
    let contact: Vec<_> = authority.contact.iter().map(String::as_str).collect();
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let created = builder().create(&new, authority.directory.clone(), external.as_ref()).await;
    let (account, credentials) = created.map_err(ObtainError::acme("create an account"))?;
    let credentials = serde_json::to_vec_pretty(&credentials).map_err(unusable)?;
    let (directory, text) = (authority.directory.clone(), credentials.clone());
    on_disk(store, move |store| store.save_account(&directory, &text)).await??;
    observer.progress(Progress::AccountCreated { url: account.id().to_owned() });
    Ok(Opened { account, credentials })
}
