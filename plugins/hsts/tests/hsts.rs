//! The plugin on the harness: who is told what, and what it refuses to be built from.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use plugin_api::{
    BuildCx, ConfigError, Cx, Named, Phases, Plugin, Response, Scheme, Step, Terminal, Verdict,
    harness::{Harness, Sending, link},
    http::{HeaderValue, StatusCode, header},
};
use plugin_hsts::Hsts;

fn over_tls(keys: &str) -> Harness {
    let mut harness = Harness::of::<Hsts>(keys).unwrap();
    harness.connection().scheme = Scheme::Https;
    harness
}

/// Every field of the name that the client gets.
fn told(sending: Sending<'_>) -> Vec<String> {
    let response = sending.send().response;
    let fields = response.headers.get_all(header::STRICT_TRANSPORT_SECURITY);
    fields.iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

fn policy(keys: &str) -> String {
    told(over_tls(keys).request("GET", "/")).join(" and ")
}

/// An application with policies of its own.
fn saying(values: &[&'static str]) -> Response {
    values.iter().fold(Response::new(StatusCode::OK), |response, value| {
        response.with_header(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(value))
    })
}

#[test]
fn a_policy_is_what_the_keys_say() {
    for (keys, expected) in [
        ("", "max-age=31536000"),
        ("max_age = \"5m\"", "max-age=300"),
        ("max_age = \"3000ms\"", "max-age=3"),
        ("max_age = \"730d\"\ninclude_subdomains = true", "max-age=63072000; includeSubDomains"),
        ("include_subdomains = true\npreload = true", "max-age=31536000; includeSubDomains; preload"),
        ("max_age = \"0s\"", "max-age=0"),
        ("max_age = \"0s\"\ninclude_subdomains = true", "max-age=0; includeSubDomains"),
    ] {
        assert_eq!(policy(keys), expected, "{keys}");
    }
}

#[test]
fn nothing_is_said_over_plain_http() {
    let harness = Harness::of::<Hsts>("").unwrap();
    assert!(told(harness.request("GET", "/")).is_empty());
    let claiming = harness.request("GET", "/").header("X-Forwarded-Proto", "https");
    assert!(told(claiming).is_empty(), "who ends TLS in front of us says it himself");
    // It may be meant for the visitor of a proxy in front, and from here it has no effect on anybody else (RFC 6797 §8.1).
    let of_application = harness.request("GET", "/").answered_with(saying(&["max-age=1"]));
    assert_eq!(told(of_application), ["max-age=1"]);
}

#[test]
fn one_policy_holds_for_the_whole_host() {
    let harness = over_tls("");
    for said in [&["max-age=0"][..], &["max-age=1", "max-age=2; preload"], &["nonsense"]] {
        assert_eq!(told(harness.request("GET", "/").answered_with(saying(said))), ["max-age=31536000"]);
    }
}

#[test]
fn an_application_that_knows_better_is_left_its_policy() {
    let harness = over_tls("override = false");
    let said = |values: &[&'static str]| told(harness.request("GET", "/").answered_with(saying(values)));
    assert_eq!(said(&[]), ["max-age=31536000"]);
    assert_eq!(said(&["max-age=60"]), ["max-age=60"]);
    // RFC 6797 §7.1 allows one; §8.1 lets browsers look at the first only.
    assert_eq!(said(&["max-age=60", "max-age=0"]), ["max-age=60"]);
}

#[test]
fn a_host_without_a_name_has_no_policy() {
    let harness = over_tls("");
    for host in ["192.0.2.1", "192.0.2.1:8443", "[2001:db8::1]", "[::1]:8443", ""] {
        assert!(told(harness.request("GET", "/").host(host)).is_empty(), "{host}");
    }
    for host in ["site.example", "site.example:8443", "localhost", "192.0.2.1.example", "1"] {
        assert_eq!(told(harness.request("GET", "/").host(host)).len(), 1, "{host}");
    }
}

#[test]
fn nothing_is_said_for_hosts_of_others() {
    // A forward proxy that is reached over TLS would otherwise promise that other people's sites have it.
    let harness = over_tls("");
    for (method, target) in [
        ("GET", "http://elsewhere.example/"),
        ("GET", "https://elsewhere.example/"),
        ("CONNECT", "elsewhere.example:443"),
    ] {
        assert!(told(harness.request(method, target)).is_empty(), "{method} {target}");
    }
    let sending = harness.request("GET", "https://elsewhere.example/").answered_with(saying(&["max-age=1"]));
    assert_eq!(told(sending), ["max-age=1"], "what they say themselves passes");
}

/// Refuses every request.
struct Wall;

impl Plugin for Wall {
    const NAME: &'static str = "wall";
    const PHASES: Phases = Phases::REQUEST;
    const TERMINAL: Terminal = Terminal::Always;
    type Config = ();
    type State = ();

    fn build((): (), _: &mut BuildCx<'_>) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn request<'a>(&'a self, _: &'a mut Cx<'_>, (): &'a mut ()) -> Step<'a> {
        Step::done(Verdict::Respond(Box::new(Response::refuse(StatusCode::FORBIDDEN, "no"))))
    }
}

#[test]
fn refusals_of_plugins_behind_it_carry_the_policy_too() {
    let links = vec![link::<Hsts>("", &Named::default()).unwrap(), plugin_api::Link::new(Wall)];
    let mut harness = Harness::chain(links);
    harness.connection().scheme = Scheme::Https;
    assert_eq!(told(harness.request("GET", "/")), ["max-age=31536000"]);
}

#[test]
fn what_cannot_work_is_refused_where_it_stands() {
    let cases = [
        ("preload = true", "harness:1:11: browsers' lists take a host only together with its subdomains"),
        ("preload = true", "hint: add `include_subdomains = true`, or leave `preload` out"),
        (
            "max_age = \"364d\"\ninclude_subdomains = true\npreload = true",
            "harness:1:11: browsers' lists take a host only for a year or more",
        ),
        (
            "max_age = \"0s\"\ninclude_subdomains = true\npreload = true",
            "hint: write `max_age = \"365d\"` or more, or leave `preload` out",
        ),
        ("max_age = \"1500ms\"", "harness:1:11: browsers are told whole seconds"),
        // Rounded down it would take the policy back.
        ("max_age = \"1ms\"", "harness:1:11: browsers are told whole seconds"),
        ("max_age = 31536000", "harness:1:11: "),
        ("max_age = \"1y\"", "harness:1:11: "),
        ("include_sub_domains = true", "did you mean `include_subdomains`?"),
    ];
    for (keys, expected) in cases {
        let problems = Harness::of::<Hsts>(keys).map(|_| ()).unwrap_err().to_string();
        assert!(problems.contains(expected), "{expected} is not in\n{problems}");
    }
}
