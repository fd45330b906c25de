//! What the section says, and every mistake in it at its place.

use interception::{Method, Preference};

use super::Interception;
use crate::config::certificate::tests::{assert_problems, loaded};

/// A file with these keys in the section, from line 2 on, and further listeners.
fn file(keys: &str) -> String {
    format!(
        "[interception]\n{keys}\n[acme]\nagree_to_terms = true\nauthenticator = \"memory\"\n\
         [[certificate]]\ndomains = \"example.com\"\n{LISTENERS}"
    )
}

/// `http` and `gate` are there besides.
const LISTENERS: &str = "
    [[listener]]
    name = \"both\"
    address = [\"0.0.0.0:8082\"]
    transparent = true
    redirected = true
    [[listener]]
    name = \"nat\"
    address = [\"0.0.0.0:8083\", \"[::]:8083\"]
    redirected = true
    [[listener]]
    name = \"same\"
    address = [\"0.0.0.0:81\"]
    transparent = true
    [[listener]]
    name = \"several\"
    address = [\"0.0.0.0:8084\", \"[::]:8085\"]
    transparent = true
    [[listener]]
    name = \"narrow\"
    address = [\"0.0.0.0:8086\", \"[::1]:8086\"]
    transparent = true
";

fn interception(keys: &str) -> Interception {
    let loaded = loaded(&file(keys)).unwrap_or_else(|problems| panic!("{keys}\n{problems}"));
    loaded.certificates.interception.unwrap()
}

#[test]
fn nothing_has_to_be_said() {
    let expected = Interception {
        port: 80,
        method: Preference::Auto,
        upstream: None,
        drain: std::time::Duration::from_secs(60),
        listener: None,
    };
    assert_eq!(interception(""), expected);
}

#[test]
fn every_key_says_what_it_says() {
    let all = interception("port = 8080\nmethod = \"redirect\"\nupstream = \"unix:/run/app.sock\"\ndrain = \"5s\"");
    assert_eq!((all.port, all.method), (8080, Preference::Only(Method::Redirect)));
    assert_eq!((all.upstream.as_deref(), all.drain.as_secs()), (Some("unix:/run/app.sock"), 5));
}

#[test]
fn a_listener_is_made_for_a_method() {
    for (keys, name, method) in [
        ("listener = \"gate\"", "gate", Preference::Only(Method::Tproxy)),
        ("listener = \"nat\"", "nat", Preference::Only(Method::Redirect)),
        ("listener = \"both\"", "both", Preference::Auto),
        ("listener = \"both\"\nmethod = \"tproxy\"", "both", Preference::Only(Method::Tproxy)),
        ("listener = \"nat\"\nmethod = \"redirect\"", "nat", Preference::Only(Method::Redirect)),
    ] {
        let all = interception(keys);
        assert_eq!((all.listener.as_deref(), all.method), (Some(name), method), "{keys}");
    }
}

#[test]
fn every_mistake_is_found_at_its_place() {
    let cases = [
        ("port = 0", "2:8", "no application's", "port 80"),
        ("prot = 80", "2:1", "unknown key `prot`", "did you mean `port`?"),
        ("upstream = \"app\"", "2:12", "", "127.0.0.1:8080"),
        ("listener = \"gaet\"", "2:12", "no listener `gaet`", "did you mean `gate`?"),
        ("listener = \"intercept\"", "2:12", "no listener `intercept`", "there are: both, nat"),
        ("listener = \"http\"", "2:12", "takes no connections", "add `transparent = true`"),
        ("listener = \"same\"\nport = 81", "2:12", "listens on port 81 itself", "0.0.0.0:8081"),
        ("listener = \"several\"", "2:12", "has several ports", "0.0.0.0:8081"),
        ("listener = \"narrow\"", "2:12", "listens on ::1 only", "0.0.0.0:8081"),
        ("listener = \"gate\"\nmethod = \"redirect\"", "3:10", "not made for this method", "redirected = true"),
        ("listener = \"gate\"\nupstream = \"127.0.0.1:8080\"", "3:1", "said by `[[route]]`", "take `upstream`"),
    ];
    let texts = cases.map(|(keys, ..)| file(keys));
    let cases: Vec<_> =
        texts.iter().zip(cases).map(|(text, (_, at, told, hint))| (text.as_str(), at, told, hint)).collect();
    assert_problems(&cases);
}

#[test]
fn a_method_that_there_is_not_is_told_its_place() {
    let told = loaded(&file("method = \"nat\"")).err().unwrap();
    assert!(
        told.contains("f.toml:2:10: unknown variant `nat`, expected one of `auto`, `tproxy`, `redirect`"),
        "{told}"
    );
}

#[test]
fn without_an_authority_nobody_comes() {
    assert_problems(&[("[interception]\nport = 80", "1:1", "there is no `[acme]`", "add `[acme]`")]);
}
