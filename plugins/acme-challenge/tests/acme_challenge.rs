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
fn several_masters_are_one_peer() {
    let harness = Harness::of::<AcmeChallenge>("forward = [\"http://master\", \"http://[::1]:81\"]").unwrap();
    let forwarded = harness.get(PATH).upstream.unwrap();
    assert_eq!(forwarded.peer.unwrap().addresses().count(), 2);
    let gone = harness.request("GET", PATH).with_unreachable_peers().send();
    assert_eq!(gone.text(), "the application");
}

#[test]
fn a_thumbprint_answers_every_token_of_the_named_hosts_and_of_no_other() {
    let hosts = "hosts = [\"A.example\", \"192.0.2.1\", \"2001:db8::1\"]";
    let harness = Harness::of::<AcmeChallenge>(&format!("thumbprint = \"{THUMBPRINT}\"\n{hosts}")).unwrap();
    let ask = |method: &str, host: &str, token: &str| {
        let path = format!("/.well-known/acme-challenge/{token}");
        harness.request(method, &path).host(host).send()
    };
    for host in ["a.example", "A.Example", "a.example:80", "192.0.2.1:8080", "[2001:db8::1]", "[2001:DB8::1]:80"] {
        for token in ["token", "another-1_"] {
            for method in ["GET", "HEAD"] {
                let answer = ask(method, host, token);
                let text = answer.text();
                assert_eq!((answer.status(), text), (StatusCode::OK, format!("{token}.{THUMBPRINT}")), "{host}");
                assert_eq!(answer.response.headers["content-type"], "application/octet-stream");
                assert!(answer.upstream.is_none());
            }
        }
    }
    let long = "a".repeat(257);
    for (method, host, token) in [
        ("GET", "b.example", "token"),
        ("GET", "x.a.example", "token"),
        ("GET", "a.example.evil.example", "token"),
        ("GET", "192.0.2.2", "token"),
        ("GET", "[2001:db8::2]", "token"),
        ("POST", "a.example", "token"),
        ("PUT", "a.example", "token"),
        ("GET", "a.example", ""),
        ("GET", "a.example", "to.ken"),
        ("GET", "a.example", "to/ken"),
        ("GET", "a.example", "%74oken"),
        ("GET", "a.example", "token="),
        ("GET", "a.example", &long),
    ] {
        assert_eq!(ask(method, host, token).text(), "the application", "{method} {host} {token}");
    }
    let elsewhere = harness.request("GET", "/token").host("a.example").send();
    assert_eq!(elsewhere.text(), "the application");
}

fn problem(keys: &str) -> String {
    Harness::of::<AcmeChallenge>(keys).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn answers_come_from_one_place() {
    assert!(problem("").contains("needs `authenticator`, `forward` or `thumbprint`"));
    let (authenticator, forward) = ("authenticator = \"a\"\n", "forward = \"http://b\"\n");
    let thumbprint = format!("thumbprint = \"{THUMBPRINT}\"\nhosts = [\"a.example\"]\n");
    for (keys, line) in [
        (format!("{authenticator}{forward}"), 2),
        (format!("{authenticator}{thumbprint}"), 2),
        (format!("{forward}{thumbprint}"), 2),
        (format!("{authenticator}{forward}{thumbprint}"), 3),
    ] {
        let problem = problem(&keys);
        assert!(problem.starts_with(&format!("harness:{line}:")) && problem.contains("not from several"), "{problem}");
    }
}

#[test]
fn what_cannot_be_asked_or_answered_is_told_with_its_place() {
    for (keys, place, message) in [
        ("authenticator = \"a\"", "1:17", "there is no authenticator `a`"),
        ("forward = \"https://b\"", "1:11", "HTTP-01 challenges are plain HTTP"),
        ("forward = [\"http://a\", \"b:80\"]", "1:24", "HTTP-01 challenges are plain HTTP"),
        ("forward = [\"http://a\", \"http://a:80\"]", "1:24", "this one is there twice"),
        ("forward = []", "1:11", "there must be at least one URL"),
        ("hosts = [\"a\"]\nforward = \"http://a\"", "1:9", "`hosts` are those that a `thumbprint` is answered for"),
        ("thumbprint = \"x\"\nhosts = [\"a\"]", "1:14", "this is no thumbprint"),
        (&format!("thumbprint = \"{THUMBPRINT}\""), "1:14", "for the names in `hosts` only"),
        (&format!("thumbprint = \"{THUMBPRINT}\"\nhosts = []"), "2:9", "there must be at least one host"),
        (&format!("thumbprint = \"{THUMBPRINT}\"\nhosts = [\"a\", \"A\"]"), "2:15", "is there twice"),
        (&format!("thumbprint = \"{THUMBPRINT}\"\nhosts = [\"*.a\"]"), "2:10", "all names below one"),
        (&format!("thumbprint = \"{THUMBPRINT}\"\nhosts = [\"a:80\"]"), "2:10", "is not a host"),
    ] {
        let problem = problem(keys);
        let is_told = problem.starts_with(&format!("harness:{place}: ")) && problem.contains(message);
        assert!(is_told && problem.contains("hint: "), "{keys}: {problem}");
    }
}

const PATH: &str = "/.well-known/acme-challenge/token";
const THUMBPRINT: &str = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
