//! The plugin on the harness, with a real authenticator.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::sync::Arc;

use authenticator_api::{Authenticator, Challenge, DomainName, KeyAuthorization, Token};
use authenticator_standalone::Standalone;
use plugin_acme_challenge::AcmeChallenge;
use plugin_api::{Named, Response, harness::Harness, http::StatusCode};

async fn with_token() -> Harness {
    let authenticator: Arc<dyn Authenticator> = Arc::new(Standalone::new(Vec::new()));
    let challenge = Challenge {
        domain: DomainName::parse("site.example").unwrap(),
        token: Token::parse("token").unwrap(),
        key_authorization: KeyAuthorization::parse("token.thumbprint").unwrap(),
    };
    authenticator.present(&challenge).await.unwrap();
    let mut named = Named::default();
    named.insert("memory", authenticator);
    Harness::with::<AcmeChallenge>("authenticator = \"memory\"", &named).unwrap()
}

#[tokio::test]
async fn a_known_token_is_answered_and_everything_else_goes_on() {
    let harness = with_token().await;
    let known = harness.request("GET", "/.well-known/acme-challenge/token").send_async().await;
    assert_eq!((known.status(), known.text().as_str()), (StatusCode::OK, "token.thumbprint"));
    assert_eq!(known.response.headers["content-type"], "application/octet-stream");
    for (method, path) in [
        ("GET", "/.well-known/acme-challenge/unknown"),
        ("GET", "/.well-known/acme-challenge/"),
        ("GET", "/.well-known/acme-challenge/token/"),
        ("GET", "/.well-known/acme-challenge/%74oken"),
        ("GET", "/token"),
        ("POST", "/.well-known/acme-challenge/token"),
    ] {
        let other = harness.request(method, path).send_async().await;
        assert_eq!(other.text(), "the application", "{method} {path}");
    }
}

#[test]
fn what_the_other_client_does_not_answer_goes_on() {
    let harness = Harness::of::<AcmeChallenge>("forward = \"http://127.0.0.1:12346\"").unwrap();
    let path = "/.well-known/acme-challenge/token";
    let forwarded = harness.request("GET", path).answered_with(Response::new(StatusCode::OK).with_body("key")).send();
    let upstream = forwarded.upstream.as_ref().unwrap();
    assert!(upstream.peer.is_some() && upstream.headers.contains_key("lockgate-acme-hop"));
    assert_eq!(forwarded.text(), "key");
    for gone in [
        harness.request("GET", path).with_unreachable_peers().send(),
        harness.request("GET", path).answered_with(Response::new(StatusCode::NOT_FOUND)).send(),
    ] {
        assert_eq!(gone.text(), "the application");
    }
    let looped = harness.request("GET", path).header("lockgate-acme-hop", "1").send();
    assert_eq!(looped.status(), StatusCode::LOOP_DETECTED);
    assert_eq!(harness.get("/").text(), "the application");
}

#[test]
fn answers_come_from_one_place() {
    let problem = |keys: &str| Harness::of::<AcmeChallenge>(keys).map(|_| ()).unwrap_err().to_string();
    assert!(problem("").contains("needs `authenticator` or `forward`"));
    assert!(problem("authenticator = \"a\"\nforward = \"http://b\"").contains("not both"));
    assert!(problem("authenticator = \"a\"").starts_with("harness:1:17: there is no authenticator `a`"));
    assert!(problem("forward = \"https://b\"").starts_with("harness:1:11: HTTP-01 challenges are plain HTTP"));
}
