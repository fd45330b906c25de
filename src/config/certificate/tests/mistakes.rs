//! What is wrong with certificates.

use super::{ACME, assert_problems, loaded, problem};

/// The beginning of a certificate behind a section that is as it should be: its keys begin on line 5.
fn behind(keys: &str) -> String {
    format!("{ACME}[[certificate]]\n{keys}")
}

/// Each of these beginnings of a certificate has one mistake.
fn assert_behind(cases: &[(&str, &str, &str, &str)]) {
    let texts: Vec<_> = cases.iter().map(|(keys, ..)| behind(keys)).collect();
    let cases: Vec<_> =
        texts.iter().zip(cases).map(|(text, (_, at, told, hint))| (text.as_str(), *at, *told, *hint)).collect();
    assert_problems(&cases);
}

#[test]
fn what_is_no_name_is_found_at_its_place() {
    assert_behind(&[
        ("domains = [\"a.example.com\", \"*.example.com\"]", "5:29", "neither HTTP-01", "name each host"),
        ("domains = [\"a_b.example.com\"]", "5:12", "not a domain name", "such as \"example.com\""),
        ("domains = \"https://example.com\"", "5:11", "not a domain name", "write \"example.com\""),
        (
            "domains = [\"example.com\", \"Example.com.\"]",
            "5:27",
            "example.com is in this certificate twice",
            "take one",
        ),
        ("domains = []", "5:11", "at least one name", "domains = ["),
        (
            "domian = [\"example.com\"]\ndomains = \"example.com\"",
            "5:1",
            "unknown key `domian`",
            "did you mean `domains`?",
        ),
    ]);
}

#[test]
fn who_answers_is_looked_for_at_its_place() {
    assert_behind(&[
        (
            "domains = [\"example.com\"]\nauthenticator = \"memroy\"",
            "6:17",
            "no authenticator `memroy`",
            "did you mean `memory`?",
        ),
        (
            "domains = [\"example.com\"]\nauthenticator = \"dns\"",
            "6:17",
            "no authenticator `dns`",
            "memory, files, sites, handshakes",
        ),
        (
            "domains = [\"example.com\"]\nauthenticators = { \"exmple.com\" = \"files\" }",
            "6:20",
            "`exmple.com` is not among `domains`",
            "did you mean `example.com`?",
        ),
        (
            "domains = [\"example.com\"]\nauthenticators = { \"example.com\" = \"flies\" }",
            "6:36",
            "no authenticator `flies`",
            "did you mean `files`?",
        ),
        (
            "domains = [\"a.example.com\", \"b.example.com\"]\nauthenticator = \"sites\"",
            "5:29",
            "the authenticator of b.example.com has no path for it",
            "\"b.example.com\" = ",
        ),
        (
            "domains = [\"example.com\"]\nintercept = true",
            "6:13",
            "there is no `[interception]`",
            "add `[interception]`",
        ),
        (
            "domains = \"example.com\"\nauthenticater = \"memory\"",
            "6:1",
            "unknown key",
            "did you mean `authenticator`?",
        ),
        ("domains = \"example.com\"\nauthenticatrs = {}", "6:1", "unknown key", "did you mean `authenticators`?"),
    ]);
}

#[test]
fn who_makes_it_and_how_must_make_sense() {
    assert_behind(&[
        (
            "domains = [\"example.com\"]\nissuer = \"intrenal\"",
            "6:10",
            "no issuer `intrenal`",
            "did you mean `internal`?",
        ),
        ("domains = [\"example.com\"]\nissuer = [\"acme\", \"zerossl\"]", "6:19", "no issuer `zerossl`", "`directory`"),
        (
            "domains = [\"example.com\"]\nissuer = [\"internal\", \"acme\"]",
            "6:10",
            "never fails",
            "[\"acme\", \"internal\"]",
        ),
        ("domains = [\"example.com\"]\nissuer = []", "6:10", "no issuer in this list", "\"acme\""),
        ("domains = [\"example.com\"]\nissuer = [\"acme\", \"acme\"]", "6:10", "twice", "\"acme\""),
        ("domains = [\"example.com\"]\nlife = \"7d\"", "6:1", "an authority decides itself", "issuer = \"internal\""),
        ("domains = [\"nas\"]\nissuer = \"internal\"\nlife = \"5s\"", "7:8", "5s is no life", "\"1m\""),
        ("domains = [\"nas\"]\nissuer = \"internal\"\nlife = \"900d\"", "7:8", "900d is no life", "\"825d\""),
        (
            "domains = [\"nas\"]\nissuer = \"internal\"\npartial = true",
            "7:1",
            "`partial` is about certificate authorities",
            "take it away",
        ),
        (
            "domains = [\"nas\"]\nissuer = \"internal\"\ndirectory = \"letsencrypt\"",
            "7:1",
            "`directory` is about",
            "take it away",
        ),
        (
            "domains = [\"nas\"]\nissuer = \"internal\"\nauthenticator = \"memory\"",
            "7:1",
            "`authenticator` is about",
            "take it away",
        ),
        (
            "domains = [\"example.com\"]\ndirectory = \"letsencrypt-stagin\"",
            "6:13",
            "not the URL",
            "did you mean `letsencrypt-staging`?",
        ),
        (
            "domains = [\"example.com\"]\npreferred_profile = \"a\"\nrequired_profile = \"b\"",
            "6:1",
            "exclude each other",
            "`required_profile` is for",
        ),
        ("domains = [\"example.com\"]\nrequired_profile = \"\"", "6:20", "`required_profile` is empty", "leave it out"),
    ]);
}

#[test]
fn certificates_are_told_apart() {
    assert_behind(&[
        ("domains = [\"example.com\"]\nname = \"../../tmp/x\"", "6:8", "no files can be called", "letters, digits"),
        ("domains = [\"example.com\"]\nname = \"README\"", "6:8", "no files can be called", "letters, digits"),
        ("domains = [\"example.com\"]\nname = \"\"", "6:8", "no files can be called", "letters, digits"),
        ("name = \"empty\"", "4:1", "does not say which certificate", "add `domains`"),
        ("domains = \"example.com\"\ncertificate = \"/a.pem\"", "5:1", "either obtained", "take `domains` away"),
        ("certificate = \"/a.pem\"", "5:1", "with its private key", "add `key`"),
        ("domains = \"example.com\"\nawaited = true", "6:1", "`awaited` is for certificates in files", "take it away"),
        ("key = \"/a.key\"", "5:1", "with its certificate", "add `certificate`"),
        (
            "domains = \"a.example.com\"\n[[certificate]]\ndomains = [\"a.example.com\", \"b.example.com\"]",
            "7:12",
            "there is another certificate `a.example.com`",
            "another `name`",
        ),
        (
            "domains = \"a.example.com\"\n[[certificate]]\ndomains = [\"b.example.com\"]\nname = \"a.example.com\"",
            "8:8",
            "there is another certificate `a.example.com`",
            "another `name`",
        ),
        (
            "domains = \"a.example.com\"\ndefault = true\n[[certificate]]\ndomains = \"b.example.com\"\ndefault = true",
            "9:11",
            "shown by default",
            "the other one is `a.example.com`",
        ),
    ]);
}

#[test]
fn a_value_of_another_type_is_told_its_place() {
    for (keys, expected) in [
        ("domains = [\"example.com\", 1]", "f.toml:5:27: invalid type: integer `1`, expected a string"),
        ("domains = 1", "f.toml:5:11: invalid type: integer `1`, expected a string, or a list of strings"),
        ("domains = \"example.com\"\nauthenticators = { \"example.com\" = 1 }", "f.toml:6:36: invalid type"),
        ("domains = \"example.com\"\nauthenticators = \"memory\"", "f.toml:6:18: `authenticators` must be a table"),
        ("domains = \"example.com\"\nlife = 7", "f.toml:6:8: invalid type"),
    ] {
        let told = loaded(&behind(keys)).err().unwrap();
        assert!(told.contains(expected), "{keys}\n{told}");
    }
}

#[test]
fn a_certificate_of_an_authority_needs_to_know_which_and_who_answers() {
    assert_problems(&[
        ("[[certificate]]\ndomains = \"example.com\"", "1:1", "there is no `[acme]`", "`issuer = \"internal\"`"),
        (
            "[acme]\nagree_to_terms = true\n[[certificate]]\ndomains = \"example.com\"",
            "3:1",
            "nobody answers the authority for example.com",
            "there are: memory, files, sites, handshakes",
        ),
        (
            "[acme]\nagree_to_terms = true\n[[certificate]]\ndomains = [\"a.example.com\", \"b.example.com\"]\n\
             authenticators = { \"a.example.com\" = \"memory\" }",
            "3:1",
            "nobody answers the authority for b.example.com",
            "name an `authenticator` here, or in `[acme]` for all",
        ),
    ]);
}

#[test]
fn a_certificate_has_so_many_names() {
    let names = |count: usize| {
        let names: Vec<_> = (0..count).map(|number| format!("\"{number:03}.example.com\"")).collect();
        format!("domains = [\n{}]", names.join(",\n"))
    };
    let with = |count, keys: &str| behind(&format!("{}\n{keys}", names(count)));
    for (count, keys) in [
        (100, ""),
        (25, "preferred_profile = \"shortlived\""),
        (25, "required_profile = \"tlsserver\""),
        (100, "preferred_profile = \"classic\""),
        (100, "required_profile = \"shortlived\"\ndirectory = \"https://ca.example.com/dir\""),
        (150, "issuer = \"internal\""),
    ] {
        assert!(loaded(&with(count, keys)).is_ok(), "{count} {keys}");
    }
    for (count, keys, at, expected) in [
        (101, "", "106:1", "a certificate has 100 names at most, and these are 101"),
        (
            30,
            "preferred_profile = \"shortlived\"",
            "31:1",
            "of the profile `shortlived` has 25 names at most, and these are 30",
        ),
        (26, "required_profile = \"tlsserver\"", "31:1", "of the profile `tlsserver` has 25"),
    ] {
        let (place, told, hint) = problem(&with(count, keys));
        assert!(told.contains(expected) && hint.contains("`[[certificate]]`"), "{told} {hint}");
        assert_eq!(place, at, "{keys}");
    }
}

#[test]
fn files_that_cannot_be_used_are_found_when_the_configuration_is_read() {
    let authority = test_support::Authority::new().unwrap();
    let (one, other) = (authority.issue("one", &["a.test"]).unwrap(), authority.issue("other", &["b.test"]).unwrap());
    let text = |certificate: &std::path::Path, key: &std::path::Path| {
        format!("[[certificate]]\ncertificate = {certificate:?}\nkey = {key:?}\n")
    };
    let nowhere = std::path::Path::new("/nowhere/site.pem");
    let texts = [
        text(nowhere, &one.key),
        text(&one.certificate, nowhere),
        text(&one.key, &one.key),
        text(&one.certificate, &one.certificate),
        text(&one.certificate, &other.key),
        format!("{}domains = \"a.test\"\n", text(&one.certificate, &one.key)),
        format!("{}authenticator = \"memory\"\n", text(&one.certificate, &one.key)),
        format!("{}issuer = \"internal\"\n", text(&one.certificate, &one.key)),
        format!("{0}{0}", text(&one.certificate, &one.key)),
    ];
    let expected = [
        ("2:15", "`/nowhere/site.pem` cannot be read", "`awaited = true` if it comes later"),
        ("3:7", "`/nowhere/site.pem` cannot be read", "by the user who starts"),
        ("2:15", "there is no certificate in it", "BEGIN CERTIFICATE"),
        ("3:7", "not a private key", "without a password"),
        ("3:7", "does not fit", "the private key that this certificate was made for"),
        ("4:1", "either obtained", "take `domains` away"),
        ("4:1", "`authenticator` is for certificates that are obtained", "take it away"),
        ("4:1", "`issuer` is for certificates that are obtained", "take it away"),
        ("5:15", "there is another certificate", "another `name`"),
    ];
    let cases: Vec<_> =
        texts.iter().zip(expected).map(|(text, (at, told, hint))| (text.as_str(), at, told, hint)).collect();
    assert_problems(&cases);
}

#[test]
fn both_unreadable_files_are_told_at_once() {
    let told = loaded("[[certificate]]\ncertificate = \"/nowhere/a\"\nkey = \"/nowhere/b\"").err().unwrap();
    assert!(told.contains("f.toml:2:15") && told.contains("f.toml:3:7"), "{told}");
}

#[test]
fn one_run_tells_of_all_certificates() {
    let told = loaded(&behind(
        "domains = [\"*.example.com\"]\nauthenticator = \"nobody\"\n[[certificate]]\nkey = \"/x\"\n[[certificate]]\ndomains = \"b\"\ndefualt = true",
    ));
    let told = told.err().unwrap();
    for place in ["5:12", "6:17", "8:1", "11:1"] {
        assert!(told.contains(&format!("f.toml:{place}: ")), "{place} is not in\n{told}");
    }
    assert_eq!(told.lines().filter(|line| line.starts_with("f.toml:")).count(), 4, "{told}");
}

#[test]
fn an_authenticator_that_cannot_be_built_is_told_once() {
    let broken = "[[authenticator]]\nname = \"broken\"\nuse = \"webroot\"\npth = \"/srv\"\n";
    let told =
        loaded(&format!("{broken}{}authenticator = \"broken\"", behind("domains = \"example.com\"\n"))).err().unwrap();
    assert_eq!(told.lines().filter(|line| line.starts_with("f.toml:")).count(), 1, "{told}");
    assert!(told.contains("unknown key `pth`"), "{told}");
}
