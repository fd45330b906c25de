//! The tokens that are present.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use authenticator_api::{Challenge, Error, KeyAuthorization, Token};

/// Tokens and their answers. The names that they are for do not matter: a token is unguessable and asked for by name only.
#[derive(Debug, Default)]
pub(crate) struct Tokens(RwLock<HashMap<Token, KeyAuthorization>>);

impl Tokens {
    pub(crate) fn insert(&self, challenge: &Challenge) -> Result<(), Error> {
        let mut tokens = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match tokens.get(&challenge.token) {
            Some(present) if *present != challenge.key_authorization => {
                Err(Error::Conflict { token: challenge.token.clone() })
            }
            Some(_) => Ok(()),
            None => {
                tokens.insert(challenge.token.clone(), challenge.key_authorization.clone());
                Ok(())
            }
        }
    }

    pub(crate) fn get(&self, token: &Token) -> Option<KeyAuthorization> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    pub(crate) fn remove(&self, challenge: &Challenge) {
        let mut tokens = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // A challenge that lost a conflict must not take the winner's answer away.
        if tokens.get(&challenge.token) == Some(&challenge.key_authorization) {
            tokens.remove(&challenge.token);
        }
    }
}
