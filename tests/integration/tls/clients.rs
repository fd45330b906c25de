//! Clients that show certificates, and what is told about clients.

use test_support::Authority;

use super::{GET, Secure};

#[test]
fn who_must_show_a_certificate_is_served_with_one_and_not_without() {
    let clients = Authority::new().unwrap();
    let member = clients.issue_for_names("member", &["member.example"]).unwrap();
    let stranger = Authority::new().unwrap().issue_for_names("stranger", &["member.example"]).unwrap();
    let shows = |secure: &Secure, who: &test_support::Credentials, version: &str| {
        let (certificate, key) = (who.certificate.display().to_string(), who.key.display().to_string());
        secure.openssl(&[version, "-cert", &certificate, "-key", &key], GET).contains("HTTP/1.1 200 ")
    };
    let ca = format!("client_ca = \"{}\"\n", clients.ca_file().display());
    let strict = Secure::start(&ca, &["a.example"]);
    let lenient = Secure::start(&format!("{ca}client_certificate = \"optional\"\n"), &["a.example"]);
    for version in ["-tls1_2", "-tls1_3"] {
        assert!(shows(&strict, &member, version), "{version}");
        assert!(!strict.openssl(&[version], GET).contains("HTTP/1.1 200 "), "{version}");
        assert!(lenient.openssl(&[version], GET).contains("HTTP/1.1 200 "), "{version}");
        assert!(shows(&lenient, &member, version), "{version}");
        // `stranger`'s files are gone with their authority: openssl says so itself.
    }
    assert!(!stranger.certificate.exists());
    let other = Authority::new().unwrap();
    let stranger = other.issue_for_names("stranger", &["member.example"]).unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        assert!(!shows(&strict, &stranger, version), "{version}");
        assert!(!shows(&lenient, &stranger, version), "{version}");
    }
}

#[test]
fn the_application_is_told_that_it_was_https() {
    let secure = Secure::start("", &["a.example"]);
    for version in ["--http1.1", "--http2"] {
        let head = secure.curl("a.example", "/head", &[version, "-H", "X-Forwarded-Proto: http"]).to_lowercase();
        assert!(head.contains("x-forwarded-proto: https"), "{version}: {head}");
        assert!(head.contains("for=127.0.0.1;proto=https"), "{version}: {head}");
        assert!(!head.contains("x-forwarded-proto: http\r"), "{version}: {head}");
        let host = format!("host: a.example:{}", secure.address().port());
        assert!(head.contains(&host) && head.contains(&format!("x-forwarded-{host}")), "{version}: {head}");
    }
}
