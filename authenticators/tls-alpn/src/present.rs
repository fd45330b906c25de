//! The challenges that are present, in memory.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use authenticator_api::{Challenge, ChallengeCertificate, DomainName, Error, KeyAuthorization, Token};

use crate::proof;

/// Challenges with their certificates, the newest last; every method takes a short lock and no other.
///
/// A list, as there are few: one for each name that is being proven at the moment.
#[derive(Debug, Default)]
pub(crate) struct Present {
    by_server_name: RwLock<HashMap<String, Vec<Entry>>>,
}

#[derive(Debug)]
struct Entry {
    domain: DomainName,
    token: Token,
    key_authorization: KeyAuthorization,
    certificate: Arc<ChallengeCertificate>,
}

impl Present {
    pub(crate) fn insert(&self, challenge: &Challenge) -> Result<(), Error> {
        if self.has(challenge)? {
            return Ok(());
        }
        // Without the lock: to make a key takes longer than a handshake should wait.
        let certificate = Arc::new(proof::certificate(challenge)?);
        let Challenge { domain, token, key_authorization } = challenge.clone();
        let entry = Entry { domain, token, key_authorization, certificate };
        // A poisoned map is whole: no code between lock and unlock can leave it half changed.
        let mut present = self.by_server_name.write().unwrap_or_else(PoisonError::into_inner);
        // Somebody may have been here in between.
        if !has(&present, challenge)? {
            present.entry(challenge.domain.server_name()).or_default().push(entry);
        }
        Ok(())
    }

    /// The certificate for a name as it comes in a handshake: that of its newest challenge. Two certificates cannot be shown
    /// at once, and the older one's validation, if it still goes on, is most likely over.
    pub(crate) fn certificate(&self, server_name: &str) -> Option<Arc<ChallengeCertificate>> {
        let present = self.by_server_name.read().unwrap_or_else(PoisonError::into_inner);
        let entries = present.get(server_name.trim_end_matches('.').to_ascii_lowercase().as_str())?;
        entries.last().map(|entry| Arc::clone(&entry.certificate))
    }

    pub(crate) fn get(&self, token: &Token) -> Option<KeyAuthorization> {
        let present = self.by_server_name.read().unwrap_or_else(PoisonError::into_inner);
        let mut entries = present.values().flatten();
        entries.find(|entry| entry.token == *token).map(|entry| entry.key_authorization.clone())
    }

    pub(crate) fn remove(&self, challenge: &Challenge) {
        let mut present = self.by_server_name.write().unwrap_or_else(PoisonError::into_inner);
        let server_name = challenge.domain.server_name();
        let Some(entries) = present.get_mut(&server_name) else { return };
        entries.retain(|entry| !entry.is(challenge));
        if entries.is_empty() {
            present.remove(&server_name);
        }
    }

    fn has(&self, challenge: &Challenge) -> Result<bool, Error> {
        has(&self.by_server_name.read().unwrap_or_else(PoisonError::into_inner), challenge)
    }
}

impl Entry {
    fn is(&self, challenge: &Challenge) -> bool {
        self.token == challenge.token
            && self.key_authorization == challenge.key_authorization
            && self.domain == challenge.domain
    }
}

/// Whether the challenge is present; an error when its token is, with another answer.
fn has(present: &HashMap<String, Vec<Entry>>, challenge: &Challenge) -> Result<bool, Error> {
    let mut found = false;
    for entry in present.values().flatten().filter(|entry| entry.token == challenge.token) {
        if entry.key_authorization != challenge.key_authorization {
            return Err(Error::Conflict { token: challenge.token.clone() });
        }
        found |= entry.domain == challenge.domain;
    }
    Ok(found)
}
