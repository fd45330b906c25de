//! What outlives one reading of the configuration.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use authenticator_api::Authenticator;
use certificates::Unsaved;
use plugin_api::SharedStore;
use proxy_core::{Counters, ServerCertificates, Sessions};

use crate::upkeep::Bulletin;

/// Things that a reload finds again as long as somebody holds them.
#[derive(Default)]
pub(crate) struct Lasting {
    /// What plugins share across reloads.
    pub(crate) shared: SharedStore,
    /// What the engine counts.
    pub(crate) counters: Arc<Counters>,
    /// What clients are shown who speak TLS.
    pub(crate) certificates: Arc<ServerCertificates>,
    /// What is known about their certificates.
    pub(crate) bulletin: Arc<Bulletin>,
    /// Those that could not be saved yet: a disk that is full is when logs are rotated, and reloads asked for.
    pub(crate) unsaved: Unsaved,
    /// By which they take up their sessions again.
    pub(crate) sessions: Sessions,
    authenticators: Mutex<Vec<(String, Weak<dyn Authenticator>)>>,
}

impl Lasting {
    /// The authenticator that was built from the same keys, which may hold tokens and listen; a new one otherwise.
    pub(crate) fn authenticator(
        &self,
        fingerprint: String,
        build: impl FnOnce() -> Option<Arc<dyn Authenticator>>,
    ) -> Option<Arc<dyn Authenticator>> {
        let mut known = self.authenticators.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(_, held)| held.strong_count() > 0);
        if let Some(held) = known.iter().find(|(of, _)| *of == fingerprint).and_then(|(_, held)| held.upgrade()) {
            return Some(held);
        }
        let built = build()?;
        known.push((fingerprint, Arc::downgrade(&built)));
        Some(built)
    }
}
