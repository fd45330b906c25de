//! Renewal: information about it, `replaces`, profiles, and authorities that refuse.

use std::time::{Duration, SystemTime};

use authenticator_api::DomainName;
use certificates::{
    Authority, Blame, Client, Completeness, Issuer, ObtainError, Obtained, Profile, Request, Store, ask,
    schedule::{Answer, Plan, Reason},
};
use serde_json::{Value, json};

use super::{
    front::Front,
    stage::{Notes, Stage, issued},
};

struct Renewing {
    stage: Stage,
    front: Front,
}

impl Renewing {
    fn new(wrong: &'static str) -> Self {
        let mut stage = Stage::new(wrong);
        let front = Front::start(&stage.pebble);
        stage.ca_file = front.ca_file();
        Self { stage, front }
    }

    fn authority(&self) -> Authority {
        Authority { directory: self.front.directory_url(), agree_to_terms: true, ..Authority::default() }
    }

    fn request(&self, names: &[&str]) -> Request {
        Request { issuers: vec![self.authority().into()], force: true, ..self.stage.request(names) }
    }

    fn client(&self) -> Client {
        Client::new(Some(&self.front.ca_file())).unwrap()
    }

    fn store(&self) -> Store {
        Store::open(self.stage.storage.path()).unwrap()
    }

    fn refuse(&self, status: u16, headers: &str, kind: &str, detail: &str) {
        let problem = json!({ "type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail });
        self.front.script.lock().unwrap().refusals.push_back((status, headers.to_owned(), problem));
    }

    fn orders(&self) -> Vec<Value> {
        self.front.script.lock().unwrap().orders.clone()
    }
}

#[tokio::test]
async fn a_window_moved_into_the_past_renews_at_once_with_replaces() {
    let renewing = Renewing::new("");
    let request = renewing.request(&["a.example"]);
    assert_eq!(issued(renewing.stage.obtain(&request, &Notes::default()).await), 1);
    let (store, now) = (renewing.store(), SystemTime::now());
    let lineage = store.load("a.example").unwrap();
    let id = lineage.id.clone().unwrap();
    let mut record = store.record("a.example");
    record.want(&lineage.names);
    record.suggestions.concern(&id);
    assert_eq!(record.plan(Some(&lineage), false, now), Plan::AskAuthority);

    let window = json!({ "suggestedWindow": { "start": "2025-01-02T04:00:00Z", "end": "2025-01-03T04:00:00Z" },
        "explanationURL": "https://ca.example/incident" });
    renewing.front.script.lock().unwrap().renewal_info = Some((200, "retry-after: 21600".into(), window));
    let answer = ask(&renewing.client(), &renewing.front.directory_url(), &id).await;
    assert_eq!(renewing.front.script.lock().unwrap().asked_about.as_ref(), Some(&id));
    let Answer::Suggested { explanation, retry_after: Some(again), .. } = &answer else { panic!("{answer:?}") };
    assert_eq!(explanation.as_deref(), Some("https://ca.example/incident"));
    assert!((21_590..=21_610).contains(&again.duration_since(now).unwrap().as_secs()));
    record.suggestions.learn(answer, now, 7);
    assert_eq!(record.plan(Some(&lineage), false, now), Plan::Renew { reason: Reason::Suggested });

    assert_eq!(issued(renewing.stage.obtain(&request, &Notes::default()).await), 2);
    let orders = renewing.orders();
    assert_eq!((orders[0].get("replaces"), &orders[1]["replaces"]), (None, &json!(id)));
    record.succeeded(&lineage.names, &[], SystemTime::now());
    let renewed = store.load("a.example").unwrap();
    assert_ne!(renewed.id, lineage.id);
    record.suggestions.concern(renewed.id.as_deref().unwrap());
    assert_eq!(record.plan(Some(&renewed), false, SystemTime::now()), Plan::AskAuthority, "about the new one");
}

#[tokio::test]
async fn a_certificate_that_was_replaced_already_is_ordered_again_without_replaces() {
    let renewing = Renewing::new("");
    let request = renewing.request(&["a.example"]);
    assert_eq!(issued(renewing.stage.obtain(&request, &Notes::default()).await), 1);
    renewing.refuse(409, "", "alreadyReplaced", "this certificate was replaced");
    assert_eq!(issued(renewing.stage.obtain(&request, &Notes::default()).await), 2);
    let with: Vec<_> = renewing.orders().iter().map(|order| order.get("replaces").is_some()).collect();
    assert_eq!(with, [false, true, false], "one attempt, two orders of which one was taken");
}

#[tokio::test]
async fn another_authoritys_certificate_is_not_named_as_replaced() {
    let renewing = Renewing::new("");
    let elsewhere = Request { force: true, ..renewing.stage.request(&["a.example"]) };
    let stage = &renewing.stage;
    let direct = Client::new(Some(&stage.pebble.ca_file())).unwrap();
    assert_eq!(issued(stage.obtain_with(&elsewhere, &Notes::default(), &direct).await), 1);
    assert_eq!(issued(stage.obtain(&renewing.request(&["a.example"]), &Notes::default()).await), 2);
    assert!(renewing.orders().iter().all(|order| order.get("replaces").is_none()));
}

#[tokio::test]
async fn a_limit_is_obeyed_whether_it_comes_as_seconds_a_date_or_a_sentence() {
    let renewing = Renewing::new("");
    let request = renewing.request(&["a.example"]);
    for (headers, detail, expected) in [
        ("retry-after: 3600", "busy", 3600),
        ("retry-after: Tue, 19 Jan 2038 03:14:07 GMT", "busy", 0),
        ("", "too many, retry after 2038-01-19 03:14:07 UTC: see https://ca.example/limits", 0),
    ] {
        renewing.refuse(429, headers, "rateLimited", detail);
        let now = SystemTime::now();
        let error = renewing.stage.obtain(&request, &Notes::default()).await.unwrap_err();
        assert_eq!((error.blame(), error.is_permanent()), (Blame::Authority, false));
        let until = error.retry_after().unwrap_or_else(|| panic!("{error:?}"));
        if expected > 0 {
            assert!((expected..expected + 30).contains(&until.duration_since(now).unwrap().as_secs()));
        } else {
            assert_eq!(until, SystemTime::UNIX_EPOCH + Duration::from_secs(0x7fff_ffff));
        }
    }
    assert_eq!(renewing.orders().len(), 3, "each was asked once");
    let paused = "Your account is temporarily prevented from requesting certificates for b.example and possibly others. \
                  Please visit: https://portal.example/unpause?jwt=abc";
    renewing.refuse(429, "", "rateLimited", paused);
    let error = renewing.stage.obtain(&request, &Notes::default()).await.unwrap_err();
    assert_eq!(error.link(), Some("https://portal.example/unpause?jwt=abc"));
}

#[tokio::test]
async fn a_limit_on_one_name_leaves_the_others() {
    let renewing = Renewing::new("");
    let some = Completeness::Some { resting: vec![] };
    let request = Request { completeness: some, ..renewing.request(&["a.example", "b.example"]) };
    let detail =
        "too many failed authorizations (5) for \"b.example\" in the last 1h0m0s, retry after 2038-01-19 03:14:07 UTC";
    renewing.refuse(429, "", "rateLimited", detail);
    let obtained = renewing.stage.obtain(&request, &Notes::default()).await.unwrap();
    let Obtained::Issued { saved, refused } = &obtained else { panic!("{obtained:?}") };
    assert_eq!(saved.lineage.names.iter().map(DomainName::as_str).collect::<Vec<_>>(), ["a.example"]);
    let mut record = renewing.store().record("a.example");
    record.want(&request.domains.iter().cloned().collect());
    record.succeeded(&saved.lineage.names, refused, SystemTime::now());
    let week = SystemTime::now() + Duration::from_secs(6 * 86_400);
    assert_eq!(record.resting(week), [DomainName::parse("b.example").unwrap()], "as long as was asked, a week at most");
}

#[tokio::test]
async fn a_busy_authority_lets_the_next_one_issue_and_is_left_alone_for_as_long_as_it_asked() {
    let renewing = Renewing::new("");
    renewing.refuse(429, "retry-after: 3600", "rateLimited", "busy");
    let direct = Authority { directory: renewing.stage.pebble.directory_url(), ..renewing.authority() };
    let mut request = renewing.request(&["a.example"]);
    request.issuers.push(direct.into());
    let both = renewing.stage.storage.path().join("both.pem");
    let pems = [renewing.front.ca_file(), renewing.stage.pebble.ca_file()].map(|file| std::fs::read(file).unwrap());
    std::fs::write(&both, pems.concat()).unwrap();
    let notes = Notes::default();
    let client = Client::new(Some(&both)).unwrap();
    assert_eq!(issued(renewing.stage.obtain_with(&request, &notes, &client).await), 1);
    let mut record = renewing.store().record("a.example");
    for event in notes.seen.into_inner().unwrap() {
        if let certificates::Progress::AuthorityFailed { directory, retry_after, .. } = event {
            record.authority_failed(&directory, retry_after);
        }
    }
    let now = SystemTime::now();
    assert!(!record.may_ask(&renewing.front.directory_url(), now));
    assert!(record.may_ask(&renewing.front.directory_url(), now + Duration::from_secs(3700)));
    assert!(record.may_ask(&renewing.stage.pebble.directory_url(), now));
}

#[tokio::test]
async fn a_profile_that_is_offered_is_ordered() {
    let renewing = Renewing::new("");
    for profile in [Profile::Required("shortlived".into()), Profile::Preferred("shortlived".into())] {
        let authority = Authority { profile: Some(profile), ..renewing.authority() };
        let request = Request { issuers: vec![Issuer::Acme(authority)], ..renewing.request(&["a.example"]) };
        issued(renewing.stage.obtain(&request, &Notes::default()).await);
        assert_eq!(renewing.orders().last().unwrap()["profile"], "shortlived");
    }
    let authority = Authority { profile: Some(Profile::Required("forever".into())), ..renewing.authority() };
    let request = Request { issuers: vec![Issuer::Acme(authority)], ..renewing.request(&["a.example"]) };
    let error = renewing.stage.obtain(&request, &Notes::default()).await.unwrap_err();
    assert!(matches!(&error, ObtainError::Profile { offered, .. } if offered.contains("classic")), "{error:?}");
    assert_eq!(renewing.orders().len(), 2, "and nothing was ordered");
}

#[tokio::test]
async fn an_authority_without_renewal_information_or_without_sense_is_no_trouble() {
    let renewing = Renewing::new("");
    let direct = Client::new(Some(&renewing.stage.pebble.ca_file())).unwrap();
    let url = renewing.stage.pebble.directory_url();
    assert_eq!(ask(&direct, &url, "aki.serial").await, Answer::Unsupported, "pebble 2.4.0 has none");
    let url = renewing.front.directory_url();
    for (status, temporary) in [(404, false), (503, true)] {
        let info = (status, "retry-after: 120".to_owned(), json!({ "detail": "no" }));
        renewing.front.script.lock().unwrap().renewal_info = Some(info);
        let answer = ask(&renewing.client(), &url, "aki.serial").await;
        let Answer::Failed { temporary: found, retry_after } = answer else { panic!("{answer:?}") };
        assert_eq!((found, retry_after.is_some()), (temporary, true));
    }
    let nobody = ask(&renewing.client(), "https://127.0.0.1:1/dir", "aki.serial").await;
    assert_eq!(nobody, Answer::Failed { temporary: true, retry_after: None });
}
