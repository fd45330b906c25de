//! The plugin on the harness: what goes to the application, what comes back, and what it refuses to be built from.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use plugin_api::{
    BuildCx, ConfigError, Cx, Named, Phases, Plugin, Response, Step, Terminal, Verdict,
    harness::{Exchange, Harness, Sending, link},
    http::{HeaderMap, HeaderValue, StatusCode, header},
};
use plugin_headers::Headers;

fn built(keys: &str) -> Harness {
    Harness::of::<Headers>(keys).unwrap()
}

fn seen(exchange: &Exchange) -> &HeaderMap {
    &exchange.upstream.as_ref().expect("the request was passed on").headers
}

fn all<'h>(headers: &'h HeaderMap, name: &str) -> Vec<&'h str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

fn sent(keys: &str, fields: &[(&str, &str)]) -> HeaderMap {
    let harness = built(keys);
    let sending = fields.iter().fold(harness.request("GET", "/"), |sending, (name, value)| sending.header(name, value));
    seen(&sending.send()).clone()
}

fn answered(sending: Sending<'_>, fields: &[(header::HeaderName, &'static str)]) -> HeaderMap {
    let response = fields.iter().fold(Response::new(StatusCode::OK), |response, (name, value)| {
        response.with_header(name.clone(), HeaderValue::from_static(value))
    });
    sending.answered_with(response).send().response.headers
}

#[test]
fn fields_are_added_beside_what_the_client_sent() {
    let headers = sent(
        "add = [{ name = \"X-A\", value = \"2\" }, { name = \"x-a\", value = \"3\" }, { name = \"X-B\", value = \"\" }]",
        &[("x-a", "1")],
    );
    assert_eq!((all(&headers, "x-a"), all(&headers, "x-b")), (vec!["1", "2", "3"], vec![""]));
}

#[test]
fn fields_are_set_in_place_of_what_the_client_sent() {
    let headers = sent("set = [{ name = \"X-A\", value = \"2\" }]", &[("x-a", "0"), ("x-a", "1")]);
    assert_eq!(all(&headers, "x-a"), ["2"]);
    let headers = sent("set = [{ name = \"Host\", value = \"app.internal:81\" }]", &[]);
    assert_eq!(all(&headers, "host"), ["app.internal:81"]);
}

#[test]
fn fields_are_removed_first_and_may_be_set_and_added_again() {
    let keys = "remove = [\"X-A\", \"Cookie\"]\nadd = [{ name = \"X-A\", value = \"2\" }]";
    let headers = sent(keys, &[("X-A", "1"), ("Cookie", "a=b"), ("Cookie", "c=d"), ("X-B", "1")]);
    assert_eq!((all(&headers, "x-a"), all(&headers, "cookie"), all(&headers, "x-b")), (vec!["2"], vec![], vec!["1"]));
}

#[test]
fn only_named_fields_pass_and_those_that_the_message_needs() {
    let fields = [
        ("Accept", "*/*"),
        ("User-Agent", "me"),
        ("Cookie", "a=b"),
        ("Via", "1.1 inner"),
        ("X-Forwarded-For", "192.0.2.1"),
        ("Content-Type", "text/plain"),
        ("Content-Length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("Expect", "100-continue"),
        ("TE", "trailers"),
        ("Trailer", "x"),
        ("Sec-WebSocket-Key", "x"),
    ];
    let headers = sent("keep = [\"accept\", \"X-Unsent\"]", &fields);
    let mut names: Vec<_> = headers.keys().map(header::HeaderName::as_str).collect();
    names.sort_unstable();
    let kept = ["accept", "content-length", "content-type", "expect", "host", "te", "trailer", "transfer-encoding"];
    assert_eq!(names, kept);
    assert_eq!(sent("keep = []", &[("Accept", "*/*")]).len(), 1, "an empty list lets nothing but Host pass");
}

#[test]
fn what_the_proxy_itself_writes_passes() {
    let keys = "keep = [\"X-A\"]\nvia = \"proxy\"\nclient_address = \"X-Client\"\n\
                set = [{ name = \"X-Set\", value = \"1\" }]\nadd = [{ name = \"x-a\", value = \"2\" }]";
    let headers = sent(keys, &[("X-A", "1"), ("Via", "1.0 inner"), ("X-B", "1")]);
    assert_eq!(all(&headers, "x-a"), ["1", "2"]);
    assert_eq!(all(&headers, "via"), ["1.0 inner, 1.1 proxy"]);
    assert_eq!((all(&headers, "x-client"), all(&headers, "x-set")), (vec!["192.0.2.99"], vec!["1"]));
    assert!(!headers.contains_key("x-b"));
}

#[test]
fn an_upgrade_keeps_its_handshake() {
    let handshake = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Key", "x"),
        ("Sec-WebSocket-Version", "13"),
    ];
    let headers = sent("keep = []", &handshake);
    assert_eq!(headers.len(), 5);
}

#[test]
fn the_name_of_the_proxy_goes_behind_what_is_there_in_one_field() {
    let keys = "via = \"proxy.example (lockgate)\"";
    assert_eq!(all(&sent(keys, &[]), "via"), ["1.1 proxy.example (lockgate)"]);
    let headers = sent(keys, &[("Via", "1.0 a"), ("Via", "1.1 b (c), 1.1 d")]);
    assert_eq!(all(&headers, "via"), ["1.0 a, 1.1 b (c), 1.1 d, 1.1 proxy.example (lockgate)"]);

    let harness = built(keys);
    let headers = answered(harness.request("GET", "/"), &[(header::VIA, "1.0 server")]);
    assert_eq!(all(&headers, "via"), ["1.0 server, 1.1 proxy.example (lockgate)"]);
}

#[test]
fn a_client_cannot_claim_an_address() {
    let mut harness = built("client_address = \"X-Tinyproxy\"");
    let claim = |harness: &Harness| {
        let exchange =
            harness.request("GET", "/").header("x-tinyproxy", "198.51.100.1").header("X-Tinyproxy", "::2").send();
        all(seen(&exchange), "x-tinyproxy").join(" ")
    };
    assert_eq!(claim(&harness), "192.0.2.99");
    for (client, expected) in
        [("[2001:db8::7]:1", "2001:db8::7"), ("[::ffff:192.0.2.1]:1", "192.0.2.1"), ("127.0.0.1:1", "127.0.0.1")]
    {
        harness.connection().client = client.parse().unwrap();
        assert_eq!(claim(&harness), expected);
    }
    harness.connection().client = plugin_api::Client::Unix;
    assert_eq!(claim(&harness), "", "who has no address has none to claim either");
}

#[test]
fn responses_are_changed_in_the_same_order() {
    let keys = "response_remove = [\"Server\", \"X-A\"]\nresponse_set = [{ name = \"X-B\", value = \"2\" }]\n\
                response_add = [{ name = \"X-A\", value = \"3\" }, { name = \"Set-Cookie\", value = \"a=b\" }]";
    let harness = built(keys);
    let name = header::HeaderName::from_static;
    let from_server = [
        (header::SERVER, "app"),
        (name("x-a"), "1"),
        (name("x-b"), "1"),
        (header::SET_COOKIE, "c=d"),
        (header::ETAG, "e"),
    ];
    let headers = answered(harness.request("GET", "/").header("Server", "mine"), &from_server);
    assert_eq!((all(&headers, "server"), all(&headers, "x-a"), all(&headers, "x-b")), (vec![], vec!["3"], vec!["2"]));
    assert_eq!((all(&headers, "set-cookie"), all(&headers, "etag")), (vec!["c=d", "a=b"], vec!["e"]));
    assert_eq!(all(seen(&harness.request("GET", "/").header("Server", "mine").send()), "server"), ["mine"]);
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
fn an_answer_of_our_own_is_changed_but_came_from_nowhere() {
    let keys = "via = \"proxy\"\nresponse_set = [{ name = \"X-B\", value = \"2\" }]";
    let named = Named::default();
    let harness = Harness::chain(vec![link::<Headers>(keys, &named).unwrap(), plugin_api::Link::new(Wall)]);
    let response = harness.get("/").response;
    assert_eq!(response.status, StatusCode::FORBIDDEN);
    assert_eq!((all(&response.headers, "x-b"), all(&response.headers, "via")), (vec!["2"], vec![]));
}

#[test]
fn what_cannot_work_is_refused_where_it_stands() {
    let cases = [
        ("", "harness:1:1: `headers` has nothing to do"),
        ("add = []", "harness:1:1: `headers` has nothing to do"),
        ("add = [{ name = \"X A\", value = \"1\" }]", "harness:1:8: this is no name of a header field"),
        (
            "add = [{ name = \"X-A\", value = \"1\" }, { name = \"X-A\", value = \"a\\nb\" }]",
            "harness:1:39: the value holds a character that no header field may hold",
        ),
        (
            "set = [{ name = \"Connection\", value = \"close\" }]",
            "harness:1:8: the proxy itself decides about this field",
        ),
        ("remove = [\"X-A\", \"Content-Length\"]", "harness:1:18: the proxy itself decides about this field"),
        ("response_remove = [\"transfer-encoding\"]", "harness:1:20: the proxy itself decides about this field"),
        ("add = [{ name = \"Host\", value = \"a\" }]", "hint: write `set = [{ name = \"Host\""),
        ("set = [{ name = \"Host\", value = \"a/b\" }]", "harness:1:8: this is no host"),
        (
            "set = [{ name = \"A\", value = \"1\" }, { name = \"a\", value = \"2\" }]",
            "harness:1:37: this field is set twice",
        ),
        ("keep = [\"Accept\", \"\"]", "harness:1:19: this is no name of a header field"),
        (
            "keep = [\"Accept\"]\nadd = [{ name = \"X-A\", value = \"1\" }]",
            "harness:2:8: this field would never be sent: `keep` does not name it",
        ),
        ("via = \" \"", "harness:1:7: the name of this proxy must not be empty"),
        ("via = \"a\\r\\nX: y\"", "harness:1:7: the value holds a character"),
        ("client_address = \"Upgrade\"", "harness:1:18: the proxy itself decides about this field"),
        ("client_address = \"Via\"", "harness:1:18: the proxy itself decides about this field"),
        ("add = [{ nmae = \"X\", value = \"1\" }]", "did you mean `name`?"),
        ("response_ad = []", "did you mean `response_add`?"),
    ];
    for (keys, expected) in cases {
        let problems = Harness::of::<Headers>(keys).map(|_| ()).unwrap_err().to_string();
        assert!(problems.contains(expected), "{expected} is not in\n{problems}");
    }
}
