//! A certificate and its private key in two files that somebody else writes.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use certificates::Store;

/// Chain and private key, in PEM.
pub(crate) type Pem = (Vec<u8>, Vec<u8>);

/// A file of the two that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("`{}` cannot be read", path.display())]
pub(crate) struct Unreadable {
    /// By which key the configuration names it.
    pub(crate) key: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Reads both, or says of each that cannot be read why. Where they are the links of a lineage, which are moved one by one, both
/// are of one version of it.
pub(crate) fn read(certificate: &Path, key: &Path) -> Result<Pem, Vec<Unreadable>> {
    if let Some(pem) = of_lineage(certificate, key) {
        return Ok(pem);
    }
    match (file("certificate", certificate), file("key", key)) {
        (Ok(chain), Ok(secret)) => Ok((chain, secret)),
        (chain, secret) => Err(chain.err().into_iter().chain(secret.err()).collect()),
    }
}

/// `None` also where the lineage cannot be used: then the files themselves tell best what is wrong.
fn of_lineage(certificate: &Path, key: &Path) -> Option<Pem> {
    let (store, name) = Store::of_links(certificate, key)?;
    store.pem(&store.load(&name)?).ok()
}

fn file(key: &'static str, path: &Path) -> Result<Vec<u8>, Unreadable> {
    fs::read(path).map_err(|source| Unreadable { key, path: path.to_owned(), source })
}

impl Unreadable {
    /// Whether there is none, as of one that is yet to come.
    pub(crate) fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}
