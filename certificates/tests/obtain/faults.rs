//! Authorities on bad days: what goes wrong at whichever step is one failure, and over when it is over.

use std::time::{Duration, Instant, SystemTime};

use certificates::{Blame, ObtainError, TransportError};
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

/// What is not yet as it should be. When it is, the test fails and its line here goes.
fn is_known(endpoint: Endpoint, fault: &Fault) -> bool {
    match endpoint {
        // A challenge that the authority does not take up, for whatever reason, counts as the name's failure.
        Endpoint::Challenge => matches!(fault, Fault::Problem(_)),
        _ => false,
    }
}

/// Lets attempts meet every fault at one step, one after the other; then one succeeds. Returns accounts, orders and certificates
/// that this cost.
async fn bad_days(endpoint: Endpoint) -> (usize, usize, usize) {
    let stage = Stage::new("");
    let request = stage.request(&["a.example"]);
    for (fault, again) in faults() {
        let before = stage.front.journal().count(endpoint);
        stage.front.inject(endpoint, 1, fault.clone());
        let error = stage.obtain(&request, &Notes::default()).await.unwrap_err();
        let what = format!("{endpoint:?}, {fault:?}: {error:?}");
        assert_eq!(stage.front.journal().count(endpoint), before + 1, "no hammering: {what}");
        let is_known = is_known(endpoint, &fault);
        assert_eq!(error.is_the_authoritys_own(), !is_known, "{what}");
        assert!(!error.is_permanent(), "{what}");
        let again = again.filter(|_| !is_known);
        let distance = |one: SystemTime, other| one.duration_since(other).unwrap_or_else(|error| error.duration());
        match (again, error.retry_after()) {
            (Some(told), Some(found)) => assert!(distance(told, found) < Duration::from_secs(60), "{what}"),
            (told, found) => assert_eq!(told, found, "{what}"),
        }
    }
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 1, "{endpoint:?}");
    let Spent { accounts, orders, certificates, .. } = stage.front.spent();
    (accounts, orders, certificates)
}

#[tokio::test]
async fn what_goes_wrong_before_the_order_costs_none() {
    assert_eq!(bad_days(Endpoint::Directory).await, (1, 1, 1));
    assert_eq!(bad_days(Endpoint::NewNonce).await, (1, 1, 1));
}

#[tokio::test]
async fn only_a_lost_answer_costs_an_order() {
    assert_eq!(bad_days(Endpoint::NewAccount).await, (1, 1, 1));
    assert_eq!(bad_days(Endpoint::NewOrder).await, (1, 2, 1));
}

/// An order that met a fault is given up: each of the eight attempts placed one.
#[tokio::test]
async fn what_goes_wrong_with_an_order_costs_it() {
    assert_eq!(bad_days(Endpoint::Authorization).await, (1, 9, 1));
    assert_eq!(bad_days(Endpoint::Challenge).await, (1, 9, 1));
    assert_eq!(bad_days(Endpoint::Order).await, (1, 9, 1));
}

#[tokio::test]
async fn what_goes_wrong_with_a_certificate_costs_it() {
    assert_eq!(bad_days(Endpoint::Finalize).await, (1, 9, 2));
    assert_eq!(bad_days(Endpoint::Certificate).await, (1, 9, 9));
}

#[tokio::test]
async fn bad_nonces_are_no_failure_unless_there_are_no_good_ones() {
    let stage = Stage::new("");
    let request = stage.request(&["a.example"]);
    stage.front.inject(Scope::Any, 2, Fault::BadNonce);
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 1);
    let whole = Spent { accounts: 1, orders: 1, failed_authorizations: 0, certificates: 1 };
    assert_eq!(stage.front.spent(), whole);
    assert_eq!(stage.front.journal().count(Endpoint::NewAccount), 3);

    stage.front.inject(Endpoint::NewOrder, Times::Forever, Fault::BadNonce);
    let more = stage.request(&["a.example", "b.example"]);
    let error = stage.obtain(&more, &Notes::default()).await.unwrap_err();
    assert!(matches!(&error, ObtainError::Refused { kind, .. } if kind == "badNonce"), "{error:?}");
    assert_eq!((error.blame(), error.is_permanent()), (Blame::Authority, false));
    let asked = stage.front.journal().count(Endpoint::NewOrder);
    assert!((2..10).contains(&asked), "asked {asked} times");
    stage.front.clear_faults();
    issued(stage.obtain(&more, &Notes::default()).await);
    assert_eq!(stage.front.spent() - whole, Spent { accounts: 0, ..whole });
}

#[tokio::test]
async fn an_authority_that_hangs_is_left_in_our_own_time() {
    let stage = Stage::new("");
    let (request, begun) = (stage.request(&["a.example"]), Instant::now());
    for endpoint in [Endpoint::Directory, Endpoint::NewOrder, Endpoint::Finalize] {
        stage.front.inject(endpoint, 1, Fault::Hang);
        let patient = tokio::time::Instant::now();
        let error = hurried(&stage.front, endpoint, stage.obtain(&request, &Notes::default())).await.unwrap_err();
        let is_too_late = matches!(&error, ObtainError::Transport { source: TransportError::TimedOut { .. } });
        assert!(is_too_late && error.is_the_authoritys_own() && !error.is_permanent(), "{error:?}");
        let patience = patient.elapsed().as_secs();
        assert!((15..60).contains(&patience), "{endpoint:?}: {patience} s");
        let is_left = move |journal: &Journal| journal.of(endpoint).any(|one| one.outcome == Outcome::Left);
        seen(&stage.front, is_left).await;
    }
    assert_eq!(issued(stage.obtain(&request, &Notes::default()).await), 1);
    assert_eq!(stage.front.spent(), Spent { accounts: 1, orders: 2, failed_authorizations: 0, certificates: 1 });
    // Else it would have been twenty seconds three times.
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
