//! Lineages that are saved, loaded and mended.

use std::{os::unix::fs::PermissionsExt as _, time::SystemTime};

use authenticator_api::DomainName;
use rcgen::{CertificateParams, KeyPair};

use super::*;
use crate::Names;

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

const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

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
fn whoever_may_read_a_private_key_may_read_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    save(&store, "a", &["a.example"]);
    let key = directory.path().join("live/a/privkey.pem");
    std::os::unix::fs::chown(&key, None, Some(4)).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    save(&store, "a", &["a.example"]);
    let second = fs::metadata(directory.path().join("archive/a/privkey2.pem")).unwrap();
    assert_eq!((second.mode() & 0o777, second.gid()), (0o640, 4));
    let second = fs::metadata(directory.path().join("archive/a/fullchain2.pem")).unwrap();
    assert_eq!(second.mode() & 0o777, 0o644);
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
        others: Vec::new(),
        not_before: SystemTime::UNIX_EPOCH,
        id: None,
        not_after: SystemTime::UNIX_EPOCH + DAY * u32::try_from(days).unwrap(),
    };
    for (life, day, due) in [(90, 59, false), (90, 60, true), (90, 91, true), (6, 2, false), (6, 3, true)] {
        assert_eq!(lineage(life).is_due(SystemTime::UNIX_EPOCH + DAY * day), due, "day {day} of {life}");
    }
}

#[test]
fn a_wildcard_certificate_does_not_give_way_to_one_without() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    save(&store, "a.example", &["a.example", "*.a.example", "192.0.2.1"]);
    let lineage = store.load("a.example").unwrap();
    assert!(!lineage.is_for(&names(&["a.example"])) && lineage.others == ["*.a.example"], "{lineage:?}");
    assert_eq!(store.name_for("a.example", &names(&["a.example"])), "a.example-0001");
}

#[test]
fn drafts_of_a_killed_run_with_our_process_id_are_in_nobodys_way() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let id = std::process::id();
    fs::create_dir_all(directory.path().join("live/a")).unwrap();
    fs::create_dir_all(directory.path().join("accounts/ca.example/dir/abc")).unwrap();
    let drafts = [
        format!("archive/.lockgate-draft-{id}-.lockgate-trial"),
        format!("renewal/.lockgate-draft-{id}-a.conf"),
        format!("live/a/.lockgate-draft-{id}-cert.pem"),
        format!("accounts/ca.example/dir/abc/.lockgate-draft-{id}-regr.json"),
    ];
    for draft in &drafts {
        fs::write(directory.path().join(draft), "half").unwrap();
    }
    Store::open(directory.path()).unwrap();
    save(&store, "a", &["a.example"]);
    for draft in &drafts[..3] {
        assert!(!directory.path().join(draft).exists(), "{draft}");
    }
}

#[test]
fn storage_may_be_opened_by_many_at_once() {
    let directory = tempfile::tempdir().unwrap();
    // The draft's name has the process in it: threads would share one, so this only removes what another one tries.
    std::thread::scope(|scope| {
        let trial = directory.path().join("archive/.lockgate-trial");
        let opened = scope.spawn(|| (0..50).map(|_| Store::open(directory.path())).collect::<Vec<_>>());
        while !opened.is_finished() {
            let _ = fs::remove_file(&trial);
        }
        for store in opened.join().unwrap() {
            store.unwrap();
        }
    });
}

#[test]
fn a_directory_may_be_made_by_many_at_once() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..50 {
        let path = directory.path().join(format!("{round}/store"));
        let barrier = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            let make = || {
                barrier.wait();
                durable::make_directory(&path, 0o700)
            };
            for made in [(); 4].map(|()| scope.spawn(make)) {
                made.join().unwrap().unwrap();
            }
        });
    }
}

#[test]
fn a_configuration_that_cannot_be_read_is_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let conf = directory.path().join("renewal/a.conf");
    fs::write(&conf, b"# \xff\nx = 1\n").unwrap();
    let (issued, key) = certificate(&["a.example"]);
    let error = store.save("a", &issued, &key, &Renewal::default()).unwrap_err();
    assert_eq!((error.action, &error.path), ("read", &conf));
    assert_eq!(fs::read(&conf).unwrap(), b"# \xff\nx = 1\n");
}

#[test]
fn the_configuration_names_absolute_paths_and_the_authority() {
    let directory = tempfile::tempdir_in(".").unwrap();
    let relative = Path::new(directory.path().file_name().unwrap());
    let store = Store::open(relative).unwrap();
    let (issued, key) = certificate(&["a.example"]);
    let renewal = Renewal { server: "https://ca.example/dir".into(), ..Renewal::default() };
    store.save("a", &issued, &key, &renewal).unwrap();
    let text = fs::read_to_string(relative.join("renewal/a.conf")).unwrap();
    let live = std::path::absolute(relative).unwrap().join("live/a/cert.pem");
    assert!(text.contains(&format!("cert = {}\n", live.display())), "{text}");
    assert_eq!(store.server("a").as_deref(), Some("https://ca.example/dir"));
}
