//! What a running proxy does about a certificate, with a clock that the tests turn.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use authenticator_api::{BoxFuture, DomainName};
use certificates::{
    Authenticators, Authority, Completeness, Family, Fetched, Fetcher, Internal, Issuer, ObtainError, Request, Unsaved,
    Upkeep, Visit, schedule::Reason,
};
use test_support::{
    PebbleFeatures,
    ca_front::{Endpoint, Fault, Outcome, RetryAfter, Spent, Times},
};

use super::stage::{Notes, Stage, hurried, seen};

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 86_400;

/// Looks after certificates at a time of the test's choice.
struct Keeper {
    stage: Stage,
    ahead: AtomicU64,
    unsaved: Unsaved,
}

impl Keeper {
    fn new(wrong: &'static str) -> Self {
        Self::at(Stage::new(wrong))
    }

    fn at(stage: Stage) -> Self {
        Self { stage, ahead: AtomicU64::new(0), unsaved: Unsaved::default() }
    }

    /// Begins anew with an empty storage, and at the time of the world.
    fn forget(&mut self) {
        self.stage.storage = test_support::scratch_dir().unwrap();
        self.ahead = AtomicU64::new(0);
    }

    fn sleep(&self, seconds: u64) {
        self.ahead.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Somebody puts the clock right.
    fn put_right(&self) {
        self.ahead.store(0, Ordering::Relaxed);
    }

    fn now(&self) -> SystemTime {
        SystemTime::now() + Duration::from_secs(self.ahead.load(Ordering::Relaxed))
    }

    /// As a process that was just started: nothing is known but what is on disk, or could not be written there.
    async fn visit(&self, request: &Request) -> Visit {
        self.visit_with(request, None).await
    }

    async fn visit_with(&self, request: &Request, fetcher: Option<&dyn Fetcher>) -> Visit {
        let (client, store) = (self.stage.client(), self.stage.store().with(self.unsaved.clone()));
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
    keeper.stage.front.offer_renewal_info(false);
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
    let (issuers, patience) = (vec![down.into()], Duration::ZERO);
    let request = Request { issuers, patience, ..keeper.stage.request(&["a.example"]) };
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
async fn a_certificate_that_cannot_be_saved_is_kept_until_it_can() {
    let keeper = Keeper::new("");
    let (front, request) = (keeper.stage.front.clone(), keeper.stage.request(&["a.example"]));
    let in_the_way = keeper.stage.storage.path().join("archive/a.example");
    front.inject(Endpoint::Certificate, 1, Fault::Hang);
    let spoilt = async {
        seen(&front, |journal| journal.of(Endpoint::Certificate).any(|one| one.outcome == Outcome::Open)).await;
        std::fs::write(&in_the_way, "a file where the directory should be").unwrap();
        front.clear_faults();
    };
    let (visit, ()) = tokio::join!(keeper.visit(&request), spoilt);
    assert!(matches!(&visit, Visit::Failed { error: ObtainError::Store(_), .. }), "{visit:?}");
    for _ in 0..3 {
        keeper.sleep(2 * MINUTE);
        let visit = keeper.visit(&request).await;
        let Visit::Failed { error: ObtainError::Store(_), until, .. } = visit else { panic!("{visit:?}") };
        assert!((50..70).contains(&keeper.seconds_until(until)), "as nobody is asked, it is tried every minute");
    }
    std::fs::remove_file(&in_the_way).unwrap();
    assert_eq!(issued(keeper.visit(&request).await), (1, Reason::Missing, vec![]));
    rest(keeper.visit(&request).await);
    assert!(!keeper.stage.storage.path().join("lockgate/orders").exists(), "its order is done");
    assert_eq!(front.spent(), Spent { accounts: 1, orders: 1, failed_authorizations: 0, certificates: 1 });
}

#[tokio::test]
async fn a_certificate_that_cannot_be_saved_and_is_not_wanted_any_more_is_forgotten() {
    let keeper = Keeper::new("");
    let (front, request) = (keeper.stage.front.clone(), keeper.stage.request(&["a.example", "b.example"]));
    let in_the_way = keeper.stage.store().root().join("archive/a.example");
    std::fs::write(&in_the_way, "a file where the directory should be").unwrap();
    let visit = keeper.visit(&request).await;
    assert!(matches!(&visit, Visit::Failed { error: ObtainError::Store(_), .. }), "{visit:?}");
    std::fs::remove_file(&in_the_way).unwrap();
    let other = keeper.stage.request(&["a.example", "c.example"]);
    assert_eq!(issued(keeper.visit(&other).await), (1, Reason::Missing, vec![]));
    let names: Vec<_> = front.journal().orders().iter().map(|order| order.names[1].clone()).collect();
    assert_eq!(names, ["b.example", "c.example"]);
}

/// Nothing that is merely to be remembered stops anything, nor is it done again because it is forgotten.
#[tokio::test]
async fn a_record_that_cannot_be_written_is_kept_in_memory() {
    let keeper = Keeper::new("");
    let (front, request) = (keeper.stage.front.clone(), keeper.stage.request(&["a.example"]));
    assert_eq!(issued(keeper.visit(&request).await), (1, Reason::Missing, vec![]));
    let records = keeper.stage.storage.path().join("lockgate");
    std::fs::remove_dir_all(&records).unwrap();
    std::fs::write(&records, "a file where the directory should be").unwrap();
    rest(keeper.visit(&request).await);
    rest(keeper.visit(&request).await);
    keeper.sleep(HOUR);
    rest(keeper.visit(&request).await);
    assert_eq!(front.journal().count(Endpoint::RenewalInfo), 1, "six hours are not over");
    keeper.sleep(6 * HOUR);
    std::fs::remove_file(&records).unwrap();
    rest(keeper.visit(&request).await);
    assert_eq!(front.journal().count(Endpoint::RenewalInfo), 2);
    assert!(records.join("a.example.json").exists(), "as soon as it can be written");
}

/// Other programs take key and certificate from links, two of which must not lead to different versions until the next renewal.
#[tokio::test]
async fn links_that_a_killed_process_left_halfway_are_led_to_one_version() {
    let keeper = Keeper::new("");
    let request = keeper.stage.request(&["a.example"]);
    assert_eq!(issued(keeper.visit(&request).await), (1, Reason::Missing, vec![]));
    rest(keeper.visit(&request).await);
    let storage = keeper.stage.storage.path();
    for kind in ["privkey", "cert", "chain", "fullchain"] {
        let archive = storage.join("archive/a.example");
        std::fs::copy(archive.join(format!("{kind}1.pem")), archive.join(format!("{kind}2.pem"))).unwrap();
    }
    let link = |kind: &str| storage.join(format!("live/a.example/{kind}.pem"));
    std::fs::remove_file(link("privkey")).unwrap();
    std::os::unix::fs::symlink("../../archive/a.example/privkey2.pem", link("privkey")).unwrap();
    rest(keeper.visit(&request).await);
    for kind in ["privkey", "cert", "chain", "fullchain"] {
        let target = std::fs::read_link(link(kind)).unwrap();
        assert_eq!(target.to_str().unwrap(), format!("../../archive/a.example/{kind}2.pem"));
    }
    assert_eq!(keeper.stage.orders(), 1);
}

#[tokio::test]
async fn what_a_clock_that_was_ahead_has_recorded_is_no_reason_to_wait() {
    let keeper = Keeper::new("");
    let (front, request) = (keeper.stage.front.clone(), keeper.stage.request(&["a.example"]));
    front.inject(Endpoint::NewOrder, 1, Fault::rate_limited(RetryAfter::Absent));
    keeper.sleep(40 * DAY);
    let visit = keeper.visit(&request).await;
    assert!(matches!(visit, Visit::Failed { .. }), "{visit:?}");
    keeper.put_right();
    let until = keeper.seconds_until(rest(keeper.visit(&request).await));
    assert!(until <= 66, "{until} s");
    keeper.sleep(until + 1);
    assert_eq!(issued(keeper.visit(&request).await), (1, Reason::Missing, vec![]));
}

#[tokio::test]
async fn an_authority_whose_windows_are_always_past_gets_no_endless_orders() {
    let keeper = Keeper::new("");
    let front = &keeper.stage.front;
    front.set_window(SystemTime::now() - 2 * Duration::from_secs(DAY), SystemTime::now() - Duration::from_secs(DAY));
    let request = keeper.stage.request(&["a.example"]);
    assert_eq!(issued(keeper.visit(&request).await), (1, Reason::Missing, vec![]));
    rest(keeper.visit(&request).await);
    keeper.sleep(3 * DAY);
    assert_eq!(issued(keeper.visit(&request).await), (2, Reason::Suggested, vec![]));
    rest(keeper.visit(&request).await);
    let (journal, certificates) = (front.journal(), front.certificates());
    let replaces: Vec<_> = journal.orders().iter().map(|order| order.replaces.as_ref()).collect();
    assert_eq!(replaces, [None, Some(&certificates[0].id)]);
}

/// Whatever goes wrong: the next attempt comes after as long as the authority asked for or else a minute, asks nobody before,
/// and succeeds.
#[tokio::test]
async fn after_any_fault_the_authority_is_left_alone_for_a_while() {
    let mut keeper = Keeper::new("");
    let hour = Duration::from_secs(3600);
    for (endpoint, fault, rest_of) in [
        (Endpoint::NewOrder, Fault::rate_limited(2 * hour), 7200..=7200),
        (Endpoint::NewOrder, Fault::rate_limited(SystemTime::now() + 2 * hour), 7100..=7200),
        (Endpoint::NewOrder, Fault::paused("a.example", "https://portal.example/unpause"), 60..=66),
        (Endpoint::Directory, Fault::unavailable(hour), 3600..=3600),
        (Endpoint::Directory, Fault::portal(), 60..=66),
        (Endpoint::Finalize, Fault::rate_limited(hour), 3600..=3600),
        (Endpoint::NewAccount, Fault::server_error(), 60..=66),
        (Endpoint::NewNonce, Fault::bad_gateway(), 60..=66),
        (Endpoint::Order, Fault::Reset, 60..=66),
        (Endpoint::Authorization, Fault::Cut, 60..=66),
        (Endpoint::NewOrder, Fault::Hang, 60..=66),
    ] {
        keeper.forget();
        let (front, request) = (keeper.stage.front.clone(), keeper.stage.request(&["a.example"]));
        let request = Request { patience: Duration::from_secs(2), ..request };
        let before = front.spent();
        front.inject(endpoint, Times::Forever, fault.clone());
        let visit = match fault {
            Fault::Hang => hurried(&front, endpoint, keeper.visit(&request)).await,
            _ => keeper.visit(&request).await,
        };
        front.clear_faults();
        let Visit::Failed { error, reason: Reason::Missing, until } = visit else { panic!("{fault:?}: {visit:?}") };
        let rests = keeper.seconds_until(until);
        assert!(rest_of.contains(&(rests + 1)) || rest_of.contains(&rests), "{fault:?}: {rests} s, {error:?}");
        let asked = front.journal().exchanges().len();
        rest(keeper.visit(&request).await);
        keeper.sleep(rests.saturating_sub(2));
        rest(keeper.visit(&request).await);
        assert_eq!(front.journal().exchanges().len(), asked, "{fault:?}: nobody was asked");
        keeper.sleep(4);
        assert_eq!(issued(keeper.visit(&request).await), (1, Reason::Missing, vec![]), "{fault:?}");
        let spent = Spent { accounts: 1, orders: 1, failed_authorizations: 0, certificates: 1 };
        assert_eq!(front.spent() - before, spent, "{fault:?}");
    }
}

#[tokio::test]
async fn a_certificate_of_minutes_is_renewed_when_the_authority_says() {
    let features = PebbleFeatures { validity: 600, ..PebbleFeatures::default() };
    let keeper = Keeper::at(Stage::featuring("", &features));
    let request = keeper.stage.request(&["a.example"]);
    assert_eq!(issued(keeper.visit(&request).await), (1, Reason::Missing, vec![]));
    let [certificate] = keeper.stage.front.certificates().try_into().unwrap();
    let life = certificate.not_after.duration_since(certificate.not_before).unwrap().as_secs();
    assert!((599..=600).contains(&life), "{life} s");
    rest(keeper.visit(&request).await);
    keeper.sleep(350);
    rest(keeper.visit(&request).await);
    keeper.sleep(75);
    assert_eq!(issued(keeper.visit(&request).await), (2, Reason::Suggested, vec![]));
    let journal = keeper.stage.front.journal();
    assert_eq!(journal.orders()[1].replaces, Some(certificate.id));
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
