//! Whole files: what comes out of them, and every mistake at its place.

mod mistakes;

use authenticator_api::{ChallengeKind, DomainName};
use certificates::{Completeness, Internal, Issuer, Profile};
use plugin_api::config::Source;

use crate::config::{Certificates, Loaded, Managed, load};

/// The rest of a file.
const REST: &str = "
    [[listener]]
    name = \"http\"
    address = [\"127.0.0.1:80\"]
    [[listener]]
    name = \"gate\"
    address = [\"0.0.0.0:8081\", \"[::]:8081\"]
    transparent = true
    [[authenticator]]
    name = \"memory\"
    use = \"standalone\"
    [[authenticator]]
    name = \"files\"
    use = \"webroot\"
    path = \"/srv/www\"
    [[authenticator]]
    name = \"sites\"
    use = \"webroot\"
    path = { \"a.example.com\" = \"/srv/a\" }
    [[authenticator]]
    name = \"handshakes\"
    use = \"tls-alpn\"
    [[route]]
    chain = [{ use = \"upstream\", servers = [\"127.0.0.1:8080\"] }]
";

/// A section that is as it should be.
const ACME: &str = "[acme]\nagree_to_terms = true\nauthenticator = \"memory\"\n";

/// Loads a file that begins with this.
pub(in crate::config) fn loaded(text: &str) -> Result<Loaded, String> {
    load(Source::new("f.toml", format!("{text}\n{REST}")), &Default::default()).map_err(|problems| problems.to_string())
}

fn certificates(text: &str) -> Certificates {
    loaded(text).map(|loaded| loaded.certificates).unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

fn remarks(text: &str) -> Vec<String> {
    loaded(text).map(|loaded| loaded.remarks).unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

/// The only thing that is wrong with a file: its place, what, and what to do about it.
pub(in crate::config) fn problem(text: &str) -> (String, String, String) {
    let told = loaded(text).err().unwrap_or_else(|| panic!("this is taken:\n{text}"));
    let heads: Vec<_> = told.lines().filter_map(|line| line.strip_prefix("f.toml:")).collect();
    assert_eq!(heads.len(), 1, "one problem is expected:\n{told}");
    let (place, message) = heads[0].split_once(": ").unwrap();
    let hint = told.split_once("= hint: ").map(|(_, hint)| hint.trim_end().to_owned());
    (place.to_owned(), message.to_owned(), hint.unwrap_or_else(|| panic!("there is no hint:\n{told}")))
}

/// Each text has one problem, at this place, with these words in its message and its hint.
pub(in crate::config) fn assert_problems(cases: &[(&str, &str, &str, &str)]) {
    for (text, place, message, hint) in cases {
        let (at, told, advice) = problem(text);
        assert!(told.contains(message), "{text}\n{told}");
        assert!(advice.contains(hint), "{text}\n{advice}");
        assert_eq!(at, *place, "{text}\n{told}");
    }
}

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn servers(managed: &Managed) -> Vec<&str> {
    managed.request.issuers.iter().map(Issuer::server).collect()
}

#[test]
fn a_few_lines_are_enough() {
    let all = certificates(&format!("{ACME}[[certificate]]\ndomains = [\"Example.com\", \"www.example.com\"]"));
    assert_eq!(all.storage.as_deref(), Some("/etc/letsencrypt".as_ref()));
    assert_eq!((all.ca, all.notify, all.interception), (None, None, None));
    assert!(all.self_check && all.files.is_empty());
    assert_eq!(all.default.as_deref(), Some("example.com"));
    let [one] = all.managed.as_slice() else { panic!("{:?}", all.managed) };
    assert_eq!(one.name(), "example.com");
    assert_eq!(one.request.domains, [name("example.com"), name("www.example.com")]);
    assert_eq!(servers(one), ["https://acme-v02.api.letsencrypt.org/directory"]);
    let Issuer::Acme(authority) = &one.request.issuers[0] else { panic!("{:?}", one.request) };
    assert!(authority.agree_to_terms && authority.contact.is_empty() && authority.external_account.is_none());
    assert_eq!((&authority.profile, &authority.preferred_chain), (&None, &None));
    assert_eq!(one.request.completeness, Completeness::Some { resting: Vec::new() });
    assert_eq!(one.request.patience.as_secs(), 300);
    assert!(!one.request.force && !one.intercept);
    assert_eq!(one.request.renewal.authenticator, "standalone");
    assert_eq!(one.request.renewal.server, "https://acme-v02.api.letsencrypt.org/directory");
    assert_eq!(remarks(&format!("{ACME}[[certificate]]\ndomains = \"example.com\"")), Vec::<String>::new());
}

#[test]
fn a_certificate_overrides_what_the_section_says() {
    let all = certificates(
        "[acme]\nagree_to_terms = true\nauthenticator = \"memory\"\ndirectory = [\"https://ca.example.com/dir\", \"letsencrypt\"]\n\
         preferred_profile = \"tlsserver\"\npreferred_chain = \"ISRG Root X1\"\ncontact = \"admin@example.com\"\n\
         [[certificate]]\ndomains = [\"a.example.com\"]\n\
         [[certificate]]\nname = \"b\"\ndomains = [\"b.example.com\"]\ndirectory = \"letsencrypt-staging\"\n\
         required_profile = \"shortlived\"\npreferred_chain = \"Other\"\npartial = false\ndefault = true",
    );
    let [a, b] = all.managed.as_slice() else { panic!("{:?}", all.managed) };
    assert_eq!(servers(a), ["https://ca.example.com/dir", "https://acme-v02.api.letsencrypt.org/directory"]);
    for issuer in &a.request.issuers {
        let Issuer::Acme(authority) = issuer else { panic!("{issuer:?}") };
        assert_eq!(authority.profile, Some(Profile::Preferred("tlsserver".to_owned())));
        assert_eq!(authority.preferred_chain.as_deref(), Some("ISRG Root X1"));
        assert_eq!(authority.contact, ["mailto:admin@example.com"]);
    }
    assert_eq!(servers(b), ["https://acme-staging-v02.api.letsencrypt.org/directory"]);
    let Issuer::Acme(authority) = &b.request.issuers[0] else { panic!("{:?}", b.request) };
    assert_eq!(authority.profile, Some(Profile::Required("shortlived".to_owned())));
    assert_eq!(authority.preferred_chain.as_deref(), Some("Other"));
    assert_eq!((b.name(), &b.request.completeness), ("b", &Completeness::All));
    assert_eq!(all.default.as_deref(), Some("b"));
}

#[test]
fn each_name_has_its_authenticator() {
    let all = certificates(
        "[acme]\nagree_to_terms = true\n[[certificate]]\ndomains = [\"a.example.com\", \"b.example.com\", \"192.0.2.1\"]\n\
         authenticator = \"files\"\nrequired_profile = \"shortlived\"\n\
         authenticators = { \"A.example.com\" = \"sites\", \"192.0.2.1\" = \"handshakes\" }",
    );
    let [one] = all.managed.as_slice() else { panic!("{:?}", all.managed) };
    let address = DomainName::from_address("192.0.2.1".parse().unwrap());
    let kinds = [name("a.example.com"), name("b.example.com"), address].map(|name| one.authenticators.of(&name).kind());
    assert_eq!(kinds, [ChallengeKind::Http01, ChallengeKind::Http01, ChallengeKind::TlsAlpn01]);
    let renewal = &one.request.renewal;
    assert_eq!(renewal.authenticator, "webroot", "certbot can go on where we stop");
    let webroots = [(name("a.example.com"), "/srv/a".to_owned()), (name("b.example.com"), "/srv/www".to_owned())];
    assert_eq!(renewal.webroots, webroots);
}

#[test]
fn authenticators_of_all_single_names_need_no_other() {
    let all = certificates(
        "[acme]\nagree_to_terms = true\n[[certificate]]\ndomains = [\"a.example.com\", \"b.example.com\"]\n\
         [certificate.authenticators]\n\"a.example.com\" = \"handshakes\"\n\"b.example.com\" = \"memory\"",
    );
    let one = &all.managed[0];
    assert_eq!(one.authenticators.of(&name("a.example.com")).kind(), ChallengeKind::TlsAlpn01);
    assert_eq!(one.authenticators.of(&name("b.example.com")).kind(), ChallengeKind::Http01);
}

#[test]
fn the_internal_authority_needs_no_section_and_no_proof() {
    let all = certificates("[[certificate]]\ndomains = [\"nas.local\", \"10.0.0.1\"]\nissuer = \"internal\"");
    let [one] = all.managed.as_slice() else { panic!("{:?}", all.managed) };
    assert_eq!(one.request.issuers, [Issuer::Internal(Internal::default())]);
    assert_eq!(
        (one.request.renewal.server.as_str(), one.request.renewal.authenticator.as_str()),
        ("internal", "internal")
    );
    assert_eq!(all.storage.as_deref(), Some("/etc/letsencrypt".as_ref()));
    let all = certificates(
        "[acme]\nstorage = \"/var/lib/lockgate\"\n[[certificate]]\ndomains = \"nas.local\"\nissuer = [\"internal\"]\nlife = \"1h\"",
    );
    let life = std::time::Duration::from_secs(3600);
    assert_eq!(all.managed[0].request.issuers, [Issuer::Internal(Internal { life })]);
    assert_eq!(all.storage.as_deref(), Some("/var/lib/lockgate".as_ref()), "terms need not be agreed to for that");
}

#[test]
fn the_internal_authority_can_fill_in_for_others() {
    let all =
        certificates(&format!("{ACME}[[certificate]]\ndomains = \"example.com\"\nissuer = [\"acme\", \"internal\"]"));
    assert_eq!(servers(&all.managed[0]), ["https://acme-v02.api.letsencrypt.org/directory", "internal"]);
    assert_eq!(all.managed[0].request.renewal.authenticator, "standalone");
}

#[test]
fn files_of_somebody_else_are_read_and_remembered() {
    let authority = test_support::Authority::new().unwrap();
    let made = authority.issue("site", &["example.com"]).unwrap();
    let keys = format!("certificate = {:?}\nkey = {:?}", made.certificate, made.key);
    let all =
        certificates(&format!("[[certificate]]\n{keys}\n[[certificate]]\nname = \"again\"\n{keys}\ndefault = true"));
    let [first, second] = all.files.as_slice() else { panic!("{:?}", all.files) };
    assert_eq!((first.name.as_str(), second.name.as_str()), (made.certificate.to_str().unwrap(), "again"));
    assert_eq!((&first.certificate, &first.key), (&made.certificate, &made.key));
    assert_eq!((all.default.as_deref(), all.storage), (Some("again"), None));
}

#[test]
fn files_that_are_awaited_may_be_missing_and_nothing_else() {
    let directory = test_support::scratch_dir().unwrap();
    let authority = test_support::Authority::new().unwrap();
    let made = authority.issue("site", &["example.com"]).unwrap();
    let text = |certificate: &std::path::Path, key: &std::path::Path| {
        format!("[[certificate]]\nawaited = true\ncertificate = {certificate:?}\nkey = {key:?}\n")
    };
    let missing = directory.path().join("live/example.com/fullchain.pem");
    for (certificate, key) in [(&missing, &missing), (&missing, &made.key), (&made.certificate, &missing)] {
        let text = text(certificate, key);
        assert_eq!(certificates(&text).files.len(), 1);
        assert!(remarks(&text).iter().any(|told| told.contains("not there yet; a placeholder is shown")));
    }
    assert!(!remarks(&text(&made.certificate, &made.key)).iter().any(|told| told.contains("not there yet")));
    let told = loaded(&text(&made.key, &made.key)).err().unwrap();
    assert!(told.contains("f.toml:3:15") && told.contains("there is no certificate in it"), "{told}");
    // A file on the way to it is not one that is yet to come.
    let told = loaded(&text(&made.certificate.join("below"), &made.key)).err().unwrap();
    assert!(told.contains("f.toml:3:15") && told.contains("cannot be read"), "{told}");
}

#[test]
fn the_first_certificate_is_the_default_whatever_its_kind() {
    let authority = test_support::Authority::new().unwrap();
    let made = authority.issue("site", &["example.com"]).unwrap();
    let files =
        format!("[[certificate]]\nname = \"files\"\ncertificate = {:?}\nkey = {:?}\n", made.certificate, made.key);
    let managed = "[[certificate]]\ndomains = \"example.com\"\n";
    let default = |text: &str| certificates(text).default;
    assert_eq!(default(&format!("{ACME}{files}{managed}")).as_deref(), Some("files"));
    assert_eq!(default(&format!("{ACME}{managed}{files}")).as_deref(), Some("example.com"));
    assert_eq!(default(ACME), None);
}

#[test]
fn a_gate_is_opened_for_who_needs_it() {
    let text = |keys: &str| {
        format!("{ACME}[interception]\n[[certificate]]\ndomains = [\"a.example.com\", \"b.example.com\"]\n{keys}")
    };
    for (keys, expected) in [
        ("", true),
        ("intercept = false", false),
        ("authenticator = \"handshakes\"", false),
        ("authenticator = \"files\"", false),
        ("authenticator = \"files\"\nintercept = true", true),
        ("authenticator = \"files\"\nauthenticators = { \"b.example.com\" = \"memory\" }", true),
        ("issuer = \"internal\"", false),
    ] {
        assert_eq!(certificates(&text(keys)).managed[0].intercept, expected, "{keys}");
    }
    let told = remarks(&text("intercept = false"));
    assert_eq!(told, ["`[interception]` is there and no certificate needs it"]);
}

#[test]
fn what_will_disappoint_is_remarked_upon() {
    let with = |keys: &str| remarks(&format!("{ACME}{keys}"));
    let one = |keys: &str| {
        let told = with(&format!("[[certificate]]\n{keys}"));
        assert_eq!(told.len(), 1, "{keys}: {told:?}");
        told.into_iter().next().unwrap()
    };
    assert_eq!(with(""), ["`[acme]` is there and no `[[certificate]]`: none is asked for"]);
    let told = one("domains = [\"example.com\", \"192.0.2.1\", \"2001:db8::1\"]");
    assert!(
        told.contains("addresses (192.0.2.1, 2001:db8::1)") && told.contains("required_profile = \"shortlived\""),
        "{told}"
    );
    let told = one("domains = \"example.com\"\npreferred_profile = \"shortlivd\"");
    assert!(told.contains("profile `shortlivd`; did you mean `shortlived`?"), "{told}");
    assert!(one("domains = \"example.com\"\ndirectory = \"letsencrypt-staging\"").contains("for tests"));
    let told = one("domains = [\"example.com\", \"nas.local\", \"10.0.0.1\"]\nrequired_profile = \"shortlived\"");
    assert!(told.contains("no public authority issues for nas.local, 10.0.0.1"), "{told}");
    let told = one(
        "domains = [\"a.example.com\", \"b.example.com\"]\n[[certificate]]\ndomains = [\"c.example.com\", \"b.example.com\"]",
    );
    assert_eq!(
        told,
        "b.example.com: in the certificates `a.example.com` and `c.example.com`; the first of them is shown"
    );
    for fine in [
        "domains = \"example.com\"\npreferred_profile = \"shortlivd\"\ndirectory = \"https://ca.example.com/dir\"",
        "domains = [\"192.0.2.1\"]\npreferred_profile = \"shortlived\"",
        "domains = [\"192.0.2.1\", \"nas.local\"]\ndirectory = \"https://ca.example.com/dir\"",
        "domains = [\"nas.local\"]\nissuer = \"internal\"",
    ] {
        assert_eq!(with(&format!("[[certificate]]\n{fine}")), Vec::<String>::new(), "{fine}");
    }
}

#[test]
fn a_listener_with_nothing_to_show_is_a_mistake() {
    let tls = "[[listener]]\nname = \"https\"\naddress = [\"127.0.0.1:443\"]\ntls = true\n";
    let (place, message, hint) = problem(tls);
    assert_eq!((&*place, &*message), ("4:1", "TLS is spoken here, and there is no certificate to show"));
    assert!(hint.contains("issuer = \"internal\""), "{hint}");
    let internal = "[[certificate]]\ndomains = \"nas.local\"\nissuer = \"internal\"";
    assert_eq!(remarks(&format!("{tls}{internal}")), Vec::<String>::new());
}
