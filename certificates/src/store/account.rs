//! Accounts on disk: `accounts/<host>/<path>/lockgate/`, beside those of certbot.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};

use super::{Store, StoreError, durable};
use crate::signature::{Credentials, Signer};

/// What others may know of a stored account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAccount {
    /// The directory URL of its authority; `None` where that is not written down.
    pub directory: Option<String>,
    /// Its URL.
    pub url: String,
    /// The thumbprint of its key ([RFC 7638](https://www.rfc-editor.org/rfc/rfc7638)): with it, all its challenges can be answered.
    pub thumbprint: String,
}

impl Store {
    /// All accounts that can be used, in the order of their directory URLs.
    pub fn accounts(&self) -> Vec<StoredAccount> {
        let (mut found, mut directories) = (Vec::new(), vec![self.root.join("accounts")]);
        while let Some(directory) = directories.pop() {
            let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
            // Links, as certbot makes them between versions of an API, lead to what is found without them.
            directories
                .extend(entries.filter(|one| one.file_type().is_ok_and(|kind| kind.is_dir())).map(|one| one.path()));
            let file = directory.join("credentials.json");
            found.extend(fs::read(file).ok().and_then(|text| StoredAccount::read(&text)));
        }
        found.sort_by(|one, other| (&one.directory, &one.url).cmp(&(&other.directory, &other.url)));
        found
    }

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

impl StoredAccount {
    fn read(text: &[u8]) -> Option<Self> {
        let thumbprint = Signer::new(text).ok()?.thumbprint();
        let Credentials { id, directory, .. } = serde_json::from_slice(text).ok()?;
        Some(Self { directory, url: id, thumbprint })
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

    use base64::prelude::{BASE64_STANDARD, Engine as _};

    use super::*;

    #[test]
    fn accounts_are_told_with_the_thumbprints_of_their_keys() {
        let directory = test_support::scratch_dir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        assert_eq!(store.accounts(), []);
        let key = BASE64_STANDARD.decode(KEY.concat()).unwrap();
        // Made with `openssl ecparam`; the thumbprint with `openssl dgst -sha256` of the JSON in RFC 7638's form.
        let account = |id: &str, url: &str| {
            let text = Credentials::new(id.to_owned(), &key, url);
            store.save_account(url, &serde_json::to_vec(&text).unwrap()).unwrap();
        };
        account("https://b.example/acct/1", "https://b.example/dir");
        account("https://a.example/acct/2", "https://a.example/some/dir");
        store.save_account("https://c.example/dir", b"nonsense").unwrap();
        let told: Vec<_> =
            store.accounts().into_iter().map(|one| (one.directory.unwrap(), one.url, one.thumbprint)).collect();
        let expected = |directory: &str, url: &str| (directory.to_owned(), url.to_owned(), THUMBPRINT.to_owned());
        assert_eq!(
            told,
            [
                expected("https://a.example/some/dir", "https://a.example/acct/2"),
                expected("https://b.example/dir", "https://b.example/acct/1"),
            ]
        );
    }

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

    const KEY: [&str; 3] = [
        "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgjEnStlkYxtmiyezqLXc4XFldtXagvVzd",
        "M3IIo6WF2dKhRANCAARHCeqAhQtk+/olxekgUnCER/87lQsmUT3F6/0L0wnjgVUA3fL6VA7foq7+zu0V",
        "IiqeyXsmx0NPBZFwM8RYiAxF",
    ];
    const THUMBPRINT: &str = "cnqTh5j5vlvoOfLOnVPmm8g-jsBvSqytoriCpxpWaqw";
}
