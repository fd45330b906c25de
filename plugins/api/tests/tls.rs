//! What is read from PEM, and what is told apart.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use plugin_api::{Address, Identity, Parent, ParentKind, Peer, Roots, Tls, TlsError};
use rcgen::{CertificateParams, KeyPair, generate_simple_self_signed};

fn authority() -> String {
    let parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
}

fn identity() -> (String, String) {
    let made = generate_simple_self_signed(["client.example".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

#[test]
fn a_file_holds_several_certificates_and_words_between_them() {
    let text = format!("The first\n{}\nand the second:\n{}", authority(), authority());
    assert_eq!(Roots::from_pem(text.as_bytes()).unwrap().certificates().len(), 2);
    assert!(matches!(Roots::from_pem(b"nothing"), Err(TlsError::Empty)));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let text = format!("{}{broken}", authority());
    assert!(matches!(Roots::from_pem(text.as_bytes()), Err(TlsError::Root { number: 2, .. })));
    let cut = authority().replace("-----END CERTIFICATE-----", "");
    assert!(Roots::from_pem(cut.as_bytes()).is_err());
}

#[test]
fn a_key_must_fit_and_is_not_shown() {
    let ((chain, key), (_, other)) = (identity(), identity());
    let good = Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
    assert_eq!((good.chain().len(), format!("{good:?}")), (1, "Identity".to_owned()));
    // Both may be in one file.
    let both = format!("{key}{chain}");
    assert!(Identity::from_pem(both.as_bytes(), both.as_bytes()).unwrap() == good);
    assert!(matches!(Identity::from_pem(chain.as_bytes(), other.as_bytes()), Err(TlsError::Pair(_))));
    assert!(matches!(Identity::from_pem(chain.as_bytes(), chain.as_bytes()), Err(TlsError::Key(_))));
    assert!(matches!(Identity::from_pem(key.as_bytes(), key.as_bytes()), Err(TlsError::Empty)));
}

#[test]
fn every_setting_is_in_the_key_of_connections() {
    let to = || vec![Address::Socket(([192, 0, 2, 1], 443).into())];
    let roots = || Roots::from_pem(authority().as_bytes()).unwrap();
    let (chain, key) = identity();
    let shown = Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
    let (one, other) = (roots(), roots());
    let settings = [
        Tls::default(),
        Tls::default().server_name("a"),
        Tls::default().without_verification(),
        Tls::default().roots(one.clone()),
        Tls::default().roots(other),
        Tls::default().identity(shown.clone()),
        Tls::default().roots(one.clone()).identity(shown),
    ];
    let mut keys: Vec<u64> =
        settings.iter().map(|tls| Peer::builder(to()).tls(tls.clone()).build().pool_key()).collect();
    let parents = settings.iter().map(|tls| Parent::new(ParentKind::Http, to()).tls(tls.clone()));
    keys.extend(parents.map(|parent| Peer::builder(to()).parent(parent).build().pool_key()));
    keys.push(Peer::builder(to()).build().pool_key());
    let number = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), number);
    // The same file read again is the same.
    let text = authority();
    let hash = |tls: Tls| {
        let mut hasher = DefaultHasher::new();
        tls.hash(&mut hasher);
        hasher.finish()
    };
    let read = || Tls::default().roots(Roots::from_pem(text.as_bytes()).unwrap());
    assert_eq!((read(), hash(read())), (read(), hash(read())));
}
