//! A wall clock that is set while the proxy runs.

use std::time::{Duration, SystemTime};

use test_support::{ca_front::Spent, poll};

use super::{DAY, DEADLINE, FAILED, FIRST, ISSUED, MINUTE, Stage, certificate, record, stored};

#[test]
fn a_clock_that_jumps_renews_what_is_due_and_makes_no_storm_of_orders() {
    let stage = Stage::new();
    // Beside it, one that is not to be had: whenever it is tried, the other one was looked at, too.
    stage.front.refuse_name("refused.example", "not for you");
    let site = stage.site(&(certificate(&["site.example"]) + &certificate(&["refused.example"])));
    let running = site.run();
    let visitor = running.visitor(&["site.example", "refused.example"]);
    running.says(ISSUED);
    running.says(FAILED);
    let first = stored(&site.storage, "site.example");
    assert_eq!(stage.front.spent(), FIRST);

    // Two thirds of its life are over, and a little. The new one is as old as that, by this clock.
    stage.clock.set(63 * DAY).unwrap();
    assert!(running.says(ISSUED).contains("Suggested"));
    running.says(FAILED);
    let second = stored(&site.storage, "site.example");
    assert_ne!(first, second);

    // Put right: what has happened lies in the future now, which is no reason to wait for that.
    stage.clock.set(Duration::ZERO).unwrap();
    let failed_at = || {
        let record = record(&site.storage, "refused.example");
        let at = record["attempts"]["last_failure"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        SystemTime::from(at)
    };
    poll(DEADLINE, || (failed_at() <= SystemTime::now()).then_some(()))
        .unwrap_or_else(|| panic!("the failure is of {:?}: {}", failed_at(), running.output()));
    stage.clock.set(12 * MINUTE).unwrap();
    running.says(FAILED);
    assert_eq!(stage.front.spent(), Spent { orders: 2, certificates: 2, ..FIRST });

    // So far ahead that every certificate has expired, also one that was just issued.
    stage.clock.set(100 * DAY).unwrap();
    assert!(running.says(ISSUED).contains("Expired"));
    running.says(FAILED);
    stage.clock.advance(DAY + DAY / 10).unwrap();
    running.says(FAILED);
    assert_eq!(stage.front.spent() - FIRST, Spent { orders: 2, certificates: 2, ..Spent::default() });
    let third = stored(&site.storage, "site.example");
    assert_eq!(running.count(ISSUED), 3);
    assert_eq!(stage.front.journal().orders().iter().filter(|order| order.names == ["site.example"]).count(), 3);
    running.shows_the_one_in(&site.storage, "site.example");
    let shown = visitor.pleased();
    let last: Vec<_> = [first, second, third].into_iter().flatten().collect();
    assert!(shown[0].is_placeholder() || shown[0] == last[0], "{shown:?}");
    assert!(shown.ends_with(&last), "{shown:?}, stored {last:?}");
}
