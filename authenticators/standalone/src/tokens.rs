//! The tokens that are present, in memory.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{PoisonError, RwLock},
};

use authenticator_api::{Challenge, DomainName, Error, KeyAuthorization, Token};

/// Tokens with their answers; every method takes a short lock and no other.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    present: RwLock<HashMap<Token, Entry>>,
}

#[derive(Debug)]
struct Entry {
    key_authorization: KeyAuthorization,
    /// Who wants it: the answer goes when the last of them is cleaned up.
    domains: BTreeSet<DomainName>,
}

impl Tokens {
    pub(crate) fn insert(&self, challenge: &Challenge) -> Result<(), Error> {
        // A poisoned map is whole: no code between lock and unlock can leave it half changed.
        let mut present = self.present.write().unwrap_or_else(PoisonError::into_inner);
        let entry = present.entry(challenge.token.clone()).or_insert_with(|| Entry {
            key_authorization: challenge.key_authorization.clone(),
            domains: BTreeSet::new(),
        });
        if entry.key_authorization != challenge.key_authorization {
            return Err(Error::Conflict { token: challenge.token.clone() });
        }
        entry.domains.insert(challenge.domain.clone());
        Ok(())
    }

    pub(crate) fn get(&self, token: &Token) -> Option<KeyAuthorization> {
        let present = self.present.read().unwrap_or_else(PoisonError::into_inner);
        present.get(token).map(|entry| entry.key_authorization.clone())
    }

    pub(crate) fn remove(&self, challenge: &Challenge) {
        let mut present = self.present.write().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = present.get_mut(&challenge.token) else { return };
        if entry.key_authorization == challenge.key_authorization {
            entry.domains.remove(&challenge.domain);
            if entry.domains.is_empty() {
                present.remove(&challenge.token);
            }
        }
    }
}
