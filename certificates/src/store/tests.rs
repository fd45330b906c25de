//! Lineages that are saved, loaded and mended.

use std::os::unix::fs::PermissionsExt as _;

use authenticator_api::DomainName;
use rcgen::{CertificateParams, KeyPair};

use super::*;

fn certificate(names: &[&str]) -> (Issued, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (Issued::read(&format!("{pem}{pem}"), &key.serialize_pem()).unwrap(), key.serialize_pem())
}

fn names(names: &[&str]) -> Names {
    names.iter().map(|name| DomainName::parse(name).unwrap()).collect()
}

fn save(store: &Store, name: &str, of: &[&str]) -> Saved {
    let (issued, key) = certificate(of);
    store.save(name, &issued, &key, &Renewal::default()).unwrap()
}

#[test]
fn versions_follow_each_other_and_links_lead_to_the_newest() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("new/store")).unwrap();
    for version in 1..=3 {
        let saved = save(&store, "a.example", &["a.example"]);
        assert_eq!(saved.lineage.version, version);
        assert_eq!(store.load("a.example").unwrap(), saved.lineage);
    }
    let live = directory.path().join("new/store/live/a.example");
    assert_eq!(fs::read_link(live.join("cert.pem")).unwrap(), Path::new("../../archive/a.example/cert3.pem"));
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(live.join("privkey.pem")), 0o600);
    assert_eq!(mode(live.join("fullchain.pem")), 0o644);
    assert_eq!(mode(directory.path().join("new/store/live")), 0o700);
}

#[test]
fn an_incomplete_version_is_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let first = save(&store, "a", &["a.example"]).lineage;
    let second = save(&store, "a", &["a.example"]).lineage;
    let archive = directory.path().join("archive/a");
    // A power failure may leave a name with nothing behind it.
    fs::write(archive.join("cert3.pem"), "").unwrap();
    assert_eq!(store.load("a").unwrap(), second);
    fs::write(archive.join("fullchain2.pem"), "").unwrap();
    assert_eq!(store.load("a").unwrap(), first);
    fs::copy(archive.join("privkey2.pem"), archive.join("privkey1.pem")).unwrap();
    assert_eq!(store.load("a"), None, "a key that does not fit is no key");
    assert_eq!(save(&store, "a", &["a.example"]).lineage.version, 4);
}

#[test]
fn mixed_links_lead_to_the_newest_complete_version() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    save(&store, "a", &["a.example"]);
    let second = save(&store, "a", &["a.example"]).lineage;
    durable::link(&directory.path().join("live/a/cert.pem"), Path::new("../../archive/a/cert1.pem")).unwrap();
    assert_eq!(store.load("a").unwrap(), second);
}

#[test]
fn names_choose_their_lineage() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(store.name_for("a.example", &names(&["a.example"])), "a.example");
    save(&store, "a.example", &["a.example"]);
    assert_eq!(store.name_for("a.example", &names(&["a.example"])), "a.example");
    assert_eq!(store.name_for("a.example", &names(&["a.example", "b.example"])), "a.example-0001");
    save(&store, "a.example-0001", &["a.example", "b.example"]);
    assert_eq!(store.name_for("b.example", &names(&["b.example", "a.example"])), "a.example-0001");
    assert_eq!(store.name_for("a.example", &names(&["a.example", "c.example"])), "a.example-0002");
}

#[test]
fn storage_that_cannot_be_written_is_noticed_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = Store::open(&file.join("store")).unwrap_err();
    assert_eq!(error.action, "make the directory");
}

#[test]
fn certificates_are_due_when_a_third_of_their_life_is_left() {
    let lineage = |days: u64| Lineage {
        name: "a".into(),
        version: 1,
        names: Names::new(),
        not_before: SystemTime::UNIX_EPOCH,
        not_after: SystemTime::UNIX_EPOCH + DAY * u32::try_from(days).unwrap(),
    };
    for (life, day, due) in [(90, 59, false), (90, 60, true), (90, 91, true), (6, 2, false), (6, 3, true)] {
        assert_eq!(lineage(life).is_due(SystemTime::UNIX_EPOCH + DAY * day), due, "day {day} of {life}");
    }
}
