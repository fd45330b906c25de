//! Renewal: information about it, `replaces`, profiles, and authorities that refuse.

use std::time::{Duration, SystemTime};

use authenticator_api::DomainName;
use certificates::{
    Authority, Blame, Completeness, Issuer, ObtainError, Obtained, Profile, Request, ask,
    schedule::{Answer, Plan, Reason},
};
use test_support::ca_front::{Endpoint, Fault, Problem, RetryAfter, Spent, Times};

use super::stage::{Notes, Stage, issued};

const DAY: Duration = Duration::from_secs(86_400);

fn again(stage: &Stage, names: &[&str]) -> Request {
    Request { force: true, ..stage.request(names) }
}

/// Which orders said that they replace a certificate.
fn replacing(stage: &Stage) -> Vec<bool> {
    stage.front.journal().orders().iter().map(|order| order.replaces.is_some()).collect()
}

fn limited(detail: &str) -> Problem {
    Problem::new(429, "rateLimited", detail)
}

#[tokio::test]
async fn a_window_moved_into_the_past_renews_at_once_with_replaces() {
    let stage = Stage::new("");
    let request = again(&stage, &["a.example"]);
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 1);
    let (store, now) = (stage.store(), SystemTime::now());
    let lineage = store.load("a.example").unwrap();
    let id = lineage.id.clone().unwrap();
    let mut record = store.record("a.example");
    record.want(&lineage.names);
    record.suggestions.concern(&id);
    assert_eq!(record.plan(Some(&lineage), false, now), Plan::AskAuthority);

    stage.front.set_window_of(&id, now - 2 * DAY, now - DAY);
    stage.front.set_explanation(Some("https://ca.example/incident"));
    let answer = ask(&stage.client(), &stage.front.directory_url(), &id).await;
    assert_eq!(stage.front.journal().of(Endpoint::RenewalInfo).next().unwrap().path, format!("/renewal-info/{id}"));
    let Answer::Suggested { explanation, retry_after: Some(again), .. } = &answer else { panic!("{answer:?}") };
    assert_eq!(explanation.as_deref(), Some("https://ca.example/incident"));
    assert!((21_590..=21_610).contains(&again.duration_since(now).unwrap().as_secs()));
    record.suggestions.learn(answer, now, 7);
    assert_eq!(record.plan(Some(&lineage), false, now), Plan::Renew { reason: Reason::Suggested });

    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 2);
    let journal = stage.front.journal();
    let replaces: Vec<_> = journal.orders().iter().map(|order| order.replaces.as_deref()).collect();
    assert_eq!(replaces, [None, Some(id.as_str())]);
    record.succeeded(&lineage.names, &[], SystemTime::now());
    let renewed = store.load("a.example").unwrap();
    assert_ne!(renewed.id, lineage.id);
    record.suggestions.concern(renewed.id.as_deref().unwrap());
    assert_eq!(record.plan(Some(&renewed), false, SystemTime::now()), Plan::AskAuthority, "about the new one");
}

#[tokio::test]
async fn without_a_word_from_anybody_the_window_is_around_two_thirds_of_the_life() {
    let stage = Stage::new("");
    assert_eq!(issued(stage.obtain(&stage.request(&["a.example"]), &Notes::default()).await), 1);
    let [certificate] = stage.front.certificates().try_into().unwrap();
    let lineage = stage.store().load("a.example").unwrap();
    assert_eq!((lineage.id.as_ref(), lineage.not_after), (Some(&certificate.id), certificate.not_after));
    let answer = ask(&stage.client(), &stage.front.directory_url(), &certificate.id).await;
    let Answer::Suggested { window, explanation: None, .. } = answer else { panic!("{answer:?}") };
    let after = |days: u32| certificate.not_before + days * DAY;
    assert!(after(58) < window.start && window.end < after(62), "{window:?}");
}

#[tokio::test]
async fn a_certificate_that_was_replaced_already_is_ordered_again_without_replaces() {
    let stage = Stage::new("");
    let request = again(&stage, &["a.example"]);
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 1);
    stage.front.refuse_replaces(1);
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 2);
    assert_eq!(replacing(&stage), [false, true, false], "one attempt, two orders of which one was taken");
    assert_eq!(stage.front.spent(), Spent { accounts: 1, orders: 2, failed_authorizations: 0, certificates: 2 });
}

/// What a crash in the middle of a renewal leaves behind.
async fn dropped(stage: &Stage, request: &Request) {
    let notes = Notes { hangs: true, ..Notes::default() };
    // By then the order is on disk: what is written when it is dropped would be written all the same, and at some time.
    let prepared = async {
        while notes.visits.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        result = stage.obtain(request, &notes) => panic!("{result:?}"),
        () = prepared => {}
    }
    stage.presented.cleanup().await;
}

#[tokio::test]
async fn an_order_that_was_dropped_still_replaces_the_certificate() {
    let stage = Stage::new("");
    let request = again(&stage, &["a.example"]);
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 1);
    dropped(&stage, &request).await;
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 2);
    assert_eq!(replacing(&stage), [false, true], "no other was placed");
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 3);
    let journal = stage.front.journal();
    let replaces: Vec<_> = journal.orders().iter().map(|order| order.replaces.as_ref()).collect();
    let certificates = stage.front.certificates();
    assert_eq!(replaces, [None, Some(&certificates[0].id), Some(&certificates[1].id)]);
}

#[tokio::test]
async fn an_order_that_was_dropped_and_forgotten_stands_in_the_way_of_replaces_and_of_nothing_else() {
    let stage = Stage::new("");
    let request = again(&stage, &["a.example"]);
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 1);
    dropped(&stage, &request).await;
    std::fs::remove_dir_all(stage.storage.path().join("lockgate/orders")).unwrap();
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 2);
    assert_eq!(replacing(&stage), [false, true, true, false]);
    assert_eq!(stage.orders(), 3, "the third was refused");
}

#[tokio::test]
async fn another_authoritys_certificate_is_not_named_as_replaced() {
    let stage = Stage::new("");
    let elsewhere = Request { issuers: vec![stage.bare_authority().into()], ..stage.request(&["a.example"]) };
    assert_eq!(issued(stage.obtain(&elsewhere, &Notes::default()).await), 1);
    assert_eq!(issued(stage.obtain(&again(&stage, &["a.example"]), &Notes::default()).await), 2);
    assert_eq!(replacing(&stage), [false]);
}

#[tokio::test]
async fn a_limit_is_obeyed_whether_it_comes_as_seconds_a_date_or_a_sentence() {
    let stage = Stage::new("");
    let request = stage.request(&["a.example"]);
    let last_second = SystemTime::UNIX_EPOCH + Duration::from_secs(0x7fff_ffff);
    for (fault, expected) in [
        (Fault::rate_limited(Duration::from_secs(3600)), None),
        (Fault::rate_limited(last_second), Some(last_second)),
        (
            limited("too many, retry after 2038-01-19 03:14:07 UTC: see https://ca.example/limits").into(),
            Some(last_second),
        ),
    ] {
        stage.front.inject(Endpoint::NewOrder, 1, fault);
        let now = SystemTime::now();
        let error = stage.obtain(&request, &Notes::default()).await.unwrap_err();
        assert_eq!((error.blame(), error.is_permanent()), (Blame::Authority, false));
        let until = error.retry_after().unwrap_or_else(|| panic!("{error:?}"));
        match expected {
            Some(moment) => assert_eq!(until, moment),
            None => assert!((3600..3630).contains(&until.duration_since(now).unwrap().as_secs())),
        }
    }
    stage.front.inject(Endpoint::NewOrder, 1, Fault::paused("b.example", "https://portal.example/unpause?jwt=abc"));
    let error = stage.obtain(&request, &Notes::default()).await.unwrap_err();
    assert_eq!(error.link(), Some("https://portal.example/unpause?jwt=abc"));
    assert_eq!(stage.front.journal().count(Endpoint::NewOrder), 4, "each was asked once");
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 1);
    assert_eq!(stage.front.spent(), Spent { accounts: 1, orders: 1, failed_authorizations: 0, certificates: 1 });
}

#[tokio::test]
async fn a_limit_on_one_name_leaves_the_others() {
    let stage = Stage::new("");
    let some = Completeness::Some { resting: vec![] };
    let request = Request { completeness: some, ..stage.request(&["a.example", "b.example"]) };
    let detail =
        "too many failed authorizations (5) for \"b.example\" in the last 1h0m0s, retry after 2038-01-19 03:14:07 UTC";
    stage.front.inject(Endpoint::NewOrder, 1, limited(detail));
    let obtained = stage.obtain(&request, &Notes::default()).await.unwrap();
    let Obtained::Issued { saved, refused } = &obtained else { panic!("{obtained:?}") };
    assert_eq!(saved.lineage.names.iter().map(DomainName::as_str).collect::<Vec<_>>(), ["a.example"]);
    let mut record = stage.store().record("a.example");
    record.want(&request.domains.iter().cloned().collect());
    record.succeeded(&saved.lineage.names, refused, SystemTime::now());
    let week = SystemTime::now() + Duration::from_secs(6 * 86_400);
    assert_eq!(record.resting(week), [DomainName::parse("b.example").unwrap()], "as long as was asked, a week at most");
}

#[tokio::test]
async fn a_busy_authority_lets_the_next_one_issue_and_is_left_alone_for_as_long_as_it_asked() {
    let stage = Stage::new("");
    stage.front.inject(Endpoint::NewOrder, 1, Fault::rate_limited(Duration::from_secs(3600)));
    let mut request = stage.request(&["a.example"]);
    request.issuers.push(stage.bare_authority().into());
    let notes = Notes::default();
    assert_eq!(issued(stage.obtain(&request, &notes).await), 1);
    let mut record = stage.store().record("a.example");
    for event in notes.seen.into_inner().unwrap() {
        if let certificates::Progress::AuthorityFailed { directory, retry_after, .. } = event {
            record.authority_failed(&directory, retry_after);
        }
    }
    let now = SystemTime::now();
    assert!(!record.may_ask(&stage.front.directory_url(), now));
    assert!(record.may_ask(&stage.front.directory_url(), now + Duration::from_secs(3700)));
    assert!(record.may_ask(&stage.pebble.directory_url(), now));
    assert_eq!(stage.front.spent(), Spent { accounts: 1, ..Spent::default() });
}

#[tokio::test]
async fn a_profile_that_is_offered_is_ordered() {
    let stage = Stage::new("");
    let with = |profile: Profile| Request {
        issuers: vec![Issuer::Acme(Authority { profile: Some(profile), ..stage.authority() })],
        ..again(&stage, &["a.example"])
    };
    for profile in [Profile::Required("shortlived".into()), Profile::Preferred("shortlived".into())] {
        issued(stage.obtain(&with(profile), &Notes::default()).await);
        let journal = stage.front.journal();
        assert_eq!(journal.orders().last().unwrap().profile.as_deref(), Some("shortlived"));
    }
    let forever = with(Profile::Required("forever".into()));
    let error = stage.obtain(&forever, &Notes::default()).await.unwrap_err();
    assert!(matches!(&error, ObtainError::Profile { offered, .. } if offered.contains("classic")), "{error:?}");
    assert_eq!(stage.front.journal().orders().len(), 2, "and nothing was ordered");
}

#[tokio::test]
async fn an_authority_without_renewal_information_or_without_sense_is_no_trouble() {
    let stage = Stage::new("");
    let (client, url) = (stage.client(), stage.front.directory_url());
    let bare = ask(&client, &stage.pebble.directory_url(), "aki.serial").await;
    assert_eq!(bare, Answer::Unsupported, "pebble 2.4.0 has none");
    stage.front.offer_renewal_info(false);
    assert_eq!(ask(&client, &url, "aki.serial").await, Answer::Unsupported);
    stage.front.offer_renewal_info(true);
    let failed = |temporary| Answer::Failed { temporary, retry_after: None };
    assert_eq!(ask(&client, &url, "aki.serial").await, failed(false), "404: nobody knows the certificate");
    for (fault, temporary) in [
        (Fault::unavailable(RetryAfter::Absent), true),
        (Fault::rate_limited(RetryAfter::Absent), true),
        (Fault::server_error(), true),
        (Fault::bad_gateway(), true),
        (Fault::portal(), false),
        (Fault::Reset, true),
        (Fault::Cut, true),
    ] {
        stage.front.set_window(SystemTime::now(), SystemTime::now() + DAY);
        stage.front.inject(Endpoint::RenewalInfo, 1, fault.clone());
        assert_eq!(ask(&client, &url, "aki.serial").await, failed(temporary), "{fault:?}");
        let now = ask(&client, &url, "aki.serial").await;
        assert!(matches!(now, Answer::Suggested { .. }), "{fault:?} is over: {now:?}");
    }
    stage.front.inject(Endpoint::RenewalInfo, Times::Forever, Fault::unavailable(Duration::from_secs(120)));
    let Answer::Failed { temporary: true, retry_after: Some(_) } = ask(&client, &url, "aki.serial").await else {
        panic!("it said when to come again")
    };
    let nobody = ask(&client, "https://127.0.0.1:1/dir", "aki.serial").await;
    assert_eq!(nobody, failed(true));
}
