//! The account at a certificate authority: made once, kept, used again.

use instant_acme::{Account, AccountCredentials, NewAccount};

use crate::{
    Client, Progress, Request, Store,
    obtain::{Observer, ObtainError, on_disk},
};

/// The stored account for the request's directory, or a new one. A new one is on disk before it is used.
pub(crate) async fn open(
    request: &Request,
    client: &Client,
    store: &Store,
    observer: &dyn Observer,
) -> Result<Account, ObtainError> {
    let builder = || Account::builder_with_http(Box::new(client.clone()));
    let directory = request.directory.clone();
    if let Some(text) = on_disk(store, move |store| store.account(&directory)).await?? {
        let credentials: AccountCredentials = serde_json::from_slice(&text)
            .map_err(|source| ObtainError::Account { path: store.account_file(&request.directory), source })?;
        let account = builder().from_credentials(credentials).await.map_err(ObtainError::acme("open the account"))?;
        observer.progress(Progress::AccountReused { url: account.id().to_owned() });
        return Ok(account);
    }
    // The authority's own word for where its terms are: never a URL from our source.
    let directory = client.get(&request.directory).await.map_err(|source| ObtainError::Transport { source })?;
    if let Some(terms) = directory["meta"]["termsOfService"].as_str()
        && !request.agree_to_terms
    {
        return Err(ObtainError::Terms { url: terms.to_owned() });
    }
    let contact: Vec<_> = request.contact.iter().map(String::as_str).collect();
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let created = builder().create(&new, request.directory.clone(), None).await;
    let (account, credentials) = created.map_err(ObtainError::acme("create an account"))?;
    let text = serde_json::to_vec_pretty(&credentials)
        .map_err(|source| ObtainError::Account { path: store.account_file(&request.directory), source })?;
    let directory = request.directory.clone();
    on_disk(store, move |store| store.save_account(&directory, &text)).await??;
    observer.progress(Progress::AccountCreated { url: account.id().to_owned() });
    Ok(account)
}
