//! Authorities on bad days: what goes wrong at whichever step is one failure, and over when it is over.

use std::time::{Duration, Instant, SystemTime};

use certificates::{Blame, ObtainError, Obtained, Request};
use test_support::ca_front::{Endpoint, Fault, Journal, Outcome, Scope, Spent, Times};

use super::stage::{Notes, Stage, hurried, issued, seen};

/// Each fault, and when the authority wants to be asked again.
fn faults() -> [(Fault, Option<SystemTime>); 8] {
    let (soon, now) = (Duration::from_secs(3600), SystemTime::now());
    [
        (Fault::rate_limited(soon), Some(now + soon)),
        (Fault::rate_limited(now + soon), Some(now + soon)),
        (Fault::unavailable(soon), Some(now + soon)),
        (Fault::server_error(), None),
        (Fault::bad_gateway(), None),
        (Fault::portal(), None),
        (Fault::Reset, None),
        (Fault::Cut, None),
    ]
}

/// What a certificate costs at least.
const WHOLE: Spent = Spent { accounts: 1, orders: 1, failed_authorizations: 0, certificates: 1 };

/// What was asked for is done, and can be looked up elsewhere: the answer is not needed.
fn is_overcome(endpoint: Endpoint, fault: &Fault) -> bool {
    let is_looked_up = [Endpoint::NewOrder, Endpoint::Challenge, Endpoint::Finalize].contains(&endpoint);
    is_looked_up && matches!(fault, Fault::Cut)
}

/// Lets an attempt meet every fault at one step for as long as it lasts, each with an empty storage; the next attempt succeeds,
/// and both cost no more than one that meets no fault.
async fn bad_days(endpoint: Endpoint) {
    let mut stage = Stage::new("");
    for (fault, again) in faults() {
        stage.storage = test_support::scratch_dir().unwrap();
        let request = stage.request(&["a.example"]);
        let is_overcome = is_overcome(endpoint, &fault);
        // Else it would be asked again for longer.
        let patience = if is_overcome { request.patience } else { Duration::from_secs(2) };
        let impatient = Request { patience, ..request.clone() };
        let (before, spent) = (stage.front.journal().count(endpoint), stage.front.spent());
        stage.front.inject(endpoint, Times::Forever, fault.clone());
        let result = stage.obtain(&impatient, &Notes::default()).await;
        let asked = stage.front.journal().count(endpoint) - before;
        stage.front.clear_faults();
        let what = format!("{endpoint:?}, {fault:?}: {result:?}");
        match (result, is_overcome) {
            (Err(error), false) => {
                assert!(error.is_the_authoritys_own() && !error.is_permanent(), "{what}");
                let distance =
                    |one: SystemTime, other| one.duration_since(other).unwrap_or_else(|error| error.duration());
                match (again, error.retry_after()) {
                    (Some(told), Some(found)) => assert!(distance(told, found) < Duration::from_secs(60), "{what}"),
                    (told, found) => assert_eq!(told, found, "{what}"),
                }
                assert!((1..=if again.is_some() { 1 } else { 4 }).contains(&asked), "asked {asked} times: {what}");
                assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 1, "{what}");
            }
            (result, true) => assert_eq!(issued(result), 1, "{what}"),
            (Ok(_), false) => panic!("{what}"),
        }
        assert_eq!(stage.front.spent() - spent, WHOLE, "{what}");
        assert!(!stage.storage.path().join("lockgate/orders").exists(), "an order is left: {what}");
    }
}

/// Lets an attempt meet a fault at one step once: it succeeds all the same, unless the authority wants to be left alone.
async fn bad_moments(endpoint: Endpoint) {
    let mut stage = Stage::new("");
    for (fault, _) in faults().into_iter().filter(|(_, again)| again.is_none()) {
        stage.storage = test_support::scratch_dir().unwrap();
        let spent = stage.front.spent();
        stage.front.inject(endpoint, 1, fault.clone());
        let result = stage.obtain(&stage.request(&["a.example"]), &Notes::default()).await;
        assert!(matches!(result, Ok(Obtained::Issued { .. })), "{endpoint:?}, {fault:?}: {result:?}");
        assert_eq!(stage.front.spent() - spent, WHOLE, "{endpoint:?}, {fault:?}");
    }
}

#[tokio::test]
async fn what_goes_wrong_before_the_order_costs_nothing() {
    tokio::join!(bad_days(Endpoint::Directory), bad_days(Endpoint::NewNonce), bad_days(Endpoint::NewAccount));
}

#[tokio::test]
async fn what_goes_wrong_with_an_order_costs_nothing() {
    tokio::join!(bad_days(Endpoint::NewOrder), bad_days(Endpoint::Authorization), bad_days(Endpoint::Challenge));
}

#[tokio::test]
async fn what_goes_wrong_with_a_certificate_costs_nothing() {
    tokio::join!(bad_days(Endpoint::Order), bad_days(Endpoint::Finalize), bad_days(Endpoint::Certificate));
}

#[tokio::test]
async fn what_goes_wrong_for_a_moment_is_no_failure() {
    tokio::join!(
        async {
            for endpoint in [Endpoint::Directory, Endpoint::NewNonce, Endpoint::NewAccount] {
                bad_moments(endpoint).await;
            }
        },
        async {
            for endpoint in [Endpoint::NewOrder, Endpoint::Authorization, Endpoint::Challenge] {
                bad_moments(endpoint).await;
            }
        },
        async {
            for endpoint in [Endpoint::Order, Endpoint::Finalize, Endpoint::Certificate] {
                bad_moments(endpoint).await;
            }
        },
    );
}

#[tokio::test]
async fn an_authority_that_wants_a_moment_gets_it() {
    let stage = Stage::new("");
    let begun = Instant::now();
    for endpoint in [Endpoint::NewNonce, Endpoint::Challenge, Endpoint::Finalize] {
        stage.front.inject(endpoint, 1, Fault::rate_limited(Duration::from_secs(1)));
    }
    assert_eq!(issued(stage.obtain(&stage.request(&["a.example"]), &Notes::default()).await), 1);
    assert!(begun.elapsed() > Duration::from_millis(2900), "a second each time");
    assert_eq!(stage.front.spent(), WHOLE);
}

#[tokio::test]
async fn bad_nonces_are_no_failure_unless_there_are_no_good_ones() {
    let stage = Stage::new("");
    let request = stage.request(&["a.example"]);
    stage.front.inject(Scope::Any, 2, Fault::BadNonce);
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 1);
    assert_eq!(stage.front.spent(), WHOLE);
    assert_eq!(stage.front.journal().count(Endpoint::NewAccount), 3);

    stage.front.inject(Endpoint::NewOrder, Times::Forever, Fault::BadNonce);
    let more = stage.request(&["a.example", "b.example"]);
    let error = stage.obtain(&more, &Notes::default()).await.unwrap_err();
    assert!(matches!(&error, ObtainError::Refused { kind, .. } if kind == "badNonce"), "{error:?}");
    assert_eq!((error.blame(), error.is_permanent()), (Blame::Authority, false));
    let asked = stage.front.journal().count(Endpoint::NewOrder);
    assert_eq!(asked, 1 + 4 * 3, "four tries with three nonces each");
    stage.front.clear_faults();
    issued(stage.obtain(&more, &Notes::default()).await);
    assert_eq!(stage.front.spent() - WHOLE, Spent { accounts: 0, ..WHOLE });
}

#[tokio::test]
async fn an_authority_that_hangs_is_left_in_our_own_time() {
    let stage = Stage::new("");
    let (request, begun) = (stage.request(&["a.example"]), Instant::now());
    for endpoint in [Endpoint::Directory, Endpoint::NewOrder, Endpoint::Finalize] {
        stage.front.inject(endpoint, Times::Forever, Fault::Hang);
        let patient = tokio::time::Instant::now();
        // It hangs at one step, and by this clock at all that come after.
        let error = hurried(&stage.front, endpoint, stage.obtain(&request, &Notes::default())).await.unwrap_err();
        let is_too_late = error.sentence().contains("did not answer within 20s");
        assert!(is_too_late && error.is_the_authoritys_own() && !error.is_permanent(), "{error:?}");
        let patience = patient.elapsed().as_secs();
        assert!((15..60).contains(&patience), "{endpoint:?}: {patience} s");
        let is_left = move |journal: &Journal| journal.of(endpoint).any(|one| one.outcome == Outcome::Left);
        seen(&stage.front, is_left).await;
        stage.front.clear_faults();
    }
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 1);
    assert_eq!(stage.front.spent(), WHOLE);
    // Else it would have been twenty seconds many times.
    assert!(begun.elapsed() < Duration::from_secs(60), "only the runtime's clock ran ahead");
}

#[tokio::test]
async fn an_authority_is_asked_about_an_order_as_often_as_it_wants() {
    let stage = Stage::new("");
    stage.front.set_polling_retry_after(Duration::from_secs(1));
    stage.door.shut(true);
    // The first of them is to learn of the challenges.
    let polled = seen(&stage.front, |journal| journal.count(Endpoint::Authorization) >= 4);
    let (request, notes) = (stage.request(&["a.example"]), Notes::default());
    let opened = async {
        polled.await;
        stage.door.shut(false);
    };
    let (obtained, ()) = tokio::join!(stage.obtain(&request, &notes), opened);
    assert_eq!(issued(obtained), 1);
    let polls: Vec<_> = stage.front.journal().of(Endpoint::Authorization).map(|exchange| exchange.at).collect();
    for pair in polls[1..].windows(2) {
        let pause = pair[1].duration_since(pair[0]).unwrap();
        assert!(pause > Duration::from_millis(950), "{polls:?}");
    }
}
