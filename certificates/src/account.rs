//! The account at a certificate authority: made once, kept, used again.

pub(crate) mod key;

use std::sync::Arc;

use instant_acme::Account;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use rustls::pki_types::PrivatePkcs8KeyDer;

use crate::{
    Authority, Progress, StoredAccount,
    client::Identity,
    obtain::{ObtainError, Peers, on_disk},
    signature::Signer,
};

/// An account that can be used.
pub(crate) struct Opened {
    pub(crate) account: Account,
    pub(crate) stored: StoredAccount,
}

impl Opened {
    /// Somebody who signs as this account.
    pub(crate) fn signer(&self) -> Signer {
        Signer::new(Arc::clone(&self.stored.key), self.stored.url.clone())
    }

    /// What proves to the authority that a challenge is answered for this account (RFC 8555 §8.1).
    pub(crate) fn key_authorization(&self, token: &str) -> String {
        format!("{token}.{}", self.stored.key.thumbprint())
    }
}

/// The stored account for the authority's directory, or a new one. A new one is on disk before it is used, and its key before
/// the authority hears of it: an account whose answer was lost is found again by its key.
///
/// Of several, the one that the authority is configured with, else the one that a lineage was obtained with, else the newest.
pub(crate) async fn open(authority: &Authority, lineage: &str, peers: &Peers<'_>) -> Result<Opened, ObtainError> {
    let Peers { client, observer, .. } = peers;
    let stored = choose(authority, lineage, peers).await?;
    let (stored, is_new) = match stored {
        Some(stored) => (stored, false),
        None => (peers.administration().register(authority).await?, true),
    };
    let identity = Identity { key: Arc::clone(&stored.key), account: stored.url.clone() };
    let builder = Account::builder_with_http(Box::new(client.signing_as(identity)));
    let nobodys = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    let nobodys = nobodys.map_err(|_error| ObtainError::Interrupted)?;
    // Its signatures are replaced by those of the identity.
    let key = PrivatePkcs8KeyDer::from(nobodys.as_ref());
    let account = builder.from_parts(stored.url.clone(), key, authority.directory.clone()).await;
    let account = account.map_err(|error| peers.explain("open the account", error))?;
    let url = stored.url.clone();
    observer.progress(if is_new { Progress::AccountCreated { url } } else { Progress::AccountReused { url } });
    Ok(Opened { account, stored })
}

async fn choose(authority: &Authority, lineage: &str, peers: &Peers<'_>) -> Result<Option<StoredAccount>, ObtainError> {
    let (directory, name) = (authority.directory.clone(), lineage.to_owned());
    let look = move |store: &crate::Store| Ok((store.accounts(&directory)?, store.account_of(&name)));
    let (mut found, lineages) = on_disk(peers.store, look).await?.map_err(ObtainError::Store)?;
    let mut named = |id: &str| {
        let at = found.usable.iter().position(|account| account.id == id)?;
        Some(found.usable.swap_remove(at))
    };
    if let Some(id) = &authority.account {
        let directory = authority.directory.clone();
        return named(id).map(Some).ok_or_else(|| ObtainError::NoAccount { id: id.clone(), directory });
    }
    if let Some(account) = lineages.and_then(|id| named(&id)) {
        return Ok(Some(account));
    }
    match (found.usable.pop(), found.damaged.pop()) {
        (None, Some(path)) => Err(ObtainError::Account { path }),
        (newest, _) => Ok(newest),
    }
}
