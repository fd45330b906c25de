//! What clients are shown: for each certificate of the configuration the last good one, else a placeholder.

use std::{fs, os::unix::fs::MetadataExt as _, path::PathBuf, sync::Arc, time::SystemTime};

use certificates::{Store, expiry};
use proxy_core::{ServerCertificate, ServerCertificates};

use super::{Bulletin, placeholder};
use crate::{
    cli::report,
    pair::{self, Unreadable},
};

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
    /// What the files looked like when they were read; `None` where they are to be read again whatever they look like.
    seen: Option<Stamp>,
    /// What they looked like when they could not be used. Whoever writes them one after the other is not done then; who leaves
    /// them so is told about.
    unusable: Option<Stamp>,
    shown: Option<ServerCertificate>,
    /// Whether that is a placeholder.
    is_stopgap: bool,
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
        let (seen, unusable, shown, not_after) = (None, None, None, None);
        let mut item = Item { name, wanted, source, seen, unusable, shown, is_stopgap: false, not_after };
        item.read();
        if item.shown.is_none() {
            item.shown = placeholder::make(&item.wanted);
            item.is_stopgap = true;
        }
        self.items.push(item);
    }

    /// Shows what another shelf had from the same place where nothing can be read now: a storage that is away for a while when
    /// the configuration is read again takes no certificate from anybody.
    pub(super) fn inherit(&mut self, before: &Self) {
        for item in self.items.iter_mut().filter(|item| item.is_stopgap) {
            let same = |other: &&Item| !other.is_stopgap && other.name == item.name && other.files() == item.files();
            if let Some(other) = before.items.iter().find(same) {
                (item.shown, item.not_after, item.is_stopgap) = (other.shown.clone(), other.not_after, false);
            }
        }
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
            Source::Files { certificate, key } => match pair::read(certificate, key) {
                Ok(pem) => Ok(Some(pem)),
                Err(errors) if self.is_empty() && errors.iter().all(Unreadable::is_missing) => Ok(None),
                Err(errors) => Err(errors.iter().map(|error| report::sentence(error)).collect::<Vec<_>>().join("; ")),
            },
        };
        let made = read.and_then(|pem| {
            let Some((chain, key)) = pem else { return Ok(None) };
            let certificate = ServerCertificate::from_pem(&chain, &key).map_err(|error| report::sentence(&error))?;
            Ok(Some((certificate, expiry(&chain))))
        });
        let name = &*self.name;
        if self.stamp() != stamp && !self.is_empty() {
            // Written while it was read: what was read may be half of it.
            self.seen = None;
            return false;
        }
        self.seen = stamp;
        match made {
            Ok(Some((certificate, _))) if self.shown.as_ref() == Some(&certificate) => false,
            Ok(Some((certificate, not_after))) => {
                if self.shown.is_some() {
                    tracing::info!(target: "lockgate::certificates", certificate = name, "another certificate is shown");
                }
                (self.shown, self.not_after, self.is_stopgap) = (Some(certificate), not_after, false);
                true
            }
            Ok(None) => false,
            Err(_) if stamp != self.unusable => {
                (self.seen, self.unusable) = (None, stamp);
                false
            }
            Err(error) => {
                let still = if self.is_empty() { "a placeholder" } else { "the last good one" };
                tracing::error!(target: "lockgate::certificates", certificate = name, error, "a certificate cannot be used; {still} is shown");
                false
            }
        }
    }

    /// Whether there is nothing better to show than whatever can be read.
    fn is_empty(&self) -> bool {
        self.shown.is_none() || self.is_stopgap
    }

    fn stamp(&self) -> Option<Stamp> {
        let [chain, key] = self.files();
        let of = |path: PathBuf| {
            let file = fs::metadata(path).ok()?;
            Some((file.ino(), file.mtime(), file.mtime_nsec(), file.size()))
        };
        Some([of(chain)?, of(key)?])
    }

    /// The files whose change is looked for.
    fn files(&self) -> [PathBuf; 2] {
        match &self.source {
            Source::Lineage(store) => {
                let live = store.live(&self.name);
                [live.join("fullchain.pem"), live.join("privkey.pem")]
            }
            Source::Files { certificate, key } => [certificate.clone(), key.clone()],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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

    /// Version `number` of a lineage in certbot's layout, to which no link leads yet.
    fn write_version(root: &Path, number: u32) {
        let archive = root.join("archive/a.example");
        fs::create_dir_all(&archive).unwrap();
        fs::create_dir_all(root.join("live/a.example")).unwrap();
        let key = KeyPair::generate().unwrap();
        let made = CertificateParams::new(vec![format!("v{number}.example")]).unwrap().self_signed(&key).unwrap();
        for (kind, text) in [
            ("privkey", key.serialize_pem()),
            ("cert", made.pem()),
            ("chain", String::new()),
            ("fullchain", made.pem()),
        ] {
            fs::write(archive.join(format!("{kind}{number}.pem")), text).unwrap();
        }
    }

    fn link(root: &Path, kind: &str, number: u32) {
        let target = format!("../../archive/a.example/{kind}{number}.pem");
        let (draft, link) = (root.join("draft"), root.join(format!("live/a.example/{kind}.pem")));
        std::os::unix::fs::symlink(target, &draft).unwrap();
        fs::rename(draft, link).unwrap();
    }

    #[test]
    fn links_that_are_moved_one_by_one_lead_to_one_version() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let kinds = ["privkey", "cert", "chain", "fullchain"];
        let certificates = ServerCertificates::new();
        let mut shelf = Shelf::new(Arc::clone(&certificates), Arc::default());
        let path = |file: &str| root.join("live/a.example").join(file);
        let source = Source::Files { certificate: path("fullchain.pem"), key: path("privkey.pem") };
        shelf.add("files".into(), Vec::new(), source);
        shelf.show(None);
        let shown = || certificates.find(None).unwrap().names().map(str::to_owned).collect::<Vec<_>>();
        assert!(shown().is_empty(), "there is nothing yet, and a placeholder is shown");
        for number in 1..=9 {
            write_version(root, number);
            let before = shown();
            shelf.refresh();
            assert_eq!(shown(), before, "nothing leads to it");
            // Whatever the order: other clients than ours move them too.
            let order: Vec<_> = (0..4).map(|turn| kinds[(turn + number as usize) % 4]).collect();
            for (turn, kind) in order.iter().enumerate() {
                link(root, kind, number);
                shelf.refresh();
                // The first of these two to lead to it is enough, where there were links before.
                let moved = order[..=turn].iter().filter(|kind| ["privkey", "fullchain"].contains(kind)).count();
                let is_new = moved == 2 || (moved == 1 && number > 1);
                let expected = if is_new { vec![format!("v{number}.example")] } else { before.clone() };
                assert_eq!(shown(), expected, "{kind} of {number}");
            }
        }
    }

    #[test]
    fn files_that_are_replaced_one_after_the_other_are_taken_when_both_are_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let certificates = ServerCertificates::new();
        let mut shelf = Shelf::new(Arc::clone(&certificates), Arc::default());
        write(directory.path(), "one.example");
        let later = tempfile::tempdir().unwrap();
        write(later.path(), "two.example");
        shelf.add("files".into(), Vec::new(), Source::Files { certificate: path("site.pem"), key: path("key.pem") });
        shelf.show(None);
        for (file, expected) in [("key.pem", "one.example"), ("site.pem", "two.example")] {
            fs::rename(later.path().join(file), path(file)).unwrap();
            shelf.refresh();
            assert_eq!(certificates.find(None).unwrap().names().collect::<Vec<_>>(), [expected]);
        }
    }

    #[test]
    fn a_storage_that_is_away_takes_nothing_from_the_shelf_that_comes_after() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let certificates = ServerCertificates::new();
        let shelf = |name: &str| {
            let mut shelf = Shelf::new(Arc::clone(&certificates), Arc::default());
            let source = Source::Files { certificate: path("site.pem"), key: path("key.pem") };
            shelf.add(name.into(), vec!["placeholder.example".into()], source);
            shelf
        };
        write(directory.path(), "one.example");
        let old = shelf("files");
        fs::rename(path("site.pem"), path("away")).unwrap();
        let shown = |mut shelf: Shelf| {
            shelf.inherit(&old);
            shelf.show(None);
            certificates.find(None).unwrap().names().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(shown(shelf("files")), ["one.example"]);
        assert_eq!(shown(shelf("others")), ["placeholder.example"]);
        write(directory.path(), "two.example");
        assert_eq!(shown(shelf("files")), ["two.example"], "what there is now is better");
    }
}
