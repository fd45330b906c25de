//! The plugin on the harness: who passes, what others are asked for, and what it refuses to be built from.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use plugin_api::{
    BuildCx, ConfigError, Cx, Key, Link, Named, Phases, Plugin, Response, Step, Terminal, Verdict,
    harness::{Exchange, Harness, link},
    http::{StatusCode, header},
};
use plugin_basic_auth::{BasicAuth, USER};
use tempfile::TempDir;

const ANN: &str = "Basic YW5uOnNlc2FtZQ=="; // ann:sesame
const WRONG: &str = "Basic YW5uOnNlc2Ft"; // ann:sesam
const BOB: &str = "Basic Ym9iOnNlc2FtZQ=="; // bob:sesame
const USERS: &str = "users = [{ name = \"zoe\", password = \"x\" }, { name = \"ann\", password = \"sesame\" }]";

fn built(keys: &str) -> Harness {
    Harness::of::<BasicAuth>(&format!("{USERS}\n{keys}")).unwrap()
}

fn refused(exchange: &Exchange, status: u16) -> String {
    assert_eq!(exchange.status().as_u16(), status);
    assert!(exchange.upstream.is_none() && exchange.broken.is_empty());
    let (name, other) = match status {
        407 => (header::PROXY_AUTHENTICATE, header::WWW_AUTHENTICATE),
        _ => (header::WWW_AUTHENTICATE, header::PROXY_AUTHENTICATE),
    };
    assert!(!exchange.response.headers.contains_key(other));
    exchange.response.headers[name].to_str().unwrap().to_owned()
}

#[test]
fn a_proxy_asks_in_the_fields_for_proxies() {
    let harness = built("realm = \"Tinyproxy\"\nheader = \"proxy\"");
    for (method, target) in [("GET", "http://a.example/"), ("CONNECT", "a.example:443"), ("GET", "/")] {
        let request = || harness.request(method, target);
        assert_eq!(refused(&request().send(), 407), "Basic realm=\"Tinyproxy\"");
        for wrong in [WRONG, BOB, "Basic", "Digest YW5uOnNlc2FtZQ==", "Basic YW5uOnNlc2FtZQ", "", "Basic Og=="] {
            let exchange = request().header("Proxy-Authorization", wrong).send();
            assert_eq!(refused(&exchange, 407), "Basic realm=\"Tinyproxy\"", "{wrong}");
            assert!(exchange.text().contains("This proxy requires authentication."));
        }
        refused(&request().header("Authorization", ANN).send(), 407);
        for good in [ANN, "basic YW5uOnNlc2FtZQ==", "BASIC  YW5uOnNlc2FtZQ=="] {
            assert_eq!(request().header("Proxy-Authorization", good).send().status(), StatusCode::OK, "{good}");
        }
        let both = request().header("Proxy-Authorization", ANN).header("Proxy-Authorization", ANN).send();
        refused(&both, 407);
    }
}

#[test]
fn what_is_not_ascii_is_accepted_in_both_encodings() {
    let keys =
        "header = \"proxy\"\nusers = [{ name = \"zoé\", password = \"péss\" }, { name = \"eva\", password = \"€é\" }]";
    let harness = Harness::of::<BasicAuth>(keys).unwrap();
    let status = |credentials: &[u8]| {
        let field = format!("Basic {}", BASE64_STANDARD.encode(credentials));
        harness.request("GET", "http://a/").header("Proxy-Authorization", &field).send().status().as_u16()
    };
    for (credentials, expected) in [
        ("zoé:péss".as_bytes(), 200),
        (b"zo\xe9:p\xe9ss", 200),
        (b"zoe:pess", 407),
        (b"zo\xe9:p\xc3\xa9ss", 407),
        (b"zo\xe8:p\xe9ss", 407),
        ("eva:€é".as_bytes(), 200),
        // The euro is no character of Latin-1.
        (b"eva:\x80\xe9", 407),
        (b"\xff\xfe:x", 407),
    ] {
        assert_eq!(status(credentials), expected, "{credentials:?}");
    }
}

#[test]
fn a_site_asks_in_the_fields_for_sites_and_keeps_what_it_was_told() {
    let harness = built("header = \"origin\"");
    let request = || harness.request("GET", "/");
    assert_eq!(refused(&request().send(), 401), "Basic realm=\"Lockgate\"");
    refused(&request().header("Proxy-Authorization", ANN).send(), 401);
    let seen = request().header("Authorization", ANN).header("X-A", "1").send().upstream.unwrap();
    assert!(!seen.headers.contains_key("authorization") && seen.headers.contains_key("x-a"));
    assert_eq!(harness.request("GET", "http://a/").header("Authorization", ANN).send().status(), StatusCode::OK);

    let open = built("header = \"origin\"\npass_on = true");
    let seen = open.request("GET", "/").header("Authorization", ANN).send().upstream.unwrap();
    assert_eq!(seen.headers["authorization"], ANN);
}

#[test]
fn the_form_of_the_request_decides_otherwise() {
    let harness = built("");
    refused(&harness.get("/"), 401);
    refused(&harness.get("http://a.example/"), 407);
    refused(&harness.request("CONNECT", "a.example:443").send(), 407);
    // What is for the site behind a proxy goes there.
    let request = harness.request("GET", "http://a.example/");
    let seen = request.header("Proxy-Authorization", ANN).header("Authorization", BOB).send().upstream.unwrap();
    assert_eq!(seen.headers["authorization"], BOB);
    assert_eq!(harness.request("GET", "/").header("Authorization", ANN).send().status(), StatusCode::OK);
}

#[test]
fn some_hosts_are_sites_to_a_proxy() {
    let harness = built("header = \"proxy\"\norigin_hosts = [\"Stats.Test\"]");
    for target in ["http://Stats.Test/", "http://Stats.Test:8888/x"] {
        let request = || harness.request("GET", target);
        refused(&request().send(), 401);
        refused(&request().header("Authorization", WRONG).send(), 401);
        assert_eq!(request().header("Authorization", ANN).send().status(), StatusCode::OK);
        assert_eq!(request().header("Proxy-Authorization", ANN).send().status(), StatusCode::OK);
        refused(&request().header("Proxy-Authorization", WRONG).header("Authorization", ANN).send(), 407);
    }
    // A name in another spelling is another's, whose page the request goes to.
    for target in ["http://Stats.Test.evil/", "http://stats.test/", "http://Stats.Test./"] {
        refused(&harness.request("GET", target).header("Authorization", ANN).send(), 407);
    }
    refused(&harness.request("CONNECT", "Stats.Test:443").header("Authorization", ANN).send(), 407);
}

#[test]
fn names_and_passwords_may_be_anything_that_can_be_sent() {
    let keys = "users = [{ name = \"a b\", password = \"p:q\" }, { name = \"test\", password = \"123£\" },\n\
                { name = \"test\", password = \"second\" }]\nheader = \"origin\"";
    let harness = Harness::of::<BasicAuth>(keys).unwrap();
    for (token, expected) in [
        ("YSBiOnA6cQ==", 200),     // a b:p:q
        ("dGVzdDoxMjPCow==", 200), // test:123£, the example of RFC 7617
        ("dGVzdDpzZWNvbmQ=", 200), // test:second
        ("dGVzdDoxMjOj", 200),     // test:123£ in Latin-1
        ("dGVzdDo=", 401),         // test:
        ("VGVzdDpzZWNvbmQ=", 401), // Test:second
        ("YSBiOnA=", 401),         // a b:p
    ] {
        let exchange = harness.request("GET", "/").header("Authorization", &format!("Basic {token}")).send();
        assert_eq!(exchange.status().as_u16(), expected, "{token}");
    }
    assert_eq!(refused(&harness.get("/"), 401), "Basic realm=\"Lockgate\", charset=\"UTF-8\"");
    let quoted = built("realm = 'a \"b\\ '");
    assert_eq!(refused(&quoted.get("/"), 401), "Basic realm=\"a \\\"b\\\\ \"");
    let nobody = Harness::of::<BasicAuth>("users = []").unwrap();
    refused(&nobody.request("GET", "/").header("Authorization", ANN).send(), 401);
}

/// Answers with the name of the user.
struct Greeter;

impl Plugin for Greeter {
    const NAME: &'static str = "greeter";
    const PHASES: Phases = Phases::REQUEST;
    const TERMINAL: Terminal = Terminal::Always;
    const REQUIRES: &'static [&'static str] = &["basic-auth.user"];
    type Config = ();
    type State = ();

    fn build((): (), _: &mut BuildCx<'_>) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn request<'a>(&'a self, cx: &'a mut Cx<'_>, (): &'a mut ()) -> Step<'a> {
        const THEIRS: Key<String> = Key::new("basic-auth.user");
        assert_eq!(cx.get(&USER), cx.get(&THEIRS));
        let greeting = cx.get(&USER).map_or_else(|| "nobody".to_owned(), |user| format!("hello {user}"));
        Step::done(Verdict::Respond(Box::new(Response::new(StatusCode::OK).with_body(greeting))))
    }
}

#[test]
fn later_plugins_learn_the_name() {
    let named = Named::default();
    let harness = Harness::chain(vec![link::<BasicAuth>(USERS, &named).unwrap(), Link::new(Greeter)]);
    assert_eq!(harness.request("GET", "/").header("Authorization", ANN).send().text(), "hello ann");
}

/// Hashes of `sesame`, made by crypt(3) and by the reference Argon2.
const BCRYPT: &str = "$2y$09$abcdefghijklmnopqrstuuSx6.PP5/It158.JytaC.BnMyKfiSUu.";
const ARGON2: &str = "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHQxMjM0$hjUdVrZpP0S1UIDb0EY44QG3tad4noyjE7zSIFfVWeU";

fn htpasswd(lines: &str) -> (TempDir, String) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("htpasswd");
    fs::write(&path, lines).unwrap();
    let keys = keys(&path);
    (directory, keys)
}

fn keys(path: &Path) -> String {
    format!("header = \"origin\"\nfile = \"{}\"", path.display())
}

async fn status(harness: &Harness, credentials: &str) -> u16 {
    let exchange = harness.request("GET", "/").header("Authorization", credentials).send_async().await;
    assert!(exchange.broken.is_empty(), "{:?}", exchange.broken);
    exchange.status().as_u16()
}

#[tokio::test]
async fn a_file_has_hashes() {
    let (_directory, keys) = htpasswd(&format!("# us\nann:{BCRYPT}\n\nbob:{ARGON2}\r\n"));
    let harness = Harness::of::<BasicAuth>(&format!("{USERS}\n{keys}").replace("\"sesame\"", "\"plain\"")).unwrap();
    for (credentials, expected) in [
        (ANN, 200),
        (BOB, 200),
        ("Basic YW5uOnBsYWlu", 200), // ann:plain
        (WRONG, 401),
        ("Basic Ym9iOg==", 401),         // bob:
        ("Basic Y2FybDpzZXNhbWU=", 401), // carl:sesame
        ("Basic QW5uOnNlc2FtZQ==", 401), // Ann:sesame
        (ANN, 200),
    ] {
        assert_eq!(status(&harness, credentials).await, expected, "{credentials}");
    }
    assert_eq!(
        refused(&harness.request("GET", "/").send_async().await, 401),
        "Basic realm=\"Lockgate\", charset=\"UTF-8\""
    );
}

#[tokio::test]
async fn a_hash_is_checked_once_in_a_while() {
    let (_directory, keys) = htpasswd(&format!("ann:{BCRYPT}\n"));
    let forgetful = Harness::of::<BasicAuth>(&format!("{keys}\nremember = \"0s\"")).unwrap();
    let harness = Harness::of::<BasicAuth>(&keys).unwrap();
    let asked = [(&forgetful, ANN, 200), (&harness, ANN, 200), (&harness, WRONG, 401), (&harness, BOB, 401)];
    // The shortest of some times, taken in turns: a busy machine makes none shorter, and is busy for all of them.
    let mut shortest = [Duration::MAX; 4];
    for _ in 0..6 {
        for (shortest, (harness, credentials, expected)) in shortest.iter_mut().zip(asked) {
            let started = Instant::now();
            assert_eq!(status(harness, credentials).await, expected);
            *shortest = (*shortest).min(started.elapsed());
        }
    }
    let [checked, remembered, wrong, unknown] = shortest;
    assert!(remembered < checked / 3, "{remembered:?}, with a check {checked:?}");
    // A wrong password, and a name that is not there, take as long as a right one.
    for refused in [wrong, unknown] {
        assert!(refused > checked / 3, "{refused:?}, the right one {checked:?}");
    }
}

#[tokio::test]
async fn the_thread_is_not_held_up() {
    let (_directory, keys) = htpasswd(&format!("ann:{BCRYPT}\n"));
    let harness = Harness::of::<BasicAuth>(&keys).unwrap();
    let mut ticks = 0;
    let checked = async { tokio::join!(status(&harness, ANN), status(&harness, ANN), status(&harness, WRONG)) };
    let ticking = async {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            ticks += 1;
        }
    };
    let statuses = tokio::select! {
        statuses = checked => statuses,
        () = ticking => unreachable!("it goes on for ever"),
    };
    assert_eq!(statuses, (200, 200, 401));
    assert!(ticks >= 5, "{ticks}");
}

#[test]
fn what_cannot_work_is_refused_where_it_stands() {
    let (directory, good) = htpasswd("ann:plain\n");
    let missing = keys(&directory.path().join("missing"));
    let folder = keys(directory.path());
    for (keys, expected) in [
        ("", "harness:1:1: `basic-auth` has no users: nobody could pass"),
        ("users = [{ name = \"a:b\", password = \"x\" }]", "harness:1:10: the name of a user must not have a colon"),
        ("users = [{ name = \"a\\nb\", password = \"x\" }]", "control character"),
        ("users = [{ name = \"a\", password = \"\" }]", "a user needs a name and a password"),
        ("users = [{ name = \"\", password = \"a\" }]", "a user needs a name and a password"),
        ("users = [{ name = \"a\" }]", "missing field `password`"),
        ("users = []\nrealm = \"a\\nb\"", "harness:2:9: this holds a character"),
        ("users = []\nheader = \"both\"", "origin"),
        (&good, "harness:2:8: line 1 of the file: this is neither a bcrypt nor an Argon2 hash"),
        (&missing, "harness:2:8: cannot read the file: No such file"),
        (&folder, "harness:2:8: this is not a regular file"),
        ("users = []\nfiel = \"x\"", "did you mean `file`?"),
    ] {
        let problems = Harness::of::<BasicAuth>(keys).map(|_| ()).unwrap_err().to_string();
        assert!(problems.contains(expected), "{expected} is not in\n{problems}");
    }
}
