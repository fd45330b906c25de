//! Challenges are answered for as long as the authority may come, and what it does wrong meanwhile is not the name's failure.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use authenticator_api::{BoxFuture, Challenge};
use certificates::{
    Authenticators, Blame, BoxError, Completeness, Observer, ObtainError, Obtained, Progress, Request, obtain,
};
use test_support::ca_front::{Endpoint, Fault, Journal, Outcome, Spent, Times};

use super::stage::{Memory, Notes, Stage, issued, seen};

/// What a certificate costs at least.
const WHOLE: Spent = Spent { accounts: 1, orders: 1, failed_authorizations: 0, certificates: 1 };
const HOUR: Duration = Duration::from_secs(3600);

/// Does something when the authority was told to come, and when the certificate is ordered.
struct Watching<'w> {
    memory: Arc<Memory>,
    told: &'w (dyn Fn() + Send + Sync),
}

impl Observer for Watching<'_> {
    fn progress(&self, progress: Progress) {
        match progress {
            Progress::ValidationStarted => (self.told)(),
            Progress::Finalized => {
                assert!(!self.memory.answers.lock().unwrap().is_empty(), "late visitors find nothing")
            }
            _ => {}
        }
    }

    fn before_validation<'a>(&'a self, _challenges: &'a [Challenge]) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

async fn watched(stage: &Stage, request: &Request, told: &(dyn Fn() + Send + Sync)) -> Result<Obtained, ObtainError> {
    let (client, store) = (stage.client(), stage.store());
    let authenticators = Authenticators::from(stage.authenticator.clone());
    let watching = Watching { memory: Arc::clone(&stage.memory), told };
    let result = obtain(request, &client, &store, &authenticators, &stage.presented, &watching).await;
    assert!(stage.memory.answers.lock().unwrap().is_empty(), "challenges are left behind: {result:?}");
    result
}

fn asked_again_in_an_hour(error: &ObtainError) -> bool {
    let again = error.retry_after().and_then(|again| again.duration_since(SystemTime::now()).ok());
    again.is_some_and(|again| (3500..=3600).contains(&again.as_secs()))
}

/// Opens the door to the authority after it was told to come, while nobody can ask it.
async fn opened_later(stage: &Stage, endpoint: Endpoint, times: usize) {
    seen(&stage.front, move |journal| journal.count(endpoint) >= times).await;
    assert!(!stage.memory.answers.lock().unwrap().is_empty(), "taken back while the authority is on its way");
    stage.door.shut(false);
}

#[tokio::test]
async fn challenges_are_answered_until_the_certificate_is_there() {
    let stage = Stage::new("");
    assert_eq!(issued(watched(&stage, &stage.request(&["a.example"]), &|| {}).await), 1);
    assert_eq!(stage.front.spent(), WHOLE);
}

#[tokio::test]
async fn an_answer_that_was_lost_takes_no_challenge_back() {
    let stage = Stage::new("");
    stage.door.shut(true);
    stage.front.inject(Endpoint::Challenge, 1, Fault::Cut);
    let request = stage.request(&["a.example", "b.example"]);
    let notes = Notes::default();
    let (obtained, ()) = tokio::join!(stage.obtain(&request, &notes), opened_later(&stage, Endpoint::Authorization, 6));
    assert_eq!(issued(obtained), 1);
    assert_eq!(stage.front.spent(), WHOLE);
    // Pebble does not say that it is on its way, so it may have been told twice.
    assert!((2..=3).contains(&stage.visited()), "told {} times", stage.visited());
}

#[tokio::test]
async fn an_authority_that_is_silent_while_it_comes_is_waited_for() {
    let mut stage = Stage::new("");
    for (fault, is_for_an_hour) in
        [(Fault::server_error(), false), (Fault::Reset, false), (Fault::unavailable(HOUR), true)]
    {
        stage.storage = test_support::scratch_dir().unwrap();
        stage.door.shut(true);
        let request = Request { patience: Duration::from_secs(3), ..stage.request(&["a.example"]) };
        let (spent, polls) = (stage.front.spent(), stage.front.journal().count(Endpoint::Authorization));
        let silence = || stage.front.inject(Endpoint::Authorization, Times::Forever, fault.clone());
        // One request was before the silence.
        let opened = opened_later(&stage, Endpoint::Authorization, polls + 2);
        let begun = Instant::now();
        let (result, ()) = tokio::join!(watched(&stage, &request, &silence), opened);
        let error = result.unwrap_err();
        assert!(begun.elapsed() > Duration::from_millis(2900), "{fault:?}: as long as the authority may take");
        assert_eq!((error.is_the_authoritys_own(), error.is_permanent()), (true, false), "{error:?}");
        assert_eq!(asked_again_in_an_hour(&error), is_for_an_hour, "{error:?}");
        stage.front.clear_faults();
        assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 1);
        assert_eq!(stage.front.spent() - spent, WHOLE, "{fault:?}");
    }
}

/// What the authority said when it was told to come.
fn answers(journal: &Journal) -> Vec<u16> {
    journal.of(Endpoint::Challenge).filter_map(|one| one.outcome.status()).collect()
}

#[tokio::test]
async fn a_limit_on_coming_is_the_authoritys_and_costs_no_name() {
    let stage = Stage::new("");
    let some = Completeness::Some { resting: Vec::new() };
    let request = Request { completeness: some, ..stage.request(&["a.example", "b.example"]) };
    // It comes for the first name, but does not say so, and then wants to hear no more.
    stage.door.shut(true);
    stage.front.inject(Endpoint::Challenge, 1, Fault::Cut);
    stage.front.inject(Endpoint::Challenge, Times::Forever, Fault::rate_limited(HOUR));
    let opened = async {
        seen(&stage.front, |journal| answers(journal) == [200, 429]).await;
        assert!(!stage.memory.answers.lock().unwrap().is_empty(), "taken back while the authority is on its way");
        stage.door.shut(false);
    };
    let notes = Notes::default();
    let (result, ()) = tokio::join!(stage.obtain(&request, &notes), opened);
    let error = result.unwrap_err();
    assert_eq!(
        (error.blame(), error.is_permanent(), error.failures().len()),
        (Blame::Authority, false, 0),
        "{error:?}"
    );
    assert!(error.is_the_authoritys_own() && asked_again_in_an_hour(&error), "{error:?}");
    stage.front.clear_faults();
    let obtained = stage.obtain(&request, &Notes::default()).await.unwrap();
    let Obtained::Issued { saved, refused } = &obtained else { panic!("{obtained:?}") };
    assert_eq!((saved.lineage.names.len(), refused.len()), (2, 0));
    assert_eq!(stage.front.spent(), WHOLE);
    assert_eq!(answers(&stage.front.journal()), [200, 429, 200], "the first name was proven by then");
}

#[tokio::test]
async fn another_authority_is_asked_when_one_does_not_want_to_come() {
    let stage = Stage::new("");
    for fault in [Fault::rate_limited(HOUR), Fault::unavailable(HOUR)] {
        stage.front.inject(Endpoint::Challenge, 1, fault);
        let mut request = Request { force: true, ..stage.request(&["a.example"]) };
        // After a 503 it may be on its way.
        request.patience = Duration::from_secs(5);
        request.issuers.push(stage.bare_authority().into());
        let notes = Notes::default();
        issued(stage.obtain(&request, &notes).await);
        let seen = notes.seen.into_inner().unwrap();
        let again = seen.iter().find_map(|event| match event {
            Progress::AuthorityFailed { retry_after, .. } => *retry_after,
            _ => None,
        });
        assert!(again.is_some_and(|again| SystemTime::now() + HOUR / 2 < again), "{seen:?}");
        assert_eq!(stage.store().server("a.example"), Some(stage.pebble.directory_url()));
    }
}

#[tokio::test]
async fn a_challenge_that_failed_is_the_names_failure_all_the_same() {
    let stage = Stage::new("wrong.");
    stage.front.inject(Endpoint::Challenge, 1, Fault::Cut);
    let error = stage.obtain(&stage.request(&["wrong.example"]), &Notes::default()).await.unwrap_err();
    assert_eq!((error.blame(), error.failures().len()), (Blame::Domain, 1), "{error:?}");
    let journal = stage.front.journal();
    assert!(matches!(journal.of(Endpoint::Challenge).next().unwrap().outcome, Outcome::Cut { .. }));
    assert_eq!(stage.front.spent(), Spent { failed_authorizations: 1, certificates: 0, ..WHOLE });
}
