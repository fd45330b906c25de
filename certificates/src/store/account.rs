//! Accounts on disk: `accounts/<host>/<path>/lockgate/`, beside those of certbot.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};

use super::{Store, StoreError, durable};
use crate::signature::Signer;

impl Store {
    /// The stored account for a directory URL.
    pub(crate) fn account(&self, directory: &str) -> Result<Option<Vec<u8>>, StoreError> {
        read(&self.account_file(directory))
    }

    /// Stores an account. The key that it was asked for with is in it.
    pub(crate) fn save_account(&self, directory: &str, text: &[u8]) -> Result<(), StoreError> {
        let path = self.account_file(directory);
        write(&path, text)?;
        // Where it stays, it is in nobody's way.
        let _ = fs::remove_file(key_file(&path));
        Ok(())
    }

    /// The private key (PKCS #8) of the account that is to be asked for: the one that was kept when it was asked for before and
    /// no answer came, else a new one, which is on disk.
    pub(crate) fn account_key(&self, directory: &str) -> Result<Vec<u8>, StoreError> {
        let path = key_file(&self.account_file(directory));
        let kept = read(&path)?.and_then(|text| KeyPair::from_pem(&String::from_utf8(text).ok()?).ok());
        // One that is damaged, or of another kind, is none: no account can have been asked for with it.
        if let Some(kept) = kept.map(|key| key.serialize_der()).filter(|key| Signer::with_key(key).is_ok()) {
            return Ok(kept);
        }
        let failed =
            |error| StoreError { action: "make a key for", path: path.clone(), source: io::Error::other(error) };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        write(&path, key.serialize_pem().as_bytes())?;
        Ok(key.serialize_der())
    }

    /// Where the account for a directory URL is kept.
    pub(crate) fn account_file(&self, directory: &str) -> PathBuf {
        let url = directory.split_once("://").map_or(directory, |(_, rest)| rest);
        let mut path = self.root.join("accounts");
        path.extend(url.split('/').filter(|part| !part.is_empty() && *part != "." && *part != ".."));
        path.join("lockgate").join("credentials.json")
    }
}

fn key_file(account: &Path) -> PathBuf {
    account.with_file_name("key.pem")
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError { action: "read", path: path.to_owned(), source }),
    }
}

fn write(path: &Path, text: &[u8]) -> Result<(), StoreError> {
    let mut missing: Vec<_> = path.ancestors().skip(1).take_while(|ancestor| !ancestor.exists()).collect();
    missing.reverse();
    for directory in missing {
        durable::make_directory(directory, 0o700)?;
    }
    path.parent().into_iter().for_each(durable::collect);
    durable::write(path, text, 0o600)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_kept_until_its_account_is_stored() {
        let directory = test_support::scratch_dir().unwrap();
        let (store, url) = (Store::open(directory.path()).unwrap(), "https://ca.example/dir");
        let key = store.account_key(url).unwrap();
        assert_eq!(Store::open(directory.path()).unwrap().account_key(url).unwrap(), key);
        assert_ne!(store.account_key("https://ca.example/other").unwrap(), key, "each authority has its own");
        let file = key_file(&store.account_file(url));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        for damaged in ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            fs::write(&file, damaged).unwrap();
            let other = store.account_key(url).unwrap();
            assert!(other != key && store.account_key(url).unwrap() == other, "{damaged:?}");
        }
        store.save_account(url, b"{}").unwrap();
        assert!(!file.exists());
    }
}
