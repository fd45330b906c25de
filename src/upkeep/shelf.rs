//! What clients are shown: for each certificate of the configuration the last good one, else a placeholder.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use certificates::{Store, expiry};
use proxy_core::{ServerCertificate, ServerCertificates};

use super::{Bulletin, placeholder};
use crate::cli::report;

/// All certificates of a configuration, the one for clients that name no known host first.
pub(super) struct Shelf {
    items: Vec<Item>,
    /// What another shelf has and is shown behind them.
    behind: Vec<ServerCertificate>,
    certificates: Arc<ServerCertificates>,
    bulletin: Arc<Bulletin>,
}

/// One certificate of the configuration.
struct Item {
    name: String,
    /// What it is to be for.
    wanted: Vec<String>,
    source: Source,
    /// What the files looked like when they were read.
    seen: Option<Stamp>,
    shown: Option<ServerCertificate>,
    not_after: Option<SystemTime>,
}

/// Where a certificate is read from.
pub(super) enum Source {
    /// A lineage of the storage.
    Lineage(Store),
    /// Two files of somebody else.
    Files {
        /// The chain.
        certificate: PathBuf,
        /// The private key.
        key: PathBuf,
    },
}

/// What tells a file from the one that was there before.
type Stamp = [(u64, i64, i64, u64); 2];

impl Shelf {
    /// An empty shelf, from which these are shown.
    pub(super) fn new(certificates: Arc<ServerCertificates>, bulletin: Arc<Bulletin>) -> Self {
        Self { items: Vec::new(), behind: Vec::new(), certificates, bulletin }
    }

    /// Adds a certificate and reads it. Blocks on files.
    pub(super) fn add(&mut self, name: String, wanted: Vec<String>, source: Source) {
        let mut item = Item { name, wanted, source, seen: None, shown: None, not_after: None };
        item.read();
        if item.shown.is_none() {
            item.shown = placeholder::make(&item.wanted);
        }
        self.items.push(item);
    }

    /// Lets this one be for clients that name no known host.
    pub(super) fn put_first(&mut self, name: Option<&str>) {
        if let Some(index) = self.items.iter().position(|item| name == Some(&*item.name)) {
            self.items[..=index].rotate_right(1);
        }
    }

    /// Shows what there is by now, and nothing else; `also` goes on being shown behind it. Blocks on files.
    pub(super) fn show(&mut self, also: Option<&Self>) {
        self.read_again();
        self.behind = also.iter().flat_map(|also| &also.items).filter_map(|item| item.shown.clone()).collect();
        self.display();
    }

    /// Reads again what has changed, whoever changed it, and shows it. Blocks on files.
    pub(super) fn refresh(&mut self) {
        if self.read_again() {
            self.display();
        }
    }

    /// Whether anything is another one now.
    fn read_again(&mut self) -> bool {
        let mut is_other = false;
        for item in &mut self.items {
            is_other |= item.has_changed() && item.read();
        }
        is_other
    }

    fn display(&self) {
        let shown = self.items.iter().filter_map(|item| item.shown.clone());
        self.certificates.show(shown.chain(self.behind.iter().cloned()).collect());
        for item in &self.items {
            self.bulletin.shows(&item.name, item.not_after);
        }
        if self.behind.is_empty() {
            self.bulletin.keep(&self.items.iter().map(|item| item.name.as_str()).collect::<Vec<_>>());
        }
    }
}

impl Item {
    fn has_changed(&self) -> bool {
        self.stamp() != self.seen
    }

    /// Reads it. What cannot be used leaves the last one that could. Whether there is another one now.
    fn read(&mut self) -> bool {
        let stamp = self.stamp();
        let read = match &self.source {
            Source::Lineage(store) => match store.load(&self.name) {
                Some(lineage) => store.pem(&lineage).map_err(|error| report::sentence(&error)).map(Some),
                None => Ok(None),
            },
            Source::Files { certificate, key } => {
                let file =
                    |path: &Path| fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()));
                file(certificate).and_then(|chain| Ok(Some((chain, file(key)?))))
            }
        };
        let made = read.and_then(|pem| {
            let Some((chain, key)) = pem else { return Ok(None) };
            let certificate = ServerCertificate::from_pem(&chain, &key).map_err(|error| report::sentence(&error))?;
            Ok(Some((certificate, expiry(&chain))))
        });
        self.seen = stamp;
        let name = &*self.name;
        match made {
            Ok(Some((certificate, _))) if self.shown.as_ref() == Some(&certificate) => false,
            Ok(Some((certificate, not_after))) => {
                if self.shown.is_some() {
                    tracing::info!(target: "lockgate::certificates", certificate = name, "another certificate is shown");
                }
                (self.shown, self.not_after) = (Some(certificate), not_after);
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::error!(target: "lockgate::certificates", certificate = name, error, "a certificate cannot be used; the last good one is shown");
                false
            }
        }
    }

    fn stamp(&self) -> Option<Stamp> {
        let (chain, key) = match &self.source {
            Source::Lineage(store) => {
                let live = store.live(&self.name);
                (live.join("fullchain.pem"), live.join("privkey.pem"))
            }
            Source::Files { certificate, key } => (certificate.clone(), key.clone()),
        };
        let of = |path: PathBuf| {
            let file = fs::metadata(path).ok()?;
            Some((file.ino(), file.mtime(), file.mtime_nsec(), file.size()))
        };
        Some([of(chain)?, of(key)?])
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn write(directory: &Path, name: &str) {
        let key = KeyPair::generate().unwrap();
        let made = CertificateParams::new(vec![name.to_owned()]).unwrap().self_signed(&key).unwrap();
        // Renamed into place, as everybody should who replaces a certificate.
        for (file, text) in [("key.pem", key.serialize_pem()), ("site.pem", made.pem())] {
            fs::write(directory.join("new"), text).unwrap();
            fs::rename(directory.join("new"), directory.join(file)).unwrap();
        }
    }

    #[test]
    fn files_are_read_again_when_they_change_and_nonsense_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let certificates = ServerCertificates::new();
        let mut shelf = Shelf::new(Arc::clone(&certificates), Arc::default());
        let path = |name: &str| directory.path().join(name);
        write(directory.path(), "one.example");
        shelf.add("files".into(), Vec::new(), Source::Files { certificate: path("site.pem"), key: path("key.pem") });
        shelf.show(None);
        let shown = || certificates.find(None).unwrap().names().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(shown(), ["one.example"]);
        write(directory.path(), "two.example");
        shelf.refresh();
        assert_eq!(shown(), ["two.example"]);
        fs::write(path("site.pem"), "nonsense").unwrap();
        shelf.refresh();
        assert_eq!(shown(), ["two.example"]);
        fs::remove_file(path("key.pem")).unwrap();
        shelf.refresh();
        assert_eq!(shown(), ["two.example"]);
    }

    #[test]
    fn what_was_written_meanwhile_is_shown_at_once_and_what_is_behind_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = |file: &str| directory.path().join(file);
        let (certificates, bulletin) = (ServerCertificates::new(), Arc::<Bulletin>::default());
        let shelf = |name: &str| {
            let mut shelf = Shelf::new(Arc::clone(&certificates), Arc::clone(&bulletin));
            let source = Source::Files { certificate: path("site.pem"), key: path("key.pem") };
            shelf.add(name.to_owned(), vec![name.to_owned()], source);
            shelf
        };
        let shown = |name: &str| {
            let found = certificates.find(Some(name)).unwrap();
            found.names().map(str::to_owned).collect::<Vec<_>>()
        };
        let (mut old, mut new) = (shelf("old.example"), shelf("new.example"));
        old.show(Some(&new));
        assert_eq!(
            (shown("old.example"), shown("new.example")),
            (vec!["old.example".into()], vec!["new.example".into()])
        );
        write(directory.path(), "one.example");
        old.refresh();
        assert_eq!(
            (shown("one.example"), shown("new.example")),
            (vec!["one.example".into()], vec!["new.example".into()])
        );
        new.show(None);
        assert_eq!(shown("new.example"), ["one.example"], "what the new one has read before was nothing");
    }

    #[test]
    fn what_is_missing_has_a_placeholder() {
        let directory = tempfile::tempdir().unwrap();
        let certificates = ServerCertificates::new();
        let mut shelf = Shelf::new(Arc::clone(&certificates), Arc::default());
        let source = Source::Lineage(Store::at(directory.path()));
        shelf.add("a.example".into(), vec!["a.example".into(), "b.example".into()], source);
        shelf.show(None);
        let shown = certificates.find(Some("b.example")).unwrap();
        assert_eq!(shown.names().collect::<Vec<_>>(), ["a.example", "b.example"]);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is written by looking");
    }
}
