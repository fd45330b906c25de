//! Several authorities, external accounts, other chains, addresses.

use std::time::Duration;

use authenticator_api::DomainName;
use certificates::{
    Authority, Blame, Completeness, ExternalAccount, Internal, Issuer, ObtainError, Obtained, Profile, Progress,
    Request,
};
use test_support::{EXTERNAL_ACCOUNT, PebbleFeatures};

use super::stage::{Notes, Stage, issued};

fn failed_authorities(notes: Notes) -> Vec<String> {
    let seen = notes.seen.into_inner().unwrap();
    let failed = |event| match event {
        Progress::AuthorityFailed { directory, .. } => Some(directory),
        _ => None,
    };
    seen.into_iter().filter_map(failed).collect()
}

fn first(request: &mut Request) -> &mut Authority {
    match &mut request.issuers[0] {
        Issuer::Acme(authority) => authority,
        Issuer::Internal(_) => panic!("the first one is pebble"),
    }
}

/// Nobody listens there.
fn down() -> Authority {
    Authority { directory: "https://127.0.0.1:1/dir".into(), agree_to_terms: true, ..Authority::default() }
}

#[tokio::test]
async fn the_next_authority_is_asked_when_one_is_down_and_is_remembered_as_the_issuer() {
    let stage = Stage::new("");
    let mut request = stage.request(&["a.example"]);
    request.issuers.insert(0, down().into());
    let notes = Notes::default();
    assert_eq!(issued(stage.obtain(&request, &notes).await), 1);
    assert_eq!(failed_authorities(notes), [down().directory]);
    let store = stage.store();
    assert_eq!(store.server("a.example"), Some(stage.front.directory_url()));
    let kept = stage.obtain(&request, &Notes::default()).await.unwrap();
    assert!(matches!(kept, Obtained::Unchanged { .. }), "a certificate of any of them does");
}

#[tokio::test]
async fn a_name_that_fails_at_one_authority_is_not_carried_to_the_next() {
    let stage = Stage::new("dead.");
    let mut request = stage.request(&["dead.example"]);
    request.issuers.push(down().into());
    let notes = Notes::default();
    let error = stage.obtain(&request, &notes).await.unwrap_err();
    assert_eq!(error.blame(), Blame::Domain, "{error:?}");
    assert!(failed_authorities(notes).is_empty());
}

#[tokio::test]
async fn all_authorities_down_is_one_failure() {
    let stage = Stage::new("");
    let (issuers, patience) = (vec![down().into(), down().into()], Duration::ZERO);
    let request = Request { issuers, patience, ..stage.request(&["a.example"]) };
    let error = stage.obtain(&request, &Notes::default()).await.unwrap_err();
    assert_eq!((error.blame(), error.is_permanent()), (Blame::Network, false), "{error:?}");
    let none = Request { issuers: vec![], ..request };
    let error = stage.obtain(&none, &Notes::default()).await.unwrap_err();
    assert!(matches!(error, ObtainError::NoAuthority), "{error:?}");
}

#[tokio::test]
async fn an_external_account_is_bound_and_asked_for() {
    let features = PebbleFeatures { external_accounts: true, ..PebbleFeatures::default() };
    let stage = Stage::featuring("", &features);
    let mut request = stage.request(&["a.example"]);
    let error = stage.obtain(&request, &Notes::default()).await.unwrap_err();
    assert!(matches!(error, ObtainError::ExternalAccount { .. }), "{error:?}");
    let (key_id, key) = EXTERNAL_ACCOUNT;
    let wrong = ExternalAccount::new(key_id, "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA").unwrap();
    first(&mut request).external_account = Some(wrong);
    let error = stage.obtain(&request, &Notes::default()).await.unwrap_err();
    assert!(matches!(error, ObtainError::Refused { action: "create an account", .. }), "{error:?}");
    first(&mut request).external_account = Some(ExternalAccount::new(key_id, key).unwrap());
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 1);
}

#[tokio::test]
async fn the_chain_to_the_preferred_root_is_stored() {
    let stage = Stage::featuring("", &PebbleFeatures { alternate_roots: 2, ..PebbleFeatures::default() });
    let mut stored = Vec::new();
    for number in 0..3 {
        let root = stage.pebble.root(number).unwrap();
        let name = common_name(&root);
        let mut request = Request { force: true, ..stage.request(&["a.example"]) };
        first(&mut request).preferred_chain = Some(name.clone());
        issued(stage.obtain(&request, &Notes::default()).await);
        let chain = std::fs::read_to_string(stage.storage.path().join("live/a.example/chain.pem")).unwrap();
        let (_, last) = chain.rsplit_once("-----BEGIN").unwrap();
        assert_eq!(issuer(&format!("-----BEGIN{last}")), name);
        stored.push(name);
    }
    stored.dedup();
    assert_eq!(stored.len(), 3, "three roots: {stored:?}");
    let mut request = Request { force: true, ..stage.request(&["a.example"]) };
    first(&mut request).preferred_chain = Some("nobody".into());
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 4, "another chain is better than none");
}

fn common_name(pem: &str) -> String {
    read(pem, |certificate| certificate.subject().iter_common_name().next().unwrap().as_str().unwrap().to_owned())
}

fn issuer(pem: &str) -> String {
    read(pem, |certificate| certificate.issuer().iter_common_name().next().unwrap().as_str().unwrap().to_owned())
}

fn read(pem: &str, what: impl FnOnce(&x509_parser::certificate::X509Certificate<'_>) -> String) -> String {
    use rustls::pki_types::pem::PemObject as _;
    use x509_parser::prelude::FromDer as _;
    let der = rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    what(&x509_parser::certificate::X509Certificate::from_der(&der).unwrap().1)
}

#[tokio::test]
async fn a_required_profile_that_is_not_offered_ends_the_attempt_and_a_preferred_one_does_not() {
    let stage = Stage::new("");
    stage.front.set_profiles(&[]);
    let mut request = stage.request(&["a.example"]);
    first(&mut request).profile = Some(Profile::Required("shortlived".into()));
    let error = stage.obtain(&request, &Notes::default()).await.unwrap_err();
    assert!(matches!(&error, ObtainError::Profile { profile, .. } if profile == "shortlived"), "{error:?}");
    assert_eq!(stage.orders(), 0);
    first(&mut request).profile = Some(Profile::Preferred("shortlived".into()));
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 1);
}

#[tokio::test]
async fn an_address_gets_a_certificate_by_http_too() {
    let stage = Stage::new("");
    let address = DomainName::from_address("127.0.0.1".parse().unwrap());
    let mut request = Request { completeness: Completeness::All, ..stage.request(&["a.example"]) };
    request.domains.insert(0, address.clone());
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 1);
    let lineage = stage.store().load("127.0.0.1").unwrap();
    assert!(lineage.names.contains(&address) && lineage.names.len() == 2 && lineage.others.is_empty());
}

#[tokio::test]
async fn the_internal_authority_needs_nobody() {
    let stage = Stage::new("");
    let internal = vec![Issuer::Internal(Internal::default())];
    let request = Request { issuers: internal, ..stage.request(&["a.example", "b.example"]) };
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 1);
    let store = stage.store();
    assert_eq!(store.server("a.example").as_deref(), Some(Internal::SERVER));
    assert!(store.load("a.example").unwrap().names.len() == 2 && stage.orders() == 0);
    let conf = std::fs::read_to_string(stage.storage.path().join("renewal/a.example.conf")).unwrap();
    assert!(conf.contains("autorenew = False"), "certbot leaves it alone: {conf}");
    let kept = stage.obtain(&request, &Notes::default()).await.unwrap();
    assert!(matches!(kept, Obtained::Unchanged { .. }), "{kept:?}");
    let acme = Request { force: true, ..stage.request(&["a.example", "b.example"]) };
    assert_eq!(issued(stage.obtain(&acme, &Notes::default()).await), 2);
    let conf = std::fs::read_to_string(stage.storage.path().join("renewal/a.example.conf")).unwrap();
    assert!(!conf.contains("autorenew"), "{conf}");
}

#[tokio::test]
async fn the_internal_authority_stands_in_only_where_no_good_certificate_is() {
    let stage = Stage::new("");
    let issuers = vec![down().into(), Issuer::Internal(Internal::default())];
    let patience = Duration::ZERO;
    let fresh = Request { issuers: issuers.clone(), patience, ..stage.request(&["a.example"]) };
    assert_eq!(issued(stage.obtain(&fresh, &Notes::default()).await), 1);
    let store = stage.store();
    assert!(store.load("a.example").unwrap().life().length() < Duration::from_secs(90_000), "for a day");
    let better = Request { force: true, ..stage.request(&["a.example"]) };
    assert_eq!(issued(stage.obtain(&better, &Notes::default()).await), 2);
    let again = Request { issuers, force: true, patience, ..stage.request(&["a.example"]) };
    let error = stage.obtain(&again, &Notes::default()).await.unwrap_err();
    assert_eq!(error.blame(), Blame::Network, "the good one stays: {error:?}");
    assert_eq!(store.load("a.example").unwrap().version, 2);
}
