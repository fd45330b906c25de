//! Who answers for which name, and what is being answered at the moment.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use authenticator_api::{Authenticator, Challenge, DomainName};

/// Who answers the challenges of an order: one authenticator, and others for some names.
#[derive(Clone)]
pub struct Authenticators {
    usual: Arc<dyn Authenticator>,
    special: BTreeMap<DomainName, Arc<dyn Authenticator>>,
}

impl Authenticators {
    /// Lets another authenticator answer for this name.
    #[must_use]
    pub fn with(mut self, name: DomainName, authenticator: Arc<dyn Authenticator>) -> Self {
        self.special.insert(name, authenticator);
        self
    }

    /// Who answers for this name.
    pub fn of(&self, name: &DomainName) -> &Arc<dyn Authenticator> {
        self.special.get(name).unwrap_or(&self.usual)
    }
}

impl From<Arc<dyn Authenticator>> for Authenticators {
    fn from(usual: Arc<dyn Authenticator>) -> Self {
        Self { usual, special: BTreeMap::new() }
    }
}

/// The challenges that are being answered at the moment, and by whom. It outlives the order, so that whoever drops an order
/// in the middle can still take back what was presented.
#[derive(Default)]
pub struct Presented(Mutex<Vec<(Challenge, Arc<dyn Authenticator>)>>);

impl Presented {
    /// Takes everything back. Failures are logged: the rest must go on.
    pub async fn cleanup(&self) {
        loop {
            // Left in the list until it is gone, in case this is dropped too.
            let Some((challenge, _)) = self.lock().last().cloned() else { return };
            self.take_back(&challenge).await;
        }
    }

    /// Takes one challenge back.
    pub(crate) async fn take_back(&self, challenge: &Challenge) {
        let found = self.lock().iter().find(|(presented, _)| presented == challenge).cloned();
        let Some((_, authenticator)) = found else { return };
        if let Err(error) = authenticator.cleanup(challenge).await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(target: "lockgate::certificates", domain = %challenge.domain, error, "a challenge is left behind");
        }
        self.lock().retain(|(presented, _)| presented != challenge);
    }

    pub(crate) fn add(&self, challenge: Challenge, authenticator: Arc<dyn Authenticator>) {
        self.lock().push((challenge, authenticator));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Challenge, Arc<dyn Authenticator>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lock().iter().map(|(challenge, _)| challenge)).finish()
    }
}
