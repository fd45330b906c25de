//! Orders that are kept, found again and forgotten.

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::{Renewal, issued::Issued};

fn terms(names: &[&str]) -> Terms {
    Terms {
        directory: "https://ca.example/dir".into(),
        account: "https://ca.example/account/1".into(),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        profile: None,
        replaces: None,
    }
}

fn order(names: &[&str], now: SystemTime) -> KeptOrder {
    KeptOrder::new(terms(names), KeyPair::generate().unwrap().serialize_pem(), now)
}

#[test]
fn an_order_is_found_by_its_terms_and_by_no_others() {
    let directory = test_support::scratch_dir().unwrap();
    let (store, now) = (Store::open(directory.path()).unwrap(), SystemTime::now());
    let mut kept = order(&["a.example", "b.example"], now);
    store.keep_order("a", &kept).unwrap();
    kept.url = Some("https://ca.example/order/1".into());
    assert!(kept.resume());
    store.keep_order("a", &kept).unwrap();
    let store = Store::open(directory.path()).unwrap();
    let found = store.kept_order("a", &kept.terms, now).unwrap();
    assert_eq!((&found.key, &found.url, found.resumed), (&kept.key, &kept.url, 1));
    let file = store.orders_of("a").join(kept.terms.file_name());
    for (path, mode) in [(file.as_path(), 0o600), (file.parent().unwrap(), 0o700)] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
    }
    let wanted = kept.terms.clone();
    let others = [
        Terms { names: terms(&["a.example"]).names, ..wanted.clone() },
        Terms { directory: "https://other.example/dir".into(), ..wanted.clone() },
        Terms { account: "https://ca.example/account/2".into(), ..wanted.clone() },
        Terms { profile: Some("shortlived".into()), ..wanted.clone() },
        Terms { replaces: Some("aki.serial".into()), ..wanted.clone() },
    ];
    for other in &others {
        assert!(store.kept_order("a", other, now).is_none(), "{other:?}");
    }
    assert!(store.kept_order("b", &wanted, now).is_none(), "another lineage");
    assert!(store.kept_order("a", &wanted, now).is_some(), "it is still there");
    store.keep_order("a", &order(&["c.example"], now)).unwrap();
    store.drop_order("a", &wanted);
    assert!(store.kept_order("a", &wanted, now).is_none());
    assert!(store.kept_order("a", &terms(&["c.example"]), now).is_some());
    store.forget_orders("a");
    assert!(!directory.path().join("lockgate/orders").exists());
}

#[test]
fn what_is_damaged_foreign_or_old_is_removed() {
    let directory = test_support::scratch_dir().unwrap();
    let (store, now) = (Store::open(directory.path()).unwrap(), SystemTime::now());
    let kept = order(&["a.example"], now);
    let path = store.orders_of("a").join(kept.terms.file_name());
    store.keep_order("a", &kept).unwrap();
    let good = fs::read_to_string(&path).unwrap();
    let key = good.replace("MIGH", "AAAA");
    let names = good.replace("a.example", "b.example");
    let half: String = good.chars().take(good.len() / 2).collect();
    for damaged in [&half, "", "null", "{}", "\0", &key, &names] {
        fs::write(&path, damaged).unwrap();
        assert!(store.kept_order("a", &kept.terms, now).is_none(), "{damaged}");
        assert!(!path.exists(), "{damaged}");
    }
    let strange = path.with_file_name("README");
    fs::write(&strange, "hello").unwrap();
    fs::write(&path, good).unwrap();
    assert!(store.kept_order("a", &kept.terms, now).is_some());
    assert!(!strange.exists());
    let [week, hour] = [7 * 86_400, 3600].map(Duration::from_secs);
    assert!(store.kept_order("a", &kept.terms, now - hour).is_some(), "a clock that was ahead");
    assert!(store.kept_order("a", &terms(&["b.example"]), now + week + hour).is_none());
    assert!(!path.exists(), "an old one goes whatever was wanted");
}

#[test]
fn an_order_whose_certificate_is_in_use_is_done_and_one_whose_certificate_is_not_is_not() {
    let directory = test_support::scratch_dir().unwrap();
    let (store, now) = (Store::open(directory.path()).unwrap(), SystemTime::now());
    let kept = order(&["a.example"], now);
    store.keep_order("a", &kept).unwrap();
    let save = |key: &KeyPair| {
        let params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        let pem = params.self_signed(key).unwrap().pem();
        let issued = Issued::read(&format!("{pem}{pem}"), &key.serialize_pem()).unwrap();
        store.write_version("a", &issued, &key.serialize_pem(), &Renewal::default()).unwrap()
    };
    save(&KeyPair::generate().unwrap());
    assert!(store.kept_order("a", &kept.terms, now).is_some(), "that was another one");
    save(&KeyPair::from_pem(&kept.key).unwrap());
    assert!(store.kept_order("a", &kept.terms, now).is_none());
}

#[test]
fn an_order_is_not_taken_up_again_for_ever() {
    let mut kept = order(&["a.example"], SystemTime::now());
    assert_eq!([(); 4].map(|()| kept.resume()), [true, true, true, false]);
}
