//! What a challenge certificate says, and which one is shown.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail like the test")]

use authenticator_api::{Authenticator as _, Challenge, ChallengeKind, DomainName, conformance::challenge_for};
use authenticator_tls_alpn::TlsAlpn;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

async fn presented(authenticator: &TlsAlpn, challenge: &Challenge) -> Vec<u8> {
    authenticator.present(challenge).await.unwrap();
    let certificate = authenticator.certificate(&challenge.domain.server_name()).unwrap();
    certificate.certificate.to_vec()
}

#[tokio::test]
async fn the_certificate_is_as_rfc_8737_wants_it() {
    let authenticator = TlsAlpn::new();
    assert_eq!(authenticator.kind(), ChallengeKind::TlsAlpn01);
    let address =
        Challenge { domain: DomainName::from_address("192.0.2.1".parse().unwrap()), ..challenge_for("x.test") };
    for challenge in [challenge_for("a.test"), address] {
        let der = presented(&authenticator, &challenge).await;
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        let names = &certificate.subject_alternative_name().unwrap().unwrap().value.general_names;
        let is_ours = match challenge.domain.address() {
            None => names[..] == [GeneralName::DNSName("a.test")],
            Some(_) => names[..] == [GeneralName::IPAddress(&[192, 0, 2, 1])],
        };
        assert!(is_ours, "{names:?}");
        let identifier =
            certificate.extensions().iter().find(|one| one.oid.to_id_string() == "1.3.6.1.5.5.7.1.31").unwrap();
        assert!(identifier.critical);
        let digest = ring::digest::digest(&ring::digest::SHA256, challenge.key_authorization.as_str().as_bytes());
        assert_eq!(identifier.value, [&[4, 32], digest.as_ref()].concat(), "an OCTET STRING of the digest");
        assert_eq!(certificate.issuer(), certificate.subject());
    }
}

#[tokio::test]
async fn names_are_found_in_any_case_and_the_newest_challenge_is_shown() {
    let authenticator = TlsAlpn::new();
    let (first, second) = (challenge_for("a.test"), challenge_for("a.test"));
    let (older, newer) = (presented(&authenticator, &first).await, presented(&authenticator, &second).await);
    assert_ne!(older, newer);
    let shown = |name: &str| authenticator.certificate(name).map(|shown| shown.certificate.to_vec());
    assert_eq!(shown("A.Test."), Some(newer));
    assert_eq!(shown("b.test"), None);
    assert_eq!(shown(""), None);
    authenticator.cleanup(&second).await.unwrap();
    assert_eq!(shown("a.test"), Some(older.clone()), "the older order may still go on");
    authenticator.present(&first).await.unwrap();
    assert_eq!(shown("a.test"), Some(older), "presenting again changes nothing");
    authenticator.cleanup(&first).await.unwrap();
    assert_eq!(shown("a.test"), None);
}
