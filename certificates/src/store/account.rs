//! Accounts on disk, in certbot's form: `accounts/<host>/<path>/<id>/`, with the key (`private_key.json`), where the account is
//! (`regr.json`), and when it was made (`meta.json`).

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::{Value, json};

use super::{Store, StoreError, durable};
use crate::{account::key::AccountKey, moment};

/// An account as it is stored, by Lockgate or by certbot.
#[derive(Clone, Debug)]
pub struct StoredAccount {
    /// What certbot calls it: 32 hexadecimal digits.
    pub id: String,
    /// Its URL at the authority.
    pub url: String,
    /// When it was made, where that is known.
    pub created: Option<SystemTime>,
    pub(crate) key: Arc<AccountKey>,
}

/// The accounts for one authority.
#[derive(Debug, Default)]
pub(crate) struct StoredAccounts {
    /// Those that can be used, the newest last.
    pub(crate) usable: Vec<StoredAccount>,
    /// Where there is one that cannot.
    pub(crate) damaged: Vec<PathBuf>,
}

impl StoredAccount {
    /// By what challenges are proven to be answered for it (RFC 7638): what a server that answers without asking needs to know.
    pub fn thumbprint(&self) -> String {
        self.key.thumbprint()
    }
}

impl Store {
    /// Every account that can be used, with the directory URL that it is for.
    pub fn every_account(&self) -> Vec<(String, StoredAccount)> {
        let root = self.root.join("accounts");
        let (mut directories, mut found) = (vec![root.clone()], Vec::new());
        while let Some(path) = directories.pop() {
            let below = subdirectories(&path).unwrap_or_default();
            let server = path.strip_prefix(&root).map(|path| format!("https://{}", path.display()));
            if let (Ok(server), true) = (server, below.iter().any(|path| path.join(KEY).exists())) {
                let accounts = self.accounts(&server).unwrap_or_default().usable;
                found.extend(accounts.into_iter().map(|account| (server.clone(), account)));
            }
            // Links lead to what is found by its own name.
            directories.extend(below.into_iter().filter(|path| !path.is_symlink() && !path.join(KEY).exists()));
        }
        found.sort_by(|(one, a), (other, b)| (one, a.created).cmp(&(other, b.created)));
        found
    }

    /// The accounts for a directory URL that can be used, the newest last.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn stored_accounts(&self, directory: &str) -> Result<Vec<StoredAccount>, StoreError> {
        Ok(self.accounts(directory)?.usable)
    }

    /// Forgets an account, and directories that hold nothing any more.
    pub(crate) fn forget_account(&self, directory: &str, id: &str) -> Result<(), StoreError> {
        let path = self.account_path(directory, id);
        fs::remove_dir_all(&path).map_err(|source| StoreError { action: "remove", path: path.clone(), source })?;
        let root = self.root.join("accounts");
        let above = path.ancestors().skip(1).take_while(|directory| *directory != root);
        // The first that holds something ends it.
        above.map(fs::remove_dir).take_while(Result::is_ok).for_each(drop);
        Ok(())
    }

    /// The accounts for a directory URL.
    pub(crate) fn accounts(&self, directory: &str) -> Result<StoredAccounts, StoreError> {
        let mut found = StoredAccounts::default();
        for path in subdirectories(&self.accounts_directory(directory))? {
            let Some(key) = read(&path.join(KEY))? else { continue };
            // Without it, an account was asked for and no answer came.
            let Some(regr) = read(&path.join(REGISTRATION))? else { continue };
            let regr: Value = serde_json::from_slice(&regr).unwrap_or_default();
            let meta = read(&path.join(META)).ok().flatten().unwrap_or_default();
            let meta: Value = serde_json::from_slice(&meta).unwrap_or_default();
            match (AccountKey::parse(&key), regr["uri"].as_str()) {
                (Ok(key), Some(url)) => found.usable.push(StoredAccount {
                    id: key.id(),
                    url: url.to_owned(),
                    created: meta["creation_dt"].as_str().and_then(moment::parse),
                    key: Arc::new(key),
                }),
                _ => found.damaged.push(path),
            }
        }
        found.usable.sort_by(|one, other| (one.created, &one.id).cmp(&(other.created, &other.id)));
        Ok(found)
    }

    /// The key of the account that is to be asked for: the one that was kept when it was asked for before and no answer came,
    /// else a new one, which is on disk.
    pub(crate) fn account_key(&self, directory: &str) -> Result<AccountKey, StoreError> {
        let root = self.accounts_directory(directory);
        for path in subdirectories(&root)? {
            let is_asked_for = read(&path.join(REGISTRATION))?.is_none();
            // One that is damaged is none: no account can have been asked for with it.
            if is_asked_for && let Some(key) = read(&path.join(KEY))?.and_then(|text| AccountKey::parse(&text).ok()) {
                return Ok(key);
            }
        }
        let failed =
            |error| StoreError { action: "make a key in", path: root.clone(), source: io::Error::other(error) };
        let key = AccountKey::generate().map_err(failed)?;
        let path = root.join(key.id());
        make_directories(&path)?;
        durable::write(&path.join(KEY), key.private().to_string().as_bytes(), 0o400)?;
        Ok(key)
    }

    /// Stores where the account of a key that is on disk is.
    pub(crate) fn save_account(&self, directory: &str, key: &AccountKey, url: &str) -> Result<(), StoreError> {
        let path = self.account_path(directory, &key.id());
        durable::collect(&path);
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let created = moment::text(SystemTime::UNIX_EPOCH + Duration::from_secs(now));
        let meta = json!({ "creation_dt": created, "creation_host": host, "register_to_eff": null });
        durable::write(&path.join(META), meta.to_string().as_bytes(), 0o644)?;
        let regr = json!({ "body": {}, "uri": url });
        durable::write(&path.join(REGISTRATION), regr.to_string().as_bytes(), 0o644)
    }

    /// Where an account is kept.
    pub(crate) fn account_path(&self, directory: &str, id: &str) -> PathBuf {
        self.accounts_directory(directory).join(id)
    }

    fn accounts_directory(&self, directory: &str) -> PathBuf {
        let url = directory.split_once("://").map_or(directory, |(_, rest)| rest);
        let mut path = self.root.join("accounts");
        path.extend(url.split('/').filter(|part| !part.is_empty() && *part != "." && *part != ".."));
        path
    }
}

/// In order, so that everybody finds the same first.
fn subdirectories(path: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = |source| StoreError { action: "read", path: path.to_owned(), source };
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        // certbot lets links lead to accounts of an authority that has moved.
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError { action: "read", path: path.to_owned(), source }),
    }
}

fn make_directories(path: &Path) -> Result<(), StoreError> {
    let mut missing: Vec<_> = path.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    missing.reverse();
    missing.into_iter().try_for_each(|directory| durable::make_directory(directory, 0o700))
}

const KEY: &str = "private_key.json";
const REGISTRATION: &str = "regr.json";
const META: &str = "meta.json";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const URL: &str = "https://ca.example/dir";

    fn pending(store: &Store, directory: &str) -> String {
        store.account_key(directory).unwrap().id()
    }

    #[test]
    fn a_key_is_kept_until_its_account_is_stored() {
        let directory = test_support::scratch_dir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let key = store.account_key(URL).unwrap();
        assert_eq!(pending(&Store::open(directory.path()).unwrap(), URL), key.id());
        assert_ne!(pending(&store, "https://ca.example/other"), key.id(), "each authority has its own");
        let file = directory.path().join("accounts/ca.example/dir").join(key.id()).join(KEY);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o400);
        assert!(store.accounts(URL).unwrap().usable.is_empty());
        store.save_account(URL, &key, "https://ca.example/account/1").unwrap();
        let [account] = &store.accounts(URL).unwrap().usable[..] else { panic!("there is one account") };
        assert_eq!((account.id.as_str(), account.url.as_str()), (key.id().as_str(), "https://ca.example/account/1"));
        assert!(account.created.is_some());
        assert_ne!(pending(&store, URL), key.id());
    }

    #[test]
    fn damaged_keys_and_accounts_are_passed_over() {
        let directory = test_support::scratch_dir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        for damaged in ["", "no key", "{\"kty\":\"EC\",\"crv\":\"P-256\"}"] {
            let id = pending(&store, URL);
            let path = store.account_path(URL, &id);
            fs::remove_file(path.join(KEY)).unwrap();
            fs::write(path.join(KEY), damaged).unwrap();
            let other = pending(&store, URL);
            assert!(other != id && pending(&store, URL) == other, "{damaged:?}");
        }
        let key = store.account_key(URL).unwrap();
        store.save_account(URL, &key, "https://ca.example/account/1").unwrap();
        let path = store.account_path(URL, &key.id());
        fs::write(path.join(REGISTRATION), "{").unwrap();
        let found = store.accounts(URL).unwrap();
        assert!(found.usable.is_empty());
        assert_eq!(found.damaged, [path]);
    }

    #[test]
    fn the_newest_account_is_the_last_one() {
        let directory = test_support::scratch_dir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let ids = [2026, 2024, 2025].map(|year| {
            let key = store.account_key(URL).unwrap();
            store.save_account(URL, &key, "https://ca.example/account/1").unwrap();
            let meta = format!("{{\"creation_dt\": \"{year}-01-01T00:00:00Z\", \"creation_host\": \"h\"}}");
            fs::write(store.account_path(URL, &key.id()).join(META), meta).unwrap();
            key.id()
        });
        let found: Vec<_> = store.accounts(URL).unwrap().usable.into_iter().map(|account| account.id).collect();
        let in_order = [&ids[1], &ids[2], &ids[0]].map(String::clone);
        assert_eq!(found, in_order);
        let all: Vec<_> = store.every_account().into_iter().map(|(url, account)| (url, account.id)).collect();
        assert_eq!(all, in_order.map(|id| (URL.to_owned(), id)));
    }
}
