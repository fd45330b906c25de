//! What a running proxy does about a certificate, with a clock that the tests turn.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use authenticator_api::{BoxFuture, DomainName};
use certificates::{
    Authenticators, Authority, Client, Completeness, Family, Fetched, Fetcher, Internal, Issuer, ObtainError, Request,
    Store, Upkeep, Visit, schedule::Reason,
};
use serde_json::json;

use super::{
    front::Front,
    stage::{Notes, Stage},
};

const MINUTE: u64 = 60;
const DAY: u64 = 86_400;

/// Looks after certificates at a time of the test's choice.
struct Keeper {
    stage: Stage,
    ahead: AtomicU64,
}

impl Keeper {
    fn new(wrong: &'static str) -> Self {
        Self { stage: Stage::new(wrong), ahead: AtomicU64::new(0) }
    }

    fn sleep(&self, seconds: u64) {
        self.ahead.fetch_add(seconds, Ordering::Relaxed);
    }

    fn now(&self) -> SystemTime {
        SystemTime::now() + Duration::from_secs(self.ahead.load(Ordering::Relaxed))
    }

    /// As a process that was just started: nothing is known but what is on disk.
    async fn visit(&self, request: &Request) -> Visit {
        self.visit_with(request, None).await
    }

    async fn visit_with(&self, request: &Request, fetcher: Option<&dyn Fetcher>) -> Visit {
        let client = Client::new(Some(&self.stage.ca_file)).unwrap();
        let store = Store::open(self.stage.storage.path()).unwrap();
        let authenticators = Authenticators::from(self.stage.authenticator.clone());
        let (presented, observer) = (&self.stage.presented, &Notes::default());
        let clock = &|| self.now();
        let (client, store, authenticators) = (&client, &store, &authenticators);
        let visit =
            Upkeep { client, store, authenticators, presented, observer, fetcher, clock }.look_after(request).await;
        assert!(self.stage.memory.answers.lock().unwrap().is_empty(), "challenges are left behind: {visit:?}");
        visit
    }

    fn seconds_until(&self, until: SystemTime) -> u64 {
        until.duration_since(self.now()).unwrap_or_default().as_secs()
    }
}

fn some(request: Request) -> Request {
    Request { completeness: Completeness::Some { resting: vec![] }, ..request }
}

fn issued(visit: Visit) -> (u32, Reason, Vec<String>) {
    match visit {
        Visit::Issued { saved, refused, reason } => {
            (saved.lineage.version, reason, refused.into_iter().map(|failure| failure.domain).collect())
        }
        other => panic!("not issued: {other:?}"),
    }
}

fn rest(visit: Visit) -> SystemTime {
    match visit {
        Visit::Rest { until } => until,
        other => panic!("no rest: {other:?}"),
    }
}

#[tokio::test]
async fn a_certificate_is_obtained_left_alone_and_renewed_when_it_is_time() {
    let keeper = Keeper::new("");
    let request = keeper.stage.request(&["a.example"]);
    assert_eq!(issued(keeper.visit(&request).await), (1, Reason::Missing, vec![]));
    let until = rest(keeper.visit(&request).await);
    assert!((3500..=3600).contains(&keeper.seconds_until(until)), "an hour at most");
    keeper.sleep(50 * DAY);
    rest(keeper.visit(&request).await);
    keeper.sleep(11 * DAY);
    assert_eq!(issued(keeper.visit(&request).await), (2, Reason::Lifetime, vec![]));
    rest(keeper.visit(&request).await);
    assert_eq!(keeper.stage.orders(), 2);
}

#[tokio::test]
async fn a_dead_name_is_retried_in_its_own_time_and_costs_no_certificate() {
    let keeper = Keeper::new("");
    let request = some(keeper.stage.request(&["a.example", "blocked.example"]));
    assert_eq!(issued(keeper.visit(&request).await), (1, Reason::Missing, vec!["blocked.example".into()]));
    for minutes in [1, 10, 100, 1440] {
        let until = keeper.seconds_until(rest(keeper.visit(&request).await));
        assert!(
            until <= minutes * MINUTE * 11 / 10 + 1 && until + 2 >= (minutes * MINUTE).min(3600),
            "{until} s for {minutes}"
        );
        keeper.sleep(minutes * MINUTE * 11 / 10 + 1);
        let visit = keeper.visit(&request).await;
        assert!(
            matches!(&visit, Visit::Incomplete { lineage, refused } if lineage.version == 1 && refused.len() == 1),
            "{visit:?}"
        );
    }
    assert_eq!(keeper.stage.orders(), 1, "no order that would give the same certificate was placed");
}

#[tokio::test]
async fn failures_are_remembered_across_restarts_and_the_operator_may_override() {
    let keeper = Keeper::new("");
    let down = Authority { directory: "https://127.0.0.1:1/dir".into(), agree_to_terms: true, ..Authority::default() };
    let request = Request { issuers: vec![down.into()], ..keeper.stage.request(&["a.example"]) };
    for minutes in [1, 10, 100] {
        let Visit::Failed { reason: Reason::Missing, until, .. } = keeper.visit(&request).await else { panic!() };
        let rests = keeper.seconds_until(until);
        assert!((minutes * MINUTE - 2..=minutes * MINUTE * 11 / 10).contains(&rests), "{rests} s");
        rest(keeper.visit(&request).await);
        keeper.sleep(minutes * MINUTE * 11 / 10 + 1);
    }
    let Visit::Failed { .. } = keeper.visit(&request).await else { panic!() };
    rest(keeper.visit(&request).await);
    let forced = Request { force: true, ..keeper.stage.request(&["a.example"]) };
    assert_eq!(issued(keeper.visit(&forced).await), (1, Reason::Forced, vec![]));
    rest(keeper.visit(&keeper.stage.request(&["a.example"])).await);
}

#[tokio::test]
async fn storage_that_cannot_be_written_costs_no_order() {
    let keeper = Keeper::new("");
    let request = keeper.stage.request(&["a.example"]);
    std::fs::write(keeper.stage.storage.path().join("lockgate"), "a file where the directory should be").unwrap();
    let Visit::Failed { error, until, .. } = keeper.visit(&request).await else { panic!() };
    assert!(matches!(&error, ObtainError::Store(_)), "{error:?}");
    assert!(keeper.seconds_until(until) >= 50, "no busy loop");
    assert_eq!(keeper.stage.orders(), 0);
    std::fs::remove_file(keeper.stage.storage.path().join("lockgate")).unwrap();
    assert_eq!(issued(keeper.visit(&request).await).0, 1);
}

#[tokio::test]
async fn an_authority_whose_windows_are_always_past_gets_no_endless_orders() {
    let mut keeper = Keeper::new("");
    let front = Front::start(&keeper.stage.pebble);
    keeper.stage.ca_file = front.ca_file();
    let window = json!({ "suggestedWindow": { "start": "2025-01-02T04:00:00Z", "end": "2025-01-03T04:00:00Z" } });
    front.script.lock().unwrap().renewal_info = Some((200, "retry-after: 21600".into(), window));
    let authority = Authority { directory: front.directory_url(), agree_to_terms: true, ..Authority::default() };
    let request = Request { issuers: vec![authority.into()], ..keeper.stage.request(&["a.example"]) };
    assert_eq!(issued(keeper.visit(&request).await), (1, Reason::Missing, vec![]));
    rest(keeper.visit(&request).await);
    keeper.sleep(3 * DAY);
    assert_eq!(issued(keeper.visit(&request).await), (2, Reason::Suggested, vec![]));
    rest(keeper.visit(&request).await);
    let orders = front.script.lock().unwrap().orders.clone();
    assert_eq!(orders.len(), 2);
    assert!(orders[1]["replaces"].is_string(), "{orders:?}");
}

#[tokio::test]
async fn a_certificate_of_an_issuer_that_is_not_wanted_any_more_is_replaced() {
    let keeper = Keeper::new("");
    let wanted = keeper.stage.request(&["a.example"]);
    let internal = Request { issuers: vec![Issuer::Internal(Internal::default())], ..wanted.clone() };
    assert_eq!(issued(keeper.visit(&internal).await), (1, Reason::Missing, vec![]));
    rest(keeper.visit(&internal).await);
    assert_eq!(issued(keeper.visit(&wanted).await), (2, Reason::OtherIssuer, vec![]));
    rest(keeper.visit(&wanted).await);
}

/// Finds somebody else's page at names that begin so, nothing at others.
struct Elsewhere(&'static str);

impl Fetcher for Elsewhere {
    fn fetch<'a>(&'a self, name: &'a DomainName, _family: Family, _path: &'a str) -> BoxFuture<'a, Fetched> {
        let fetched = if name.as_str().starts_with(self.0) {
            Fetched::Answer { status: 404, body: b"parked".to_vec() }
        } else {
            Fetched::Failed("no route".into())
        };
        Box::pin(std::future::ready(fetched))
    }
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_is_not_even_ordered() {
    let keeper = Keeper::new("");
    let fetcher = Elsewhere("b.");
    let all = keeper.stage.request(&["a.example", "b.example"]);
    let Visit::Failed { error, .. } = keeper.visit_with(&all, Some(&fetcher)).await else { panic!() };
    assert!(error.to_string().contains("parked"), "{error}");
    assert_eq!(keeper.stage.orders(), 0);
    keeper.sleep(2 * MINUTE);
    let visit = keeper.visit_with(&some(all), Some(&fetcher)).await;
    assert_eq!(issued(visit), (1, Reason::Missing, vec!["b.example".into()]));
    assert_eq!(keeper.stage.visited(), 1, "one name was proven");
}
