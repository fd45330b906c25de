//! Whatever an authority does wrong: the site is served throughout, the next attempt comes when it may and succeeds.

use std::{thread, time::Duration};

use test_support::ca_front::{Endpoint, Fault, Times};

use super::{A_REST, FAILED, FIRST, HOUR, ISSUED, MINUTE, ONE, Stage, TWO_DAYS, stored};

/// A fault at a step, and for how long the authority is left alone.
type Case = (Endpoint, Fault, Duration);

/// What goes wrong at one site after the other: first when it has no certificate, then whenever it renews.
fn lanes() -> [Vec<Case>; 5] {
    [
        vec![
            (Endpoint::Directory, Fault::portal(), MINUTE),
            (Endpoint::NewOrder, Fault::rate_limited(HOUR), HOUR),
            (Endpoint::Challenge, Fault::Reset, MINUTE),
            (Endpoint::Certificate, Fault::server_error(), MINUTE),
        ],
        vec![
            (Endpoint::Directory, Fault::unavailable(HOUR), HOUR),
            (Endpoint::NewOrder, Fault::paused("site.example", "https://portal.example/unpause"), MINUTE),
            (Endpoint::Authorization, Fault::Cut, MINUTE),
        ],
        vec![
            (Endpoint::NewNonce, Fault::bad_gateway(), MINUTE),
            (Endpoint::Finalize, Fault::unavailable(HOUR), HOUR),
            (Endpoint::Certificate, Fault::Cut, MINUTE),
        ],
        vec![
            (Endpoint::NewAccount, Fault::server_error(), MINUTE),
            (Endpoint::NewOrder, Fault::BadNonce, MINUTE),
            (Endpoint::Finalize, Fault::Cut, MINUTE),
        ],
        vec![
            (Endpoint::Directory, Fault::Reset, MINUTE),
            (Endpoint::Order, Fault::bad_gateway(), MINUTE),
            (Endpoint::Order, Fault::portal(), MINUTE),
        ],
    ]
}

#[test]
fn after_any_fault_of_the_authority_the_next_attempt_succeeds() {
    thread::scope(|scope| {
        for lane in lanes() {
            scope.spawn(move || suffer(&lane));
        }
    });
}

fn suffer(cases: &[Case]) {
    let stage = Stage::new();
    let site = stage.simple();
    stage.want_renewals();
    let (endpoint, fault, _) = &cases[0];
    stage.front.inject(*endpoint, Times::Forever, fault.clone());
    let running = site.run();
    let visitor = running.visitor(&["site.example"]);
    let mut good = Vec::new();
    for (number, (endpoint, fault, rest)) in cases.iter().enumerate() {
        let before = stage.front.spent();
        let failed = if number == 0 {
            running.says(FAILED)
        } else {
            stage.front.inject(*endpoint, Times::Forever, fault.clone());
            running.later(TWO_DAYS, FAILED)
        };
        let what = format!("{endpoint:?}, {fault:?}: {failed}");
        let again = failed.split("again_in_seconds=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
        let (again, rest) = (again.parse::<u64>().unwrap(), rest.as_secs());
        assert!((rest - 2..=rest * 11 / 10).contains(&again), "{what}");
        stage.front.clear_faults();
        running.later(Duration::from_secs(again) + A_REST, ISSUED);
        running.shows_the_one_in(&site.storage, "site.example");
        good.extend(stored(&site.storage, "site.example"));
        // An order that was placed is gone on with: nothing is spent beside the certificate.
        let spent = if number == 0 { FIRST } else { ONE };
        assert_eq!(stage.front.spent() - before, spent, "{what}");
    }
    assert_eq!((running.count(ISSUED), running.count(FAILED)), (cases.len(), cases.len()), "{}", running.output());
    assert!(stage.tokens().is_empty(), "challenges are left behind: {:?}", stage.tokens());
    let shown = visitor.pleased();
    assert!(shown[0].is_placeholder() && shown[1..] == good, "{shown:?}, stored {good:?}");
}
