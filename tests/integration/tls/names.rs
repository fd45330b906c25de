//! Which certificate a client is shown.

use std::fs;

use test_support::{Connection, poll};

use super::{DEADLINE, GET, Secure};

/// The name in the certificate that a client is shown who asks for `name`.
fn shown(secure: &Secure, name: Option<&str>) -> String {
    let named = name.map_or(vec!["-noservername"], |name| vec!["-servername", name]);
    let told = secure.openssl(&named, GET);
    assert!(told.contains("Verify return code: 0 (ok)"), "{told}");
    assert!(told.contains("HTTP/1.1 200 "), "{told}");
    let begin = told.find("-----BEGIN CERTIFICATE-----").unwrap();
    let end = told.find("-----END CERTIFICATE-----").unwrap();
    let der = rustls_pem(&told[begin..end + 25]);
    String::from_utf8_lossy(&der).to_string()
}

fn rustls_pem(text: &str) -> Vec<u8> {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    CertificateDer::from_pem_slice(text.as_bytes()).unwrap().to_vec()
}

#[test]
fn a_client_is_shown_the_certificate_of_the_name_that_it_asks_for() {
    let secure = Secure::start("", &["first.example", "a.example", "*.a.example"]);
    for (name, expected) in [
        (Some("first.example"), "first.example"),
        (Some("a.example"), "a.example"),
        (Some("www.a.example"), "*.a.example"),
        (Some("A.EXAMPLE"), "a.example"),
        (Some("stranger.example"), "first.example"),
        (None, "first.example"),
    ] {
        let der = shown(&secure, name);
        // The wildcard's text holds that of the plain name.
        assert!(der.contains(expected) && der.contains("*.") == expected.starts_with("*."), "{name:?}");
    }
}

#[test]
fn files_that_change_are_shown_without_a_reload() {
    let secure = Secure::start("", &["a.example"]);
    let new = secure.authority.issue_for_names("new", &["a.example", "more.example"]).unwrap();
    let config = secure.config();
    let path = |key: &str| {
        let line = config.lines().find(|line| line.starts_with(&format!("{key} = "))).unwrap();
        line.split('"').nth(1).unwrap().to_owned()
    };
    fs::rename(&new.key, path("key")).unwrap();
    fs::rename(&new.certificate, path("certificate")).unwrap();
    let is_new = || shown(&secure, Some("a.example")).contains("more.example").then_some(());
    poll(DEADLINE, is_new).unwrap_or_else(|| panic!("{}", secure.lockgate.output()));
}

#[test]
fn who_speaks_plainly_is_told_what_is_wrong() {
    let secure = Secure::start("", &["a.example"]);
    let mut plain = Connection::open(secure.address()).unwrap();
    let answer = plain.exchange("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("https"), "{}", answer.text());
    assert_eq!(answer.header("connection"), Some("close"));
}

#[test]
fn a_configuration_with_tls_and_nothing_to_show_shows_a_placeholder() {
    let storage = test_support::scratch_dir().unwrap();
    let origin = test_support::Origin::start().unwrap();
    // Nobody answers there.
    let config = format!(
        "[[listener]]\nname = \"https\"\naddress = [\"127.0.0.1:0\"]\ntls = true\n\
         [[authenticator]]\nname = \"memory\"\nuse = \"standalone\"\n\
         [acme]\ndirectory = \"https://127.0.0.1:1/dir\"\nagree_to_terms = true\nstorage = \"{}\"\nauthenticator = \"memory\"\n\
         [[certificate]]\ndomains = [\"a.example\"]\n{}",
        storage.path().display(),
        super::route(&origin)
    );
    let lockgate = test_support::Lockgate::run(crate::support::LOCKGATE, &config).unwrap();
    let authority = test_support::Authority::new().unwrap();
    let told = super::openssl(lockgate.address(), &authority.ca_file(), &["-servername", "a.example"], GET);
    assert!(told.contains("Lockgate placeholder") && told.contains("HTTP/1.1 200 "), "{told}");
    let failed = || lockgate.output().contains("there is no new certificate").then_some(());
    poll(DEADLINE, failed).unwrap_or_else(|| panic!("{}", lockgate.output()));
}
