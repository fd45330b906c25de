//! The plugin on the harness: which requests it refuses, and what it refuses to be built from.
#![expect(clippy::panic, reason = "a test says what went wrong by panicking")]

use std::fs;

use plugin_api::{BuildCx, Content, Named, Plugin, Scheme, SharedStore, harness::Harness, http::StatusCode};
use plugin_filter::{Config, Fallback, Filter, Subject, Syntax};

fn built(keys: &str) -> Harness {
    Harness::of::<Filter>(keys).unwrap_or_else(|problems| panic!("{problems}"))
}

fn refused(keys: &str) -> String {
    Harness::of::<Filter>(keys).err().expect("it is refused").to_string()
}

/// Whether the request is let through.
fn passes(harness: &Harness, method: &str, target: &str) -> bool {
    let exchange = harness.request(method, target).send();
    match exchange.status() {
        StatusCode::OK => exchange.upstream.is_some(),
        StatusCode::FORBIDDEN => {
            assert!(
                matches!(&exchange.response.body, Content::Page(reason) if reason == "The request you made has been filtered")
            );
            false
        }
        other => panic!("{target}: {other}"),
    }
}

/// The targets, of those given, that are let through.
fn passing<'t>(keys: &str, targets: &[&'t str]) -> Vec<&'t str> {
    let harness = built(keys);
    let method = |target: &str| if target.contains("//") || target.starts_with('/') { "GET" } else { "CONNECT" };
    targets.iter().filter(|target| passes(&harness, method(target), target)).copied().collect()
}

#[test]
fn hosts_are_found_without_port_and_brackets() {
    let targets =
        ["http://ads.example/", "http://ADS.Example:8080/x", "ads.example:443", "http://b.example/?ads.example"];
    assert_eq!(
        passing("syntax = \"bre\"\npatterns = ['^ads\\.example$']", &targets),
        ["http://b.example/?ads.example"]
    );
    let targets = ["http://[2001:db8::1]/", "[2001:db8::1]:443", "http://[2001:db8::2]:80/"];
    assert_eq!(passing("syntax = \"ere\"\npatterns = ['^2001:db8::1$']", &targets), ["http://[2001:db8::2]:80/"]);
    // A name with a dot at its end is the same name.
    let targets = ["http://ads.example./", "ads.example.:443", "http://ads.example.net/"];
    assert_eq!(passing("syntax = \"bre\"\npatterns = ['ads\\.example$']", &targets), ["http://ads.example.net/"]);
}

#[test]
fn without_a_url_the_host_field_names_the_host() {
    assert_eq!(passing("syntax = \"bre\"\npatterns = ['^site.example$']", &["/"]), [""; 0]);
    let harness = built("syntax = \"bre\"\npatterns = ['^site.example$']\ndefault = \"deny\"");
    assert!(passes(&harness, "GET", "/x"));
    assert!(!passes(&harness, "GET", "http://other.example/"));
}

#[test]
fn urls_are_found_as_the_client_wrote_them() {
    let only = |pattern: &str, target: &str| {
        let keys = format!("syntax = \"ere\"\nsubject = \"url\"\ndefault = \"deny\"\npatterns = ['^{pattern}$']");
        assert_eq!(passing(&keys, &[target]), [target], "{pattern}");
    };
    only("http://h\\.example/a\\?b=c", "http://h.example/a?b=c");
    only("http://h\\.example:80/", "http://h.example:80/");
    only("http://h\\.example:8080/", "http://H.Example:8080");
    only("https://h\\.example/", "https://h.example/");
    only("h\\.example:443", "h.example:443");
    only("\\[::1]:443", "[::1]:443");
    only("http://\\[::1]:81/", "http://[::1]:81/");
    // What an origin is told has no port unless the client wrote one; the URL has it always, as in tinyproxy.
    only("http://site\\.example:80/a\\?b", "/a?b");
}

#[test]
fn a_request_for_an_encrypted_site_has_an_https_url() {
    let mut harness = built("syntax = \"bre\"\nsubject = \"url\"\npatterns = ['^https://site.example:443/x$']");
    assert!(passes(&harness, "GET", "/x"));
    harness.connection().scheme = Scheme::Https;
    assert!(!passes(&harness, "GET", "/x"));
}

#[test]
fn case_matters_when_asked_for() {
    let targets = ["http://Ads.example/", "http://ads.example/"];
    for (syntax, pattern) in [("bre", "^Ads"), ("ere", "^(A)ds"), ("fnmatch", "Ads*")] {
        let keys = format!("syntax = \"{syntax}\"\npatterns = ['{pattern}']");
        assert_eq!(passing(&keys, &targets), [""; 0], "{syntax}");
        assert_eq!(passing(&format!("{keys}\ncase_sensitive = true"), &targets), [targets[1]], "{syntax}");
    }
}

#[test]
fn wildcards_are_about_the_whole_subject() {
    let targets =
        ["http://a.example/", "http://.example/", "http://example/", "http://a.b.example/", "http://a.example.net/"];
    assert_eq!(passing("syntax = \"fnmatch\"\npatterns = ['*.example']", &targets), [targets[2], targets[4]]);
    assert_eq!(
        passing("syntax = \"fnmatch\"\npatterns = ['?.example', 'exampl[a-e]']", &targets),
        [targets[1], targets[3], targets[4]]
    );
    let urls = ["http://a.example/x/y.gif", "http://a.example/x"];
    assert_eq!(passing("syntax = \"fnmatch\"\nsubject = \"url\"\npatterns = ['http://*.gif']", &urls), [urls[1]]);
}

#[test]
fn an_upgrade_is_a_request_like_others() {
    let harness = built("syntax = \"bre\"\npatterns = ['ads']");
    let upgrade = |target: &str| {
        let sending = harness.request("GET", target).header("Connection", "Upgrade").header("Upgrade", "websocket");
        sending.send().status()
    };
    assert_eq!(upgrade("http://ads.example/"), StatusCode::FORBIDDEN);
    assert_eq!(upgrade("http://b.example/"), StatusCode::OK);
}

#[test]
fn an_empty_list_decides_nothing() {
    let list = tempfile::NamedTempFile::new().unwrap();
    let keys = format!("syntax = \"bre\"\nfile = \"{}\"", list.path().display());
    assert_eq!(passing(&keys, &["http://a/", "/"]), ["http://a/", "/"]);
    assert_eq!(passing(&format!("{keys}\ndefault = \"deny\""), &["http://a/", "/"]), [""; 0]);
}

#[test]
fn a_file_and_patterns_are_one_list_and_the_file_is_watched() {
    let list = tempfile::NamedTempFile::new().unwrap();
    fs::write(list.path(), "# hosts\n^ads\\. and more\n").unwrap();
    let config = Config {
        file: Some(list.path().to_owned()),
        patterns: vec!["^track".into()],
        syntax: Syntax::Bre,
        subject: Subject::Host,
        default: Fallback::Allow,
        case_sensitive: false,
        connect_ports: None,
        own_hosts: Vec::new(),
        reverse: None,
    };
    let (named, shared) = (Named::default(), SharedStore::default());
    let mut cx = BuildCx::new(&named, &shared);
    assert!(Filter::build(config, &mut cx).is_ok());
    assert_eq!(cx.into_watched(), [list.path()]);
    let keys = format!("syntax = \"bre\"\nfile = \"{}\"\npatterns = [\"^track\"]", list.path().display());
    assert_eq!(passing(&keys, &["http://ads.a/", "http://track.a/", "http://and.a/"]), ["http://and.a/"]);
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let list = tempfile::NamedTempFile::new().unwrap();
    let path = list.path().display().to_string();
    let keys = format!("syntax = \"ere\"\nfile = \"{path}\"");
    fs::write(list.path(), "a\n\n(b # x\n[c\n").unwrap();
    let shown = refused(&keys);
    assert!(shown.contains(&format!("harness:2:8: Bad regex in {path}: line 3 - (b\n")), "{shown}");
    assert!(shown.contains("= hint: a parenthesis has no partner; bad are also lines 4\n"), "{shown}");
    fs::write(list.path(), "(a)\\2\n").unwrap();
    let shown = refused(&keys);
    assert!(shown.contains("line 1 - (a)\\2\n") && shown.contains("has no group of its number"), "{shown}");
    fs::write(list.path(), "x\n".repeat(5) + &"*\n".repeat(30)).unwrap();
    let shown = refused(&keys);
    assert!(
        shown.contains("line 6 - *\n") && shown.contains("lines 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, …"),
        "{shown}"
    );

    let shown = refused("syntax = \"bre\"\npatterns = [\"a\", \"[b\"]");
    assert!(shown.contains("harness:2:18: bad pattern: a `[` has no `]`"), "{shown}");
    let shown = refused("syntax = \"bre\"\nfile = \"/nonexistent/list\"");
    assert!(shown.contains("harness:2:8: cannot read the filter file `/nonexistent/list`: No such file"), "{shown}");
    assert!(refused("syntax = \"bre\"").contains("`filter` has no patterns"));
    assert!(refused("patterns = [\"a\"]").contains("`syntax`"));
    assert!(refused("syntax = \"pcre\"\npatterns = [\"a\"]").contains("fnmatch"));
}

/// Groups in groups, none of which is superfluous.
fn nested(depth: usize) -> String {
    "(x".repeat(depth) + &"y)*z".repeat(depth)
}

#[test]
fn back_references_find_what_a_group_found() {
    for (syntax, pattern) in [("bre", "^\\(.\\)\\1\\."), ("ere", "^(.)\\1\\.")] {
        let keys = format!("syntax = \"{syntax}\"\npatterns = ['{pattern}', 'other']");
        let targets = ["http://aa.example/", "http://aA.example/", "http://ab.example/", "http://other.example/"];
        assert_eq!(passing(&keys, &targets), ["http://ab.example/"]);
        let targets = ["http://aa.example./", "http://ab.example/"];
        assert_eq!(passing(&format!("{keys}\ndefault = \"deny\""), &targets), ["http://aa.example./"]);
    }
}

#[test]
fn what_would_take_for_ever_is_refused() {
    let keys = "syntax = \"ere\"\nsubject = \"url\"\npatterns = ['^http://a/(a*)(a*)(a*)(a*)x\\1\\2\\3\\4y$']";
    let long = format!("http://a/{}x{}y", "a".repeat(1000), "a".repeat(1001));
    for default in ["allow", "deny"] {
        let harness = built(&format!("{keys}\ndefault = \"{default}\""));
        let start = std::time::Instant::now();
        assert!(!passes(&harness, "GET", &long), "{default}");
        assert!(start.elapsed() < std::time::Duration::from_secs(20), "{default}: {:?}", start.elapsed());
    }
    assert!(passes(&built(keys), "GET", "http://a/c"));
}

#[test]
fn no_pattern_is_got_past_by_another_spelling_of_the_url() {
    let keys = |pattern: &str| format!("syntax = \"ere\"\nsubject = \"url\"\npatterns = ['{pattern}']");
    for (pattern, url) in [
        ("^http://a.example/x", "http://a.example:80/x"),
        ("^http://a.example/x", "http://a.example./x"),
        ("^http://a.example:81/x", "http://a.example:0081/x"),
        ("^http://a.example/$", "http://a.example"),
        ("^http://a.example$", "http://a.example/"),
        ("^http://a.example\\?q", "http://a.example/?q"),
        ("^a.example:443$", "a.example:0443"),
        ("^http://site.example/x$", "/x"),
    ] {
        assert_eq!(passing(&keys(pattern), &[url]), [""; 0], "{pattern} and {url}");
    }
    assert_eq!(passing(&keys("^http://a.example:80/"), &["http://a.example/"]), ["http://a.example/"]);
}

#[test]
fn a_usual_back_reference_lets_long_urls_pass() {
    let path = "abcdefghijklmnopqrstuvwxyz0123456789".repeat(220);
    for (pattern, query) in
        [("(.{1,})=\\1;", ""), ("(.{1,})=\\1;", "?a=b;c=d"), ("/(.+)/\\1/\\1/", "/x/y/z"), ("(ad[0-9]+).*\\1", "/ad1")]
    {
        let harness = built(&format!("syntax = \"ere\"\nsubject = \"url\"\npatterns = ['{pattern}']"));
        assert!(passes(&harness, "GET", &format!("http://a.example/{path}{query}")), "{pattern}");
    }
}

#[test]
fn capitals_and_odd_addresses_get_nobody_past_a_list() {
    let block = |pattern: &str| format!("syntax = \"ere\"\ncase_sensitive = true\npatterns = ['{pattern}']");
    let targets = ["http://bad.example/", "http://BAD.Example/", "Bad.example.:443", "http://good.example/bad.example"];
    assert_eq!(passing(&block("^bad\\.example$"), &targets), [targets[3]]);
    // A pattern in capitals is about what is written so, as in tinyproxy.
    assert_eq!(passing(&block("^BAD"), &targets), [targets[0], targets[2], targets[3]]);
    let urls = ["http://BAD.example/Secret", "http://BAD.example/secret", "http://bad.example/Secret"];
    let keys = format!("{}\nsubject = \"url\"", block("^http://bad.example/Secret"));
    assert_eq!(passing(&keys, &urls), [urls[1]]);

    let addresses = [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f.0.0.1/",
        "http://0177.0.0.1/",
        "http://[::ffff:127.0.0.1]/",
        "127.1:443",
        "http://127.0.0.2/",
    ];
    for case in ["", "case_sensitive = true\n"] {
        let keys = format!("{case}syntax = \"bre\"\npatterns = ['^127\\.0\\.0\\.1$']");
        assert_eq!(passing(&keys, &addresses), [addresses[7]]);
        let keys = format!("{case}syntax = \"bre\"\nsubject = \"url\"\npatterns = ['^http://127\\.0\\.0\\.1/']");
        assert_eq!(passing(&keys, &addresses), addresses[6..]);
    }
}

#[test]
fn no_other_spelling_lets_through_what_is_not_listed() {
    let only =
        |pattern: &str, more: &str| format!("syntax = \"ere\"\ndefault = \"deny\"\npatterns = ['{pattern}']\n{more}");
    let sensitive = "case_sensitive = true";
    // What is written decides, as in tinyproxy.
    let targets = ["http://good.example/", "http://GOOD.example/", "http://good.example./"];
    assert_eq!(passing(&only("^good\\.example$", sensitive), &targets), [targets[0], targets[2]]);
    assert_eq!(passing(&only("^GOOD\\.example$", sensitive), &targets), [targets[1]]);
    assert_eq!(passing(&only("^127\\.0\\.0\\.1$", ""), &["http://127.1/", "http://127.0.0.1/"]), ["http://127.0.0.1/"]);
    // But what says who it is not lets nobody in who writes his name differently.
    for (pattern, target, spelled) in [
        ("^[^b]", "http://bad.example/", "http://Bad.example/"),
        ("[^m]$", "http://bad.com/", "http://bad.com./"),
        ("^[^1]", "http://127.0.0.1/", "http://2130706433/"),
        ("^[^1]", "http://10.0.0.1/", "http://[::ffff:10.0.0.1]/"),
    ] {
        assert_eq!(passing(&only(pattern, sensitive), &[target, spelled, "http://x.example/"]), ["http://x.example/"]);
    }
    let keys = only("a:[^8]", "subject = \"url\"");
    assert_eq!(passing(&keys, &["http://a:81/x", "http://a:081/x", "http://a:91/x"]), ["http://a:91/x"]);
}

#[test]
fn all_spellings_share_one_patience() {
    let keys = "syntax = \"ere\"\nsubject = \"url\"\npatterns = ['(a*)(a*)(a*)(a*)x\\1\\2\\3\\4y$']";
    let harness = built(keys);
    let time = |target: &str| {
        let start = std::time::Instant::now();
        assert!(!passes(&harness, "GET", &format!("{target}{}x{}y", "a".repeat(1000), "a".repeat(1001))), "{target}");
        start.elapsed()
    };
    // The second has eight spellings.
    let (one, many) = (time("http://b/"), time("http://127.1.:080/?"));
    assert!(many < one * 4, "{one:?}, {many:?}");
}

#[test]
fn a_pattern_of_any_size_is_built_or_refused_and_found_in_linear_time() {
    for pattern in ["(a{1,255}){1,255}", "a**********", "(a+?*){1}", &nested(200), "((((((a{2}){2}){2}){2}){2}){2})$"] {
        built(&format!("syntax = \"ere\"\nsubject = \"url\"\npatterns = ['{pattern}']"));
    }
    for pattern in ["((a{255}){255}){255}", "(((a*)*)*)*$", &"(".repeat(5000), &"a*".repeat(3000), &"x".repeat(100_000)]
    {
        let keys = format!("syntax = \"ere\"\nsubject = \"url\"\npatterns = ['{pattern}']");
        match Harness::of::<Filter>(&keys) {
            Ok(harness) => {
                assert!(passes(&harness, "GET", &format!("/{}b", "a".repeat(2000))) || pattern.contains('*'))
            }
            Err(problems) => {
                let shown = problems.to_string();
                assert!(shown.contains("it is too large") || shown.contains("it is nested too deeply"), "{shown}");
            }
        }
    }
}

#[test]
fn what_reverse_path_takes_is_looked_at_as_the_application_gets_it() {
    let keys = |subject: &str, pattern: &str, more: &str| {
        format!(
            "syntax = \"ere\"\nsubject = \"{subject}\"\npatterns = ['{pattern}']\n[reverse]\n{more}\n\
             paths = [{{ path = \"/a/\", to = \"http://App.internal:81/x/\" }}, {{ path = \"/b\", to = \"http://[::1]/\" }}]"
        )
    };
    let targets = ["/a/1?q", "/a", "/a?q", "/b/", "/c", "http://site.example/a/"];
    assert_eq!(passing(&keys("host", "^app\\.internal$", ""), &targets), ["/a", "/a?q", "/b/", "/c", targets[5]]);
    assert_eq!(passing(&keys("host", "^::1$", ""), &targets), ["/a/1?q", "/a", "/a?q", "/c", targets[5]]);
    assert_eq!(passing(&keys("host", "^site", ""), &targets), ["/a/1?q", "/a", "/b/"]);
    assert_eq!(
        passing(&keys("url", "^http://app.internal:81/x/1\\?q$", ""), &targets),
        ["/a", "/a?q", "/b/", "/c", targets[5]]
    );
    // It refuses the others by itself.
    assert_eq!(passing(&keys("host", "^site", "only = true"), &targets), targets);
    let remembers = |keys: &str, cookie: &str| {
        let harness = built(keys);
        let sending = harness.request("GET", "/c").header("Cookie", &format!("a=b; yummy_magical_cookie={cookie}"));
        sending.send().status() == StatusCode::FORBIDDEN
    };
    for (cookie, is_one) in [("/b/", true), ("/b", true), ("/b/deep", true), ("/bc", false), ("/", false)] {
        assert_eq!(remembers(&keys("url", "^http://\\[::1]/c$", "magic = true"), cookie), is_one, "{cookie}");
        assert!(!remembers(&keys("url", "^http://\\[::1]/c$", ""), cookie), "{cookie}");
    }
    // Who asks nobody is not looked at.
    let nobody = "syntax = \"ere\"\npatterns = [\".\"]\nreverse = { paths = [{ path = \"/a/\" }] }";
    assert_eq!(passing(nobody, &["/a/x", "/a", "/b"]), ["/a/x", "/a"]);
    let shown = refused("syntax = \"ere\"\npatterns = [\"a\"]\nreverse = { paths = [{ path = \"/\", to = \"x\" }] }");
    assert!(shown.contains("path 1 does not lead to a URL"), "{shown}");
}
