//! Which certificate a name gets.

use rcgen::{CertificateParams, KeyPair};

use super::*;

fn certificate(names: &[&str]) -> ServerCertificate {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    ServerCertificate::from_pem(made.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap()
}

#[test]
fn a_name_gets_its_own_certificate_then_a_wildcards_then_the_first() {
    let all = ServerCertificates::new();
    assert_eq!(all.find(Some("a.example")), None);
    let (first, exact, wild) =
        (certificate(&["first.example"]), certificate(&["www.Site.example"]), certificate(&["*.site.example"]));
    all.show(vec![first.clone(), wild.clone(), exact.clone()]);
    for (name, expected) in [
        ("www.site.example", &exact),
        ("WWW.site.EXAMPLE.", &exact),
        ("other.site.example", &wild),
        ("site.example", &first),
        ("a.b.site.example", &first),
        ("elsewhere.example", &first),
    ] {
        assert_eq!(all.find(Some(name)).as_ref(), Some(expected), "{name}");
    }
    assert_eq!(all.find(None).as_ref(), Some(&first));
    all.show(vec![wild.clone()]);
    assert_eq!(all.find(Some("www.site.example")), Some(wild));
}

#[test]
fn an_address_gets_the_certificate_that_is_for_it() {
    let all = ServerCertificates::new();
    let (first, address) = (certificate(&["first.example"]), certificate(&["192.0.2.1", "2001:db8::1"]));
    all.show(vec![first, address.clone()]);
    for text in ["192.0.2.1", "2001:db8::1"] {
        let found = all.for_address(text.parse().unwrap()).unwrap();
        assert!(Arc::ptr_eq(&found, address.certified()), "{text}");
    }
    assert!(all.for_address("192.0.2.2".parse().unwrap()).is_none());
    // The usual settings do, then, and sessions can be taken up again.
    all.show(vec![address]);
    assert!(all.for_address("192.0.2.1".parse().unwrap()).is_none());
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let (one, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let made = CertificateParams::new(vec!["a.example".to_owned()]).unwrap().self_signed(&one).unwrap();
    let refused =
        |chain: &str, key: &str| ServerCertificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err().to_string();
    assert_eq!(refused(&made.pem(), &other.serialize_pem()), "the private key does not fit the certificate");
    assert_eq!(refused("", &one.serialize_pem()), "there is no certificate in it");
    assert_eq!(refused(&made.pem(), "nothing"), "this is not a private key in PEM");
}
