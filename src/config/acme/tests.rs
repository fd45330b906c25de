//! What the section says, and every mistake in it at its place.

use certificates::{ExternalAccount, Issuer};

use crate::config::{
    Certificates,
    certificate::tests::{assert_problems, loaded, problem},
};

/// A file with these keys in the section, from line 3 on, and a certificate.
fn file(keys: &str) -> String {
    format!("[acme]\nauthenticator = \"memory\"\n{keys}\n[[certificate]]\ndomains = \"example.com\"\n")
}

fn agreed(keys: &str) -> String {
    file(&format!("{keys}\nagree_to_terms = true"))
}

fn certificates(keys: &str) -> Certificates {
    loaded(&agreed(keys)).map(|loaded| loaded.certificates).unwrap_or_else(|problems| panic!("{keys}\n{problems}"))
}

fn accounts(keys: &str) -> Vec<(String, Option<ExternalAccount>)> {
    let of = |issuer: &Issuer| match issuer {
        Issuer::Acme(authority) => (authority.directory.clone(), authority.external_account.clone()),
        Issuer::Internal(_) => panic!("nobody asked for it"),
    };
    certificates(keys).managed[0].request.issuers.iter().map(of).collect()
}

#[test]
fn every_key_says_what_it_says() {
    let authority = test_support::Authority::new().unwrap();
    let all = certificates(&format!(
        "ca = {:?}\ncontact = [\"admin@example.com\", \"mailto:b@example.com\"]\nstorage = \"certificates\"\nself_check = false\n\
         notify = [\"sh\", \"-c\", \"true\"]\npatience = \"90s\"",
        authority.ca_file(),
    ));
    assert_eq!(all.ca, Some(authority.ca_file()));
    assert_eq!(
        all.storage,
        Some(std::env::current_dir().unwrap().join("certificates")),
        "relative to where it was started"
    );
    assert!(!all.self_check);
    let notify = all.notify.unwrap();
    assert!(notify[0].starts_with('/') && notify[0].ends_with("/sh"), "{notify:?}");
    assert_eq!(notify[1..], ["-c", "true"]);
    let request = &all.managed[0].request;
    assert_eq!(request.patience.as_secs(), 90);
    let Issuer::Acme(authority) = &request.issuers[0] else { panic!("{request:?}") };
    assert_eq!(authority.contact, ["mailto:admin@example.com", "mailto:b@example.com"]);
}

#[test]
fn an_external_account_is_with_one_authority() {
    let account = ExternalAccount::new("kid-1", "AQIDBA").unwrap();
    let keys = "external_account = { key_id = \"kid-1\", hmac_key = \"AQIDBA\" }";
    let found = accounts(&format!("{keys}\ndirectory = \"https://ca.example.com/dir\""));
    assert_eq!(found, [("https://ca.example.com/dir".to_owned(), Some(account.clone()))]);
    let found = accounts(
        "directory = [\"letsencrypt\", \"https://ca.example.com/dir\"]\n\
         external_account = { key_id = \"kid-1\", hmac_key = \"AQIDBA==\", directory = \"https://ca.example.com/dir\" }",
    );
    assert_eq!(found.iter().map(|(_, account)| account.clone()).collect::<Vec<_>>(), [None, Some(account.clone())]);
    let directory = test_support::scratch_dir().unwrap();
    let path = directory.path().join("key");
    std::fs::write(&path, "AQIDBA\n").unwrap();
    let found = accounts(&format!("external_account = {{ key_id = \"kid-1\", hmac_key_file = {path:?} }}"));
    assert_eq!(found[0].1, Some(account));
}

#[test]
fn every_mistake_is_found_at_its_place() {
    let cases = [
        ("directory = \"letsencript\"", "3:13", "not the URL", "did you mean `letsencrypt`?"),
        ("directory = [\"letsencrypt\", \"http://ca.example.com/\"]", "3:29", "over TLS", "https://ca.example.com/"),
        ("directory = [\"letsencrypt\", \"letsencrypt\"]", "3:29", "twice", "not asked again"),
        ("directory = [\"letsencrypt\", \"letsencrypt-staging\"]", "3:29", "for tests", "alone"),
        ("directory = []", "3:13", "no authority in this list", "leave `directory` out"),
        ("ca = \"/nowhere/ca.pem\"", "3:6", "`/nowhere/ca.pem` cannot be read", "in PEM"),
        ("ca = \"/dev/null\"", "3:6", "no certificate in PEM", "in PEM"),
        ("contact = \"admin\"", "3:11", "`admin` is not a mail address", "mailto:"),
        (
            "contact = [\"a@example.com\", \"b@example.com, c@example.com\"]",
            "3:29",
            "not a mail address",
            "one address",
        ),
        ("contact = [\"https://example.com/@me\"]", "3:12", "not a mail address", "mailto:"),
        ("storage = \"\"", "3:11", "not a path", "/etc/letsencrypt"),
        ("preferred_chain = \" \"", "3:19", "`preferred_chain` is empty", "leave it out"),
        (
            "preferred_profile = \"a\"\nrequired_profile = \"b\"",
            "3:1",
            "exclude each other",
            "`required_profile` is for",
        ),
        ("notify = []", "3:10", "no program in this command", "/usr/local/bin/notify"),
        ("notify = [\"/nowhere/notify\"]", "3:11", "no program `/nowhere/notify`", "can be executed"),
        ("notify = [\"/etc/passwd\"]", "3:11", "no program `/etc/passwd`", "can be executed"),
        ("notify = [\"mail admin\"]", "3:11", "no program `mail admin`", "[\"mail\", …]"),
        ("patience = \"0s\"", "3:12", "0s is no time", "one at a time"),
        ("patience = \"2h\"", "3:12", "2h is no time", "one at a time"),
        ("contatc = \"a@example.com\"", "3:1", "unknown key `contatc`", "did you mean `contact`?"),
        ("external_acount = {}", "3:1", "unknown key", "did you mean `external_account`?"),
        ("external_account = { key_id = \"k\" }", "3:20", "has a key", "together with"),
        (
            "external_account = { key_id = \"k\", hmac_key = \"AQID\", hmac_key_file = \"/x\" }",
            "3:36",
            "exclude each other",
            "keep the file",
        ),
        (
            "external_account = { key_id = \"k\", hmac_key = \"+/\" }",
            "3:47",
            "not base64url",
            "as the authority gave it",
        ),
        (
            "external_account = { key_id = \"k\", hmac_key_file = \"/nowhere/key\" }",
            "3:52",
            "cannot be read",
            "it is read when",
        ),
        (
            "external_account = { key_id = \"k\", hmac_key_file = \"/dev/null\" }",
            "3:52",
            "not base64url",
            "as the authority",
        ),
        (
            "external_account = { key_id = \"k\", hmackey = \"AQID\", hmac_key = \"AQID\" }",
            "3:36",
            "unknown key",
            "did you mean",
        ),
        (
            "external_account = { key_id = \"k\", hmac_key = \"AQID\", directory = \"https://ca.example.com/dir\" }",
            "3:67",
            "an authority that is never asked",
            "acme-v02",
        ),
        (
            "directory = [\"letsencrypt\", \"https://ca.example.com/dir\"]\nexternal_account = { key_id = \"k\", hmac_key = \"AQID\" }",
            "4:20",
            "which of them",
            "add `directory",
        ),
    ];
    let texts = cases.map(|(keys, ..)| agreed(keys));
    let cases: Vec<_> =
        texts.iter().zip(cases).map(|(text, (_, at, told, hint))| (text.as_str(), at, told, hint)).collect();
    assert_problems(&cases);
}

#[test]
fn an_external_account_may_be_with_the_authority_of_one_certificate() {
    let keys = "external_account = { key_id = \"k\", hmac_key = \"AQID\", directory = \"https://ca.example.com/dir\" }";
    let text = format!("{}directory = \"https://ca.example.com/dir\"\n", agreed(keys));
    let loaded =
        loaded(&text).map(|loaded| loaded.certificates.managed).unwrap_or_else(|problems| panic!("{problems}"));
    let Issuer::Acme(authority) = &loaded[0].request.issuers[0] else { panic!("{loaded:?}") };
    assert!(authority.external_account.is_some());
}

#[test]
fn terms_must_be_agreed_to() {
    for (text, at) in
        [(file(""), "1:1"), (file("agree_to_terms = false"), "3:18"), ("[acme]\nstorage = \"/x\"".to_owned(), "1:1")]
    {
        let (place, told, hint) = problem(&text);
        assert_eq!(place, at, "{text}");
        assert!(told.contains("agree to its terms"), "{told}");
        let named =
            hint.contains("https://acme-v02.api.letsencrypt.org/directory") && hint.contains("agree_to_terms = true");
        assert!(named, "{hint}");
    }
    let twice = format!("{}[[certificate]]\ndomains = \"b.example.com\"\n", file(""));
    assert_eq!(problem(&twice).2.matches("acme-v02").count(), 1, "each authority is named once");
    let other = file("").replace("domains", "directory = \"https://ca.example.com/dir\"\ndomains");
    assert!(problem(&other).2.contains("https://ca.example.com/dir"), "the authority that is asked");
}

#[test]
fn the_usual_authenticator_is_looked_for_once() {
    let certificates = "[[certificate]]\ndomains = \"a.example.com\"\n[[certificate]]\ndomains = \"b.example.com\"\n";
    let (at, told, hint) =
        problem(&format!("[acme]\nagree_to_terms = true\nauthenticator = \"memoy\"\n{certificates}"));
    assert_eq!((at.as_str(), told.as_str()), ("3:17", "there is no authenticator `memoy`"));
    assert_eq!(hint, "did you mean `memory`?");
}

#[test]
fn a_section_that_cannot_be_read_says_nothing_about_what_depends_on_it() {
    let (at, told, _) = problem(&format!("{}[interception]\n", agreed("agree = true")));
    assert_eq!((at.as_str(), told.as_str()), ("3:1", "unknown key `agree`"));
}
