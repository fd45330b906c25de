//! The plugin on the harness: who is led where, who goes on, and what it refuses to be built from.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use plugin_api::{
    Bag, Connection, Cx, Form, Link, Named, Plugin, Request, Response, Scheme, SharedStore, Step, Terminal, Verdict,
    harness::{Exchange, Harness, Sending, link},
    http::{HeaderMap, Method, StatusCode, Uri, Version, header},
};
use plugin_https_redirect::{Config, HttpsRedirect, Otherwise};

fn built(keys: &str) -> Harness {
    Harness::of::<HttpsRedirect>(keys).unwrap()
}

/// Where the request is led: the status, and the URL.
fn moved(sending: Sending<'_>) -> (u16, String) {
    let exchange = sending.send();
    assert!(exchange.upstream.is_none(), "nothing of it reaches the application");
    let mut locations = exchange.response.headers.get_all(header::LOCATION).iter();
    let location = locations.next().map_or("", |location| location.to_str().unwrap()).to_owned();
    assert!(locations.next().is_none());
    (exchange.status().as_u16(), location)
}

fn location(keys: &str, host: &str, target: &str) -> String {
    moved(built(keys).request("GET", target).host(host)).1
}

fn goes_on(exchange: &Exchange) -> bool {
    exchange.upstream.is_some() && exchange.text() == "the application"
}

#[test]
fn a_plain_request_is_led_to_the_same_place_over_tls() {
    for (host, target, expected) in [
        ("site.example", "/", "https://site.example/"),
        ("site.example", "/a/b?c=d&e=%20f", "https://site.example/a/b?c=d&e=%20f"),
        ("site.example", "/?", "https://site.example/?"),
        ("Site.EXAMPLE:80", "/", "https://site.example/"),
        ("site.example:8080", "/", "https://site.example/"),
        ("192.0.2.1:80", "/", "https://192.0.2.1/"),
        ("[2001:DB8::1]:80", "/a", "https://[2001:db8::1]/a"),
        ("[::1]", "/a", "https://[::1]/a"),
    ] {
        assert_eq!(location("", host, target), expected);
    }
}

#[test]
fn the_port_that_visitors_see_is_written_unless_it_is_the_usual_one() {
    assert_eq!(location("port = 443", "site.example:80", "/a"), "https://site.example/a");
    assert_eq!(location("port = 8443", "site.example:8080", "/a"), "https://site.example:8443/a");
    assert_eq!(location("port = 8443", "[::1]", "/a"), "https://[::1]:8443/a");
}

#[test]
fn a_method_survives_the_redirect() {
    let harness = built("");
    let status = |method: &str| moved(harness.request(method, "/")).0;
    assert_eq!((status("GET"), status("HEAD")), (301, 301), "which every client knows");
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"] {
        assert_eq!(status(method), 308, "{method}");
    }
    for (keys, expected) in [("status = 301", 301), ("status = 302", 302), ("status = 307", 307), ("status = 308", 308)]
    {
        let harness = built(keys);
        for method in ["GET", "POST"] {
            assert_eq!(moved(harness.request(method, "/")).0, expected, "{method}");
        }
    }
}

#[test]
fn an_upgrade_is_redirected_like_any_request() {
    let harness = built("");
    let handshake = harness.request("GET", "/ws").header("Connection", "Upgrade").header("Upgrade", "websocket");
    assert_eq!(moved(handshake), (301, "https://site.example/ws".to_owned()));
}

#[test]
fn the_redirect_has_no_body_and_nothing_else_in_its_head() {
    let response = built("").request("POST", "/").body("secret").send().response;
    assert_eq!(response.headers.len(), 1);
    assert!(matches!(response.body, plugin_api::Content::Bytes(bytes) if bytes.is_empty()));
}

#[test]
fn a_request_over_tls_goes_on() {
    let mut harness = built("");
    harness.connection().scheme = Scheme::Https;
    for sending in [
        harness.request("GET", "/"),
        harness.request("POST", "/a?b"),
        // Nobody who is on TLS already is told about plain text that a proxy may have seen.
        harness.request("GET", "/").header("X-Forwarded-Proto", "http"),
        harness.request("GET", "/").host(""),
    ] {
        assert!(goes_on(&sending.send()));
    }
}

#[test]
fn challenges_go_on_and_what_only_looks_like_them_does_not() {
    let harness = built("");
    for target in [
        "/.well-known/acme-challenge/",
        "/.well-known/acme-challenge/token",
        "/.well-known/acme-challenge/token?a=b",
        "/.well-known/acme-challenge/a/b",
    ] {
        assert!(goes_on(&harness.get(target)), "{target}");
        assert!(goes_on(&harness.request("GET", target).host("").send()), "{target}: nothing of the host is needed");
    }
    for target in [
        "/.well-known/acme-challenge",
        "/.well-known/acme-challeng/token",
        "/.Well-Known/acme-challenge/token",
        "/%2ewell-known/acme-challenge/token",
        "/.well-known%2Facme-challenge/token",
        "//.well-known/acme-challenge/token",
        "/./.well-known/acme-challenge/token",
        "/a/.well-known/acme-challenge/token",
        "/?/.well-known/acme-challenge/token",
    ] {
        assert_eq!(moved(harness.request("GET", target)), (301, format!("https://site.example{target}")));
    }
}

#[test]
fn what_is_asked_of_a_forward_proxy_goes_on() {
    let harness = built("");
    for (method, target) in [
        ("GET", "http://elsewhere.example/a"),
        ("GET", "https://elsewhere.example/a"),
        ("POST", "http://site.example/"),
    ] {
        let exchange = harness.request(method, target).send();
        assert!(goes_on(&exchange), "{method} {target}");
    }
    assert!(goes_on(&harness.request("CONNECT", "elsewhere.example:443").send()));
}

#[test]
fn nobody_is_led_to_another_host() {
    // Whatever the path says, the host is the one that was asked for.
    for target in ["//evil.example/", "///evil.example", "/\\evil.example", "/@evil.example/", "/https://evil.example/"]
    {
        assert_eq!(location("", "site.example", target), format!("https://site.example{target}"));
    }
    // A host field is no host of an URL because it came in one.
    for host in ["", "site.example/evil", "evil.example\\@site.example", "a b", "site.example?", "site.example#"] {
        let exchange = built("").request("GET", "/").host(host).send();
        assert_eq!(exchange.status(), StatusCode::BAD_REQUEST, "{host}");
        assert!(!exchange.response.headers.contains_key(header::LOCATION) && exchange.upstream.is_none());
    }
    // Neither is what a proxy in front says, whom nothing here checks.
    let harness = built("trust_forwarded_proto = true");
    let claiming =
        harness.request("GET", "/").header("X-Forwarded-Host", "evil.example").header("X-Forwarded-Port", "1");
    assert_eq!(moved(claiming).1, "https://site.example/");
}

#[test]
fn a_question_about_the_whole_server_is_led_to_the_whole_server() {
    assert_eq!(moved(built("").request("OPTIONS", "*")), (308, "https://site.example".to_owned()));
}

#[test]
fn bytes_that_no_url_may_hold_are_encoded() {
    assert_eq!(location("", "site.example", "/caf\u{e9}?\u{20ac}"), "https://site.example/caf%C3%A9?%E2%82%AC");
}

/// The answer of the hook itself to a request that the harness cannot make.
fn asked(request: Request<'_>) -> Option<Response> {
    let (named, shared) = (Named::default(), SharedStore::default());
    let config = Config { status: None, port: 443, trust_forwarded_proto: false, otherwise: Otherwise::Next };
    let plugin = HttpsRedirect::build(config, &mut plugin_api::BuildCx::new(&named, &shared)).unwrap();
    let address = std::net::SocketAddr::from(([192, 0, 2, 1], 80));
    let connection = Connection::new(address.into(), "http".into(), address);
    let mut bag = Bag::default();
    match Plugin::request(&plugin, &mut Cx::new(request, &connection, &mut bag), &mut ()) {
        Step::Done(Ok(Verdict::Respond(response))) => Some(*response),
        _ => None,
    }
}

#[test]
fn who_names_no_host_cannot_be_led_anywhere() {
    let (uri, headers) = (Uri::from_static("/"), HeaderMap::new());
    let mut request = Request {
        method: &Method::GET,
        uri: &uri,
        version: Version::HTTP_10,
        headers: &headers,
        host: None,
        form: Form::Origin,
    };
    assert_eq!(asked(request).unwrap().status, StatusCode::BAD_REQUEST);
    // The engine tells no such hosts; a plugin that believed it blindly would write headers of the client's.
    for host in ["", "a\r\nSet-Cookie: b", "a/b", "user@site.example", "site.example:81", "[::1", "::1", "s\u{ed}te"] {
        request.host = Some(host);
        assert_eq!(asked(request).unwrap().status, StatusCode::BAD_REQUEST, "{host}");
    }
    request.host = Some("site.example");
    assert_eq!(asked(request).unwrap().headers[header::LOCATION], "https://site.example/");
}

#[test]
fn a_proxy_in_front_that_ends_tls_is_believed_only_when_told_so() {
    let sent = |keys: &str, values: &[&str]| {
        let harness = built(keys);
        let sending = harness.request("GET", "/");
        let sending = values.iter().fold(sending, |sending, value| sending.header("X-Forwarded-Proto", value));
        goes_on(&sending.send())
    };
    assert!(!sent("", &["https"]), "anybody may send this");
    let trusting = "trust_forwarded_proto = true";
    // `wss` is what some proxies say about WebSockets; the visitor's own connection is the first of a list.
    for secure in [&["https"][..], &["HTTPS"], &["wss"], &["https, http"], &["https,https"], &["https", "http"]] {
        assert!(sent(trusting, secure), "{secure:?}");
    }
    for plain in [&[][..], &["http"], &["ws"], &[""], &["https0"], &["ahttps"], &["http, https"], &["http", "https"]] {
        assert!(!sent(trusting, plain), "{plain:?}");
    }
}

#[test]
fn a_cache_learns_what_the_redirect_depended_on() {
    let harness = built("trust_forwarded_proto = true");
    assert_eq!(harness.get("/").response.headers[header::VARY], "X-Forwarded-Proto");
    let through = harness.request("GET", "/").header("X-Forwarded-Proto", "https").send();
    assert!(!through.response.headers.contains_key(header::VARY), "an answer of the application is its own");
}

#[test]
fn a_chain_may_end_with_it() {
    let named = Named::default();
    let ends = |keys: &str| link::<HttpsRedirect>(keys, &named).unwrap().terminal();
    assert_eq!((ends(""), ends("otherwise = \"next\"")), (Terminal::Sometimes, Terminal::Sometimes));
    assert_eq!(ends("otherwise = \"refuse\""), Terminal::Always);

    let links: Vec<Link> = vec![link::<HttpsRedirect>("otherwise = \"refuse\"", &named).unwrap()];
    let mut harness = Harness::chain(links);
    assert_eq!(moved(harness.request("GET", "/a")), (301, "https://site.example/a".to_owned()));
    let status = |harness: &Harness, method: &str, target: &str| harness.request(method, target).send().status();
    for (method, target, expected) in [
        ("GET", "/.well-known/acme-challenge/unknown", StatusCode::NOT_FOUND),
        ("GET", "http://elsewhere.example/", StatusCode::NOT_FOUND),
        ("CONNECT", "elsewhere.example:443", StatusCode::METHOD_NOT_ALLOWED),
    ] {
        assert_eq!(status(&harness, method, target), expected, "{method} {target}");
    }
    harness.connection().scheme = Scheme::Https;
    assert_eq!(status(&harness, "GET", "/a"), StatusCode::NOT_FOUND, "no redirect to where the visitor is already");
}

#[test]
fn what_cannot_work_is_refused_where_it_stands() {
    let cases = [
        ("status = 200", "harness:1:10: 200 is no redirect that can be used here"),
        ("status = 303", "hint: write 301, 302, 307 or 308, or leave it out"),
        ("port = 0", "harness:1:8: nobody can connect to port 0"),
        ("port = 65536", "harness:1:8: "),
        ("port = \"443\"", "harness:1:8: "),
        ("otherwise = \"pass\"", "harness:1:13: "),
        ("trust_forwarded_proto = \"yes\"", "harness:1:25: "),
        ("trusted_forwarded_proto = true", "did you mean `trust_forwarded_proto`?"),
    ];
    for (keys, expected) in cases {
        let problems = Harness::of::<HttpsRedirect>(keys).map(|_| ()).unwrap_err().to_string();
        assert!(problems.contains(expected), "{expected} is not in\n{problems}");
    }
}
