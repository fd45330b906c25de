//! What a storage could not take, and what becomes of it when it can.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Renewal, Saved, Store, StoreError};
use crate::{Internal, Record, issued::Issued};

/// Certificates that were issued and could not be written, and records about certificates: they are kept in memory until they
/// can. An authority counts a certificate whether or not it was ever used. A clone shares them.
#[derive(Clone, Default)]
pub struct Unsaved(Arc<Mutex<Things>>);

#[derive(Default)]
struct Things {
    /// By the directory with their links.
    certificates: BTreeMap<PathBuf, Certificate>,
    /// By their file.
    records: BTreeMap<PathBuf, Record>,
}

/// A certificate with its private key (PEM).
#[derive(Clone)]
pub(crate) struct Certificate {
    pub(crate) issued: Issued,
    pub(crate) key: String,
    pub(crate) renewal: Renewal,
}

impl Store {
    /// The same storage, with what it could not take before.
    #[must_use]
    pub fn with(self, unsaved: Unsaved) -> Self {
        Self { unsaved, ..self }
    }

    /// Saves a new version, and lets the links lead to it. After a crash in the middle either the old or the new version
    /// loads, and saving again goes on. When it fails, the certificate is kept in memory; when not, the orders that were placed for
    /// it are forgotten.
    ///
    /// # Errors
    ///
    /// The system's, with the path.
    pub(crate) fn save(&self, name: &str, issued: &Issued, key: &str, renewal: &Renewal) -> Result<Saved, StoreError> {
        let saved = self.write_version(name, issued, key, renewal);
        let kept = &mut self.unsaved.lock().certificates;
        match saved {
            Ok(_) => {
                kept.remove(&self.live(name));
                // What stands in for something better does not end the wait for that.
                if renewal.server != Internal::SERVER {
                    self.forget_orders(name);
                }
            }
            Err(_) => {
                let (issued, key, renewal) = (issued.clone(), key.to_owned(), renewal.clone());
                kept.insert(self.live(name), Certificate { issued, key, renewal });
            }
        }
        saved
    }

    /// The certificate of this name that could not be saved.
    pub(crate) fn unsaved(&self, name: &str) -> Option<Certificate> {
        self.unsaved.lock().certificates.get(&self.live(name)).cloned()
    }

    /// Nobody wants it any more.
    pub(crate) fn forget_unsaved(&self, name: &str) {
        self.unsaved.lock().certificates.remove(&self.live(name));
    }

    /// The record that could not be written to this file.
    pub(crate) fn unsaved_record(&self, file: &Path) -> Option<Record> {
        self.unsaved.lock().records.get(file).cloned()
    }

    /// Keeps a record that could not be written, or forgets the one that was kept.
    pub(crate) fn keep_record(&self, file: &Path, record: Option<&Record>) {
        let records = &mut self.unsaved.lock().records;
        match record {
            Some(record) => _ = records.insert(file.to_owned(), record.clone()),
            None => _ = records.remove(file),
        }
    }
}

impl Unsaved {
    fn lock(&self) -> MutexGuard<'_, Things> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without keys.
impl fmt::Debug for Unsaved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.lock().certificates.keys()).finish()
    }
}
