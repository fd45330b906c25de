//! Versions of TLS, and sessions that are taken up again.

use super::{GET, Secure};

fn resumed(secure: &Secure, version: &str, session: &str) -> bool {
    let told = secure.openssl(&[version, "-servername", "a.example", "-sess_in", session], GET);
    assert!(told.contains("HTTP/1.1 200 "), "{told}");
    told.contains("Reused, ")
}

#[test]
fn a_session_is_taken_up_again_also_after_a_reload() {
    let mut secure = Secure::start("", &["a.example"]);
    let directory = test_support::scratch_dir().unwrap();
    for version in ["-tls1_2", "-tls1_3"] {
        let session = directory.path().join(version).display().to_string();
        let told = secure.openssl(&[version, "-servername", "a.example", "-sess_out", &session], GET);
        assert!(told.contains("New, TLSv1"), "{told}");
        assert!(resumed(&secure, version, &session), "{version}");
        let config = secure.config();
        secure.reload(&format!("{config}[log]\naccess = \"{}\"\n", directory.path().join("log").display()));
        assert!(resumed(&secure, version, &session), "{version} after a reload");
        secure.reload(&config);
    }
}

#[test]
fn a_session_of_a_listener_without_client_certificates_does_not_pass_for_one_with() {
    let plain = Secure::start("", &["a.example"]);
    let ca = plain.authority.ca_file();
    let config = plain.config();
    // A second listener of the same program, which asks for certificates.
    let both = format!(
        "[[listener]]\nname = \"strict\"\naddress = [\"127.0.0.1:0\"]\ntls = true\nclient_ca = \"{}\"\n{config}",
        ca.display()
    );
    let lockgate = test_support::Lockgate::run(crate::support::LOCKGATE, &both).unwrap();
    let (strict, open) = (lockgate.addresses()[0], lockgate.addresses()[1]);
    let directory = test_support::scratch_dir().unwrap();
    let session = directory.path().join("session").display().to_string();
    for version in ["-tls1_2", "-tls1_3"] {
        let told = super::openssl(open, &ca, &[version, "-servername", "a.example", "-sess_out", &session], GET);
        assert!(told.contains("HTTP/1.1 200 "), "{told}");
        let told = super::openssl(strict, &ca, &[version, "-servername", "a.example", "-sess_in", &session], GET);
        assert!(!told.contains("HTTP/1.1 200 ") && told.contains("alert"), "{version}: {told}");
    }
}

#[test]
fn old_versions_are_not_spoken() {
    let secure = Secure::start("", &["a.example"]);
    for version in ["-tls1", "-tls1_1"] {
        let told = secure.openssl(&[version, "-cipher", "ALL:@SECLEVEL=0"], GET);
        assert!(!told.contains("HTTP/1.1 200 "), "{version}: {told}");
    }
    let strict = Secure::start("tls_minimum = \"1.3\"", &["a.example"]);
    assert!(!strict.openssl(&["-tls1_2"], GET).contains("HTTP/1.1 200 "));
    assert!(strict.openssl(&["-tls1_3"], GET).contains("HTTP/1.1 200 "));
}
