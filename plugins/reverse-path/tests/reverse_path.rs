//! The plugin on the harness: which application gets a request and as what, and what it refuses to be built from.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::time::Duration;

use plugin_api::{
    Address, Peer, Response,
    harness::{Exchange, Harness},
    http::{HeaderValue, StatusCode, header},
};
use plugin_reverse_path::ReversePath;

/// Two applications and a prefix that is no folder.
const PATHS: &str = "paths = [\n\
    { path = \"/app/\", to = \"http://192.0.2.1:8080/inner/\" },\n\
    { path = \"/bare\", to = \"http://plain.example/p\" },\n\
    { path = \"/tls/\", to = \"https://secure.example/\" },\n\
]\n";

fn built(more: &str) -> Harness {
    Harness::of::<ReversePath>(&format!("{PATHS}{more}")).unwrap()
}

/// Target and host, as the application sees them; `None` when it does not.
fn passed_on(exchange: &Exchange) -> Option<(&str, &str)> {
    let upstream = exchange.upstream.as_ref().filter(|upstream| upstream.peer.is_some())?;
    Some((&upstream.target, upstream.headers[header::HOST].to_str().unwrap()))
}

fn goes_on(exchange: &Exchange) -> bool {
    exchange.upstream.as_ref().is_some_and(|upstream| upstream.peer.is_none())
}

fn peer(exchange: Exchange) -> Peer {
    exchange.upstream.and_then(|upstream| upstream.peer).expect("it names a peer")
}

fn field(exchange: &Exchange, name: header::HeaderName) -> Vec<&str> {
    exchange.response.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

#[test]
fn the_url_takes_the_place_of_the_path() {
    let harness = built("");
    for (target, expected) in [
        ("/app/", ("/inner/", "192.0.2.1:8080")),
        ("/app/x/y?q=/app/&r", ("/inner/x/y?q=/app/&r", "192.0.2.1:8080")),
        ("/app/?q", ("/inner/?q", "192.0.2.1:8080")),
        ("/app//x", ("/inner//x", "192.0.2.1:8080")),
        ("/app/%41%2fb", ("/inner/%41%2fb", "192.0.2.1:8080")),
        ("/bare/x", ("/px", "plain.example")),
        ("/bare/", ("/p", "plain.example")),
        ("/bare/?q", ("/p?q", "plain.example")),
        ("/tls/a", ("/a", "secure.example")),
    ] {
        assert_eq!(passed_on(&harness.get(target)), Some(expected), "{target}");
    }
}

#[test]
fn other_paths_go_on() {
    let harness = built("");
    for target in ["/", "/App/", "/APP/x", "/app?x", "/apple/", "/x/app/", "/%61pp/", "/ap", "//app/"] {
        let exchange = harness.get(target);
        assert!(goes_on(&exchange), "{target}");
        assert_eq!(exchange.upstream.unwrap().target, target);
    }
    assert!(goes_on(&harness.request("OPTIONS", "*").send()));
}

#[test]
fn a_path_without_its_slash_is_told_the_right_one() {
    let harness = built("magic = true\nbase_url = \"http://site.example/\"");
    for (target, location) in [("/app", "/app/"), ("/bare", "/bare/")] {
        let exchange = harness.get(target);
        assert_eq!((exchange.status(), exchange.text()), (StatusCode::MOVED_PERMANENTLY, String::new()));
        assert_eq!(field(&exchange, header::LOCATION), [location]);
        assert!(exchange.upstream.is_none() && field(&exchange, header::SET_COOKIE).is_empty());
    }
    assert!(goes_on(&harness.get("/app?x")));
}

#[test]
fn the_first_path_that_matches_takes_the_request() {
    let order = |first: &str, second: &str| {
        let path = |path: &str| format!("{{ path = \"{path}\", to = \"http://192.0.2.1{path}\" }}");
        let harness = Harness::of::<ReversePath>(&format!("paths = [{}, {}]", path(first), path(second))).unwrap();
        let shown = |exchange: Exchange| {
            passed_on(&exchange).map_or(exchange.status().to_string(), |(target, _)| target.into())
        };
        [shown(harness.get("/a/x")), shown(harness.get("/a"))]
    };
    assert_eq!(order("/a/", "/"), ["/a/x", "301 Moved Permanently"]);
    assert_eq!(order("/", "/a/"), ["/a/x", "/a"]);
}

#[test]
fn only_requests_that_name_no_host_are_looked_at() {
    let harness = built("");
    assert!(goes_on(&harness.get("http://192.0.2.1:8080/app/")));
    assert!(goes_on(&harness.get("https://site.example/app/x")));
    assert!(goes_on(&harness.request("CONNECT", "site.example:443").send()));
}

#[test]
fn everything_else_is_refused_when_that_is_all() {
    let harness = built("only = true");
    assert!(passed_on(&harness.get("/app/x")).is_some());
    for (method, target) in [
        ("GET", "/"),
        ("POST", "/other"),
        ("GET", "/app?x"),
        ("GET", "http://192.0.2.1:8080/app/"),
        ("CONNECT", "192.0.2.1:8080"),
        ("OPTIONS", "*"),
    ] {
        let exchange = harness.request(method, target).send();
        assert_eq!(exchange.status(), StatusCode::BAD_REQUEST, "{target}");
        assert_eq!(exchange.text(), "No mapping found for requested url", "{target}");
        assert!(exchange.upstream.is_none() && exchange.tunnel.is_none());
    }
}

#[test]
fn a_cookie_remembers_the_path() {
    let harness = built("magic = true\nonly = true");
    let exchange = harness.get("/bare/x");
    assert_eq!(field(&exchange, header::SET_COOKIE), ["yummy_magical_cookie=/bare/; path=/"]);
    for (cookie, target) in [
        ("yummy_magical_cookie=/bare/", "/pstyle.css?v"),
        ("a=b; yummy_magical_cookie=/app/; c=d", "/inner/style.css?v"),
        ("yummy_magical_cookie=/app", "/inner/style.css?v"),
        ("yummy_magical_cookie=/app/deep/", "/inner/style.css?v"),
        ("a=\"x; yummy_magical_cookie=/gone/;yummy_magical_cookie=/app/", "/inner/style.css?v"),
    ] {
        let exchange = harness.request("GET", "/style.css?v").header("Cookie", cookie).send();
        assert_eq!(passed_on(&exchange).map(|(target, _)| target), Some(target), "{cookie}");
        assert_eq!(field(&exchange, header::SET_COOKIE).len(), 1);
        let seen = &exchange.upstream.as_ref().unwrap().headers;
        assert_eq!(seen[header::COOKIE], cookie, "it is passed on as it came");
    }
    for cookie in [
        "yummy_magical_cookie=/apple",
        "yummy_magical_cookie=/",
        "yummy_magical_cookie=/APP/",
        "xyummy_magical_cookie=/app/",
        "yummy_magical_cookies=/app/",
        "a=yummy_magical_cookie=/app/",
        "yummy_magical_cookie",
    ] {
        let exchange = harness.request("GET", "/style.css").header("Cookie", cookie).send();
        assert_eq!(exchange.status(), StatusCode::BAD_REQUEST, "{cookie}");
    }
    let mapped = harness.request("GET", "/app/x").header("Cookie", "yummy_magical_cookie=/bare/").send();
    assert_eq!(passed_on(&mapped).map(|(target, _)| target), Some("/inner/x"), "the path comes first");
    assert_eq!(field(&mapped, header::SET_COOKIE), ["yummy_magical_cookie=/app/; path=/"]);
    let two_fields =
        harness.request("GET", "/x").header("Cookie", "a=b").header("Cookie", "yummy_magical_cookie=/app/");
    assert!(passed_on(&two_fields.send()).is_some());
}

#[test]
fn nobody_is_given_a_cookie_that_was_not_asked_for() {
    let harness = built("");
    assert!(field(&harness.get("/app/"), header::SET_COOKIE).is_empty());
    let cookie = harness.request("GET", "/x").header("Cookie", "yummy_magical_cookie=/app/").send();
    assert!(goes_on(&cookie));
    let harness = built("magic = true");
    assert!(field(&harness.get("/other"), header::SET_COOKIE).is_empty(), "it did not come through a path");
    let named = harness.request("GET", "http://a.example/x").header("Cookie", "yummy_magical_cookie=/app/").send();
    assert!(goes_on(&named));
    let unreachable = harness.request("GET", "/app/").with_unreachable_peers().send();
    assert!(field(&unreachable, header::SET_COOKIE).is_empty(), "no application answered");
}

#[test]
fn cookies_of_the_application_stay() {
    let harness = built("magic = true");
    let answer = Response::new(StatusCode::OK).with_header(header::SET_COOKIE, HeaderValue::from_static("session=1"));
    let exchange = harness.request("GET", "/app/").answered_with(answer).send();
    assert_eq!(field(&exchange, header::SET_COOKIE), ["yummy_magical_cookie=/app/; path=/", "session=1"]);
}

#[test]
fn locations_lead_back_to_the_proxy() {
    let moved = |harness: &Harness, target: &str, location: &'static str| {
        let answer = Response::new(StatusCode::FOUND).with_header(header::LOCATION, HeaderValue::from_static(location));
        let exchange = harness.request("GET", target).answered_with(answer).send();
        field(&exchange, header::LOCATION).join(" ")
    };
    for base in ["http://site.example/", "http://site.example"] {
        let harness = built(&format!("base_url = \"{base}\""));
        for (location, expected) in [
            ("http://192.0.2.1:8080/inner/login?to=/", "http://site.example/app/login?to=/"),
            ("HTTP://192.0.2.1:8080/INNER/Login", "http://site.example/app/Login"),
            ("http://192.0.2.1:8080/inner/", "http://site.example/app/"),
            ("http://plain.example/px", "http://site.example/bare/x"),
            ("http://plain.example:80/px", "http://plain.example:80/px"),
            ("https://secure.example/x", "http://site.example/tls/x"),
            ("https://secure.example", "http://site.example/tls/"),
            ("https://secure.example.evil/x", "https://secure.example.evil/x"),
            ("http://192.0.2.1:8080/other", "http://192.0.2.1:8080/other"),
            ("http://192.0.2.1:80801/inner/", "http://192.0.2.1:80801/inner/"),
            ("/inner/login", "/inner/login"),
        ] {
            assert_eq!(moved(&harness, "/app/", location), expected, "{location}");
        }
        let other = "http://192.0.2.1:8080/inner/login";
        assert_eq!(moved(&harness, "/other", other), other, "it did not come through a path");
    }
    let as_sent = "http://192.0.2.1:8080/inner/login";
    assert_eq!(moved(&built(""), "/app/", as_sent), as_sent);
}

#[test]
fn an_application_knows_itself_by_the_host_that_it_is_sent() {
    let keys = "paths = [{ path = \"/\", to = \"http://App:80/\" }]\nbase_url = \"https://site.example/\"";
    let harness = Harness::of::<ReversePath>(keys).unwrap();
    assert_eq!(passed_on(&harness.get("/x")), Some(("/x", "App")));
    for location in ["http://app:80/x", "http://app/x"] {
        let answer = Response::new(StatusCode::FOUND).with_header(header::LOCATION, HeaderValue::from_static(location));
        let exchange = harness.request("GET", "/").answered_with(answer).send();
        assert_eq!(field(&exchange, header::LOCATION), ["https://site.example/x"]);
    }
}

#[test]
fn no_path_leads_out_of_what_its_url_names() {
    let harness = built("magic = true");
    for target in [
        "/app/../secret",
        "/app/x/../../secret",
        "/app/%2e%2e/secret",
        "/app/.%2E/secret",
        "/app/..%2fsecret",
        "/app/..;/secret",
        "/app//../secret",
        "/bare/x/../secret",
        "/bare//../secret",
    ] {
        let exchange = harness.get(target);
        assert_eq!(exchange.status(), StatusCode::BAD_REQUEST, "{target}");
        assert!(exchange.upstream.is_none(), "{target}");
    }
    let remembered = harness.request("GET", "/../secret").header("Cookie", "yummy_magical_cookie=/app/").send();
    assert_eq!(remembered.status(), StatusCode::BAD_REQUEST);
    for (target, expected) in [
        ("/app/x/../y", "/inner/x/../y"),
        ("/app/...", "/inner/..."),
        ("/app/?../..", "/inner/?../.."),
        ("/app/a..b", "/inner/a..b"),
    ] {
        assert_eq!(passed_on(&harness.get(target)).map(|(target, _)| target), Some(expected), "{target}");
    }
}

#[test]
fn peers_have_the_settings_of_the_plugin() {
    let harness = built("");
    let peer_of = |target: &str| peer(harness.get(target));
    let plain = peer_of("/bare/");
    let named = Address::Host { name: "plain.example".into(), port: 80 };
    assert_eq!(plain.addresses().collect::<Vec<_>>(), [&named]);
    let settings = plain.settings();
    assert!(settings.tls.is_none() && settings.forwarded && settings.unreachable_status.is_none());
    let tls = peer_of("/tls/");
    assert_eq!(tls.addresses().collect::<Vec<_>>(), [&Address::Host { name: "secure.example".into(), port: 443 }]);
    let tls = tls.settings().tls.clone().unwrap();
    assert_eq!((tls.server_name.as_deref(), tls.verify), (Some("secure.example"), true));

    let keys = "forwarded = false\nunreachable_status = 500\nconnect_timeout = \"1s\"\nread_timeout = \"2s\"\n\
                write_timeout = \"3s\"\nidle_timeout = \"4s\"\nupgraded_idle_timeout = \"5s\"";
    let peer = peer(built(keys).get("/app/"));
    let settings = peer.settings();
    assert_eq!((settings.forwarded, settings.unreachable_status), (false, Some(StatusCode::INTERNAL_SERVER_ERROR)));
    let timeouts = settings.timeouts;
    let seconds = [timeouts.connect, timeouts.read, timeouts.write, timeouts.idle, timeouts.upgraded_idle.unwrap()];
    assert_eq!(seconds, [1, 2, 3, 4, 5].map(Duration::from_secs));
}

#[test]
fn a_path_may_have_a_status_instead_of_an_application() {
    let keys = "only = true\npaths = [{ path = \"/a/\", status = 501 }, { path = \"/b/\", status = 503 }, { path = \"/d/\", status = 500 }]";
    let harness = Harness::of::<ReversePath>(keys).unwrap();
    assert_eq!(harness.get("/d/x").response.phrase, Some("Unable to connect"));
    for (target, status, text) in [
        ("/a/x", StatusCode::NOT_IMPLEMENTED, "Unknown method or unsupported protocol."),
        ("/a/../x", StatusCode::NOT_IMPLEMENTED, "Unknown method or unsupported protocol."),
        ("/b/", StatusCode::SERVICE_UNAVAILABLE, "Nobody answers requests for this path."),
        ("/d/", StatusCode::INTERNAL_SERVER_ERROR, "Tinyproxy was unable to connect to the remote web server."),
        ("/c/", StatusCode::BAD_REQUEST, "No mapping found for requested url"),
    ] {
        let exchange = harness.get(target);
        assert_eq!((exchange.status(), exchange.text()), (status, text.to_owned()), "{target}");
        assert!(exchange.upstream.is_none(), "{target}");
    }
    assert_eq!(harness.get("/a").status(), StatusCode::MOVED_PERMANENTLY);
}

#[test]
fn without_any_path_everything_can_be_refused() {
    let harness = Harness::of::<ReversePath>("only = true\npaths = []").unwrap();
    assert_eq!(harness.get("/").status(), StatusCode::BAD_REQUEST);
    assert_eq!(harness.get("http://a.example/").status(), StatusCode::BAD_REQUEST);
}

#[test]
fn a_path_that_no_cookie_can_hold_is_not_remembered() {
    let harness = Harness::of::<ReversePath>("magic = true\npaths = [{ path = \"/a;b/\", to = \"http://a/\" }]");
    let exchange = harness.unwrap().get("/a;b/x");
    assert_eq!(passed_on(&exchange), Some(("/x", "a")));
    assert!(field(&exchange, header::SET_COOKIE).is_empty());
}

#[test]
fn bodies_and_methods_pass() {
    let harness = built("");
    let exchange = harness.request("PUT", "/app/x").body("one").body("two").send();
    assert_eq!(exchange.upstream.unwrap().body, "onetwo");
}

#[test]
fn what_cannot_work_is_refused_where_it_stands() {
    let path = |path: &str, to: &str| format!("paths = [{{ path = \"{path}\", to = \"{to}\" }}]");
    let good = path("/", "http://a/");
    let cases = [
        (String::new(), "missing field `paths`"),
        ("paths = []".to_owned(), "harness:1:9: there must be at least one path"),
        (path("a", "http://a/"), "harness:1:10: the path must start with `/`"),
        (path("/a?b", "http://a/"), "harness:1:10: the path holds a character that no path may hold"),
        (path("/a b", "http://a/"), "harness:1:10: the path holds a character that no path may hold"),
        ("paths = [{ path = \"/\" }]".to_owned(), "harness:1:10: a path has either `to` or `status`"),
        ("paths = [{ path = \"/\", to = \"http://a/\", status = 501 }]".to_owned(), "either `to` or `status`"),
        ("paths = [{ path = \"/\", status = 200 }]".to_owned(), "`status` must be a status from 400 to 599"),
        (path("/", "a"), "harness:1:10: this is not a URL"),
        (path("/", "ftp://a/"), "= hint: write \"http://127.0.0.1:8080/\""),
        (path("/", "http://u:p@a/"), "harness:1:10: the URL must not have a user or a fragment"),
        (path("/", "http://a:65536/"), "harness:1:10: the port must be a number from 1 to 65535"),
        (format!("{good}\nunreachable_status = 200"), "harness:2:22: this must be a status from 400 to 599"),
        (format!("{good}\nbase_url = \"\""), "harness:2:12: this is not a URL"),
        (format!("{good}\nread_timeout = \"soon\""), "harness:2:16: `soon` is not a time"),
        (format!("{good}\nmagik = true"), "did you mean `magic`?"),
    ];
    for (keys, expected) in cases {
        let problems = Harness::of::<ReversePath>(&keys).map(|_| ()).unwrap_err().to_string();
        assert!(problems.contains(expected), "{expected} is not in\n{problems}");
    }
}
