//! Orders on disk, from before they are placed until their certificate is: `lockgate/orders/NAME/`.
//!
//! An order that was finalized is a certificate, for whoever has its URL and its private key. So the key is on disk before the
//! authority hears of the order, and the URL as soon as it is known; both stay until the certificate is stored. Nothing in
//! these files is needed to serve, and one that cannot be used costs an order.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::KeyPair;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, durable};
use crate::moment;

/// What an order is for. One that was placed is taken up again only for exactly the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Terms {
    /// The directory URL of the authority.
    pub(crate) directory: String,
    /// The URL of the account.
    pub(crate) account: String,
    /// The names.
    pub(crate) names: BTreeSet<String>,
    /// The profile that is asked for.
    pub(crate) profile: Option<String>,
    /// The certificate whose place it is to take, as renewal information names it (RFC 9773 §4.1).
    pub(crate) replaces: Option<String>,
}

/// An order, its private key, and where it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct KeptOrder {
    #[serde(flatten)]
    pub(crate) terms: Terms,
    /// In PEM.
    pub(crate) key: String,
    /// Not known before the authority has answered.
    pub(crate) url: Option<String>,
    #[serde(with = "moment")]
    placed: SystemTime,
    /// How often it was taken up again.
    resumed: u32,
}

impl Terms {
    /// The same for the same terms, on every machine.
    fn file_name(&self) -> String {
        let Self { directory, account, names, profile, replaces } = self;
        let text = serde_json::json!([directory, account, names, profile, replaces]).to_string();
        let digest = digest(&SHA256, text.as_bytes());
        let start: String = digest.as_ref().iter().take(16).map(|octet| format!("{octet:02x}")).collect();
        format!("{start}.json")
    }
}

impl KeptOrder {
    /// One that is about to be placed.
    pub(crate) fn new(terms: Terms, key: String, now: SystemTime) -> Self {
        Self { terms, key, url: None, placed: now, resumed: 0 }
    }

    /// Counts that it is taken up again; `false` when that was tried often enough. Should it be the order that is at fault, or
    /// that kills the process, another one is better.
    pub(crate) fn resume(&mut self) -> bool {
        self.resumed += 1;
        self.resumed <= MOST_RESUMPTIONS
    }

    /// Orders expire (RFC 8555 §7.1.3); Let's Encrypt's after a week at most.
    fn is_old(&self, now: SystemTime) -> bool {
        now.duration_since(self.placed).is_ok_and(|age| OLDEST < age)
    }
}

impl Store {
    /// The order for these terms that was placed for a lineage and has not come to its end. What else is found and is of no use
    /// any more is removed.
    pub(crate) fn kept_order(&self, lineage: &str, terms: &Terms, now: SystemTime) -> Option<KeptOrder> {
        let wanted = terms.file_name();
        let mut found = None;
        for entry in fs::read_dir(self.orders_of(lineage)).into_iter().flatten().flatten() {
            let path = entry.path();
            match self.usable(lineage, &path, now) {
                Ok(order) if entry.file_name().to_str() == Some(&wanted) => found = Some(order),
                Ok(_) => {}
                Err(reason) if entry.file_type().is_ok_and(|kind| !kind.is_dir()) => {
                    tracing::info!(target: "lockgate::certificates", path = %path.display(), reason, "an order that was kept is of no use");
                    remove(&path);
                }
                Err(_) => {}
            }
        }
        found
    }

    /// Keeps an order.
    pub(crate) fn keep_order(&self, lineage: &str, order: &KeptOrder) -> Result<(), StoreError> {
        let directory = self.orders_of(lineage);
        durable::make_directory(&self.own_directory(), 0o755)?;
        durable::make_directory(&self.own_directory().join("orders"), 0o700)?;
        durable::make_directory(&directory, 0o700)?;
        durable::collect(&directory);
        let path = directory.join(order.terms.file_name());
        let text = serde_json::to_vec_pretty(order);
        let text = text.map_err(|error| StoreError { action: "write", path: path.clone(), source: error.into() })?;
        durable::write(&path, &text, 0o600)
    }

    /// Forgets an order that has come to its end without a certificate.
    pub(crate) fn drop_order(&self, lineage: &str, terms: &Terms) {
        remove(&self.orders_of(lineage).join(terms.file_name()));
        self.tidy_orders(lineage);
    }

    /// Forgets all orders for a lineage: there is a certificate, and what they were for is done.
    pub(crate) fn forget_orders(&self, lineage: &str) {
        for entry in fs::read_dir(self.orders_of(lineage)).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| !kind.is_dir()) {
                remove(&entry.path());
            }
        }
        self.tidy_orders(lineage);
    }

    /// Removes the directories that are empty; of others the system says that they are not.
    fn tidy_orders(&self, lineage: &str) {
        let directory = self.orders_of(lineage);
        let _ = fs::remove_dir(&directory);
        let _ = directory.parent().map(fs::remove_dir);
    }

    /// The order in a file, or why it is none that could be taken up again.
    fn usable(&self, lineage: &str, path: &Path, now: SystemTime) -> Result<KeptOrder, &'static str> {
        let text = fs::read(path).map_err(|_error| "it cannot be read")?;
        let order: KeptOrder = serde_json::from_slice(&text).map_err(|_error| "it is damaged")?;
        if path.file_name().and_then(|name| name.to_str()) != Some(&order.terms.file_name()) {
            return Err("it is another one's");
        }
        if KeyPair::from_pem(&order.key).is_err() {
            return Err("its key is damaged");
        }
        if order.is_old(now) {
            return Err("it is too old");
        }
        // A crash after the certificate was stored and before the order was forgotten.
        let in_use = self.load(lineage).and_then(|lineage| self.pem(&lineage).ok());
        if in_use.is_some_and(|(_, key)| key.trim_ascii() == order.key.trim().as_bytes()) {
            return Err("its certificate is in use");
        }
        Ok(order)
    }

    fn orders_of(&self, lineage: &str) -> PathBuf {
        self.own_directory().join("orders").join(lineage)
    }
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(target: "lockgate::certificates", path = %path.display(), error, "an order that is of no use stays");
        }
        _ => {}
    }
}

const MOST_RESUMPTIONS: u32 = 3;
const OLDEST: Duration = Duration::from_secs(7 * 86_400);

#[cfg(test)]
mod tests;
