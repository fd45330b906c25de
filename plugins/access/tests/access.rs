//! The plugin on the harness: who goes on, who is refused, and what it refuses to be built from.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use plugin_access::Access;
use plugin_api::{
    harness::{Exchange, Harness},
    http::StatusCode,
};

fn asked(keys: &str, client: &str) -> Exchange {
    let mut harness = Harness::of::<Access>(keys).unwrap();
    harness.connection().client = client.parse().unwrap();
    harness.get("/")
}

fn status(keys: &str, client: &str) -> u16 {
    asked(keys, client).status().as_u16()
}

#[test]
fn the_first_rule_that_is_about_a_client_decides() {
    let keys = "rules = [{ deny = \"10.0.0.5\" }, { allow = \"10.0.0.0/8\" }, { deny = \"10.1.0.0/16\" }, { allow = \"::1\" }]";
    for (client, expected) in [
        ("10.0.0.5:1", 403),
        ("10.0.0.6:1", 200),
        ("10.1.0.1:1", 200),
        ("[::ffff:10.0.0.6]:1", 200),
        ("[::ffff:10.0.0.5]:1", 403),
        ("[::1]:1", 200),
        ("[::2]:1", 403),
        ("192.0.2.1:1", 403),
    ] {
        assert_eq!(status(keys, client), expected, "{client}");
    }
}

#[test]
fn who_is_in_no_rule_is_refused() {
    assert_eq!(status("rules = []", "127.0.0.1:1"), 403);
    assert_eq!(status("rules = [{ deny = \"10.0.0.0/8\" }]", "127.0.0.1:1"), 403);
    assert_eq!(status("rules = [{ deny = \"10.0.0.0/8\" }, { allow = \"::/0\" }]", "127.0.0.1:1"), 200);
    assert_eq!(status("rules = [{ allow = \"0.0.0.0/0\" }]", "[2001:db8::1]:1"), 403);
    assert_eq!(
        status("rules = [{ allow = \"::/0\" }, { allow = \"localhost\" }]", "unix:"),
        403,
        "no rule is about it"
    );
}

#[test]
fn a_refusal_says_what_tinyproxy_says() {
    let exchange = asked("rules = []", "192.0.2.1:1");
    assert_eq!((exchange.status(), exchange.response.phrase), (StatusCode::FORBIDDEN, Some("Access denied")));
    assert!(exchange.text().contains("has not configured it to service requests from your host"));
    assert!(exchange.upstream.is_none());
}

#[test]
fn every_request_is_looked_at_whatever_it_asks_for() {
    let mut harness = Harness::of::<Access>("rules = [{ allow = \"192.0.2.7\" }]").unwrap();
    for (client, expected) in [("192.0.2.7:1", StatusCode::OK), ("192.0.2.8:1", StatusCode::FORBIDDEN)] {
        harness.connection().client = client.parse().unwrap();
        for (method, target) in
            [("GET", "/"), ("POST", "http://a.example/"), ("CONNECT", "a.example:443"), ("OPTIONS", "*")]
        {
            assert_eq!(harness.request(method, target).send().status(), expected, "{method} {target}");
        }
    }
}

#[tokio::test]
async fn names_are_looked_up() {
    let keys = "rules = [{ deny = \"127.0.0.9\" }, { allow = \"localhost\" }, { allow = \"no-such-name.invalid\" }]";
    let mut harness = Harness::of::<Access>(keys).unwrap();
    for (client, expected) in [("127.0.0.1:1", 200), ("127.0.0.1:2", 200), ("127.0.0.9:1", 403), ("192.0.2.1:1", 403)] {
        harness.connection().client = client.parse().unwrap();
        let exchange = harness.request("GET", "/").send_async().await;
        assert_eq!((exchange.status().as_u16(), exchange.broken.len()), (expected, 0), "{client}");
    }
}

#[test]
fn what_says_nothing_about_clients_is_refused_where_it_stands() {
    for (keys, expected) in [
        ("", "missing field `rules`"),
        ("rules = [{ allow = \"::1\" }, { deny = \"10.0.0.0/33\" }]", "harness:1:29: `10.0.0.0/33`: the prefix length"),
        ("rules = [{ allow = \"*.example.com\" }]", "hint: write an address, a range"),
        ("rules = [{ allow = \"10.0.0.300\" }]", "harness:1:10: `10.0.0.300`: this is neither an address"),
        ("rules = [{ alow = \"::1\" }]", "alow"),
        ("rules = [{ allow = \"::1\", deny = \"::2\" }]", "harness:1:10"),
        ("rules = [\"::1\"]", "harness:1:10"),
        ("rules = []\nunresolved = \"ignore\"", "refuse"),
        ("rules = []\nlookup_timeout = 5", "a time such as"),
    ] {
        let problems = Harness::of::<Access>(keys).map(|_| ()).unwrap_err().to_string();
        assert!(problems.contains(expected), "{expected} is not in\n{problems}");
    }
}
