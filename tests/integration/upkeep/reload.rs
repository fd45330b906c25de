//! Another configuration while an order is under way.

use std::{
    fs,
    time::{Duration, Instant},
};

use test_support::{
    Signal,
    ca_front::{Endpoint, Fault, Spent, Times},
    poll,
};

use super::{A_ROUND, DEADLINE, FIRST, ISSUED, Running, Site, Stage, certificate};

/// What the program says when the new configuration is in force.
const RELOADED: &str = "Reloading config file finished";

/// A site whose first order hangs before the authority comes: its challenge is answered.
fn hanging<'s>(stage: &Stage, site: &Site<'s>) -> Running<'s> {
    stage.front.inject(Endpoint::Challenge, Times::Forever, Fault::Hang);
    let running = site.run();
    stage.wait_at(Endpoint::Challenge, &running);
    assert_eq!(stage.tokens().len(), 1);
    running
}

#[test]
fn certificates_come_and_go_while_an_order_hangs() {
    let stage = Stage::new();
    let site = stage.simple();
    let mut running = hanging(&stage, &site);
    let visitor = running.visitor(&["site.example"]);
    // From the first moment there is something to show for a name that is new.
    let more = Site { certificates: certificate(&["site.example"]) + &certificate(&["new.example"]), ..site.clone() };
    running.reload(&more);
    let shown = poll(DEADLINE, || running.shows("new.example").contains("new.example").then_some(()));
    assert!(shown.is_some() && running.shows("new.example").is_placeholder(), "{}", running.output());
    assert_eq!(stage.tokens().len(), 1, "the order goes on");
    let newcomer = running.visitor(&["new.example"]);
    stage.front.clear_faults();
    running.says(RELOADED);
    poll(DEADLINE, || (running.count(ISSUED) == 2).then_some(())).unwrap_or_else(|| panic!("{}", running.output()));
    running.shows_the_one_in(&site.storage, "site.example");
    running.shows_the_one_in(&site.storage, "new.example");
    assert_eq!(stage.front.spent(), Spent { orders: 2, certificates: 2, ..FIRST });
    assert!(stage.tokens().is_empty(), "challenges are left behind: {:?}", stage.tokens());
    let shown = newcomer.pleased();
    assert!(shown[0].is_placeholder() && shown[1..] == [running.shows("new.example")], "{shown:?}");

    // Who asks for a name that is gone is shown what strangers are.
    running.reload(&site);
    running.says(RELOADED);
    assert_eq!(running.shows("new.example"), running.shows("site.example"));
    std::thread::sleep(A_ROUND);
    assert_eq!(stage.front.spent(), Spent { orders: 2, certificates: 2, ..FIRST });
    assert_eq!(visitor.pleased().iter().filter(|shown| !shown.is_placeholder()).count(), 1);
}

#[test]
fn an_order_ends_before_its_authenticator_does() {
    let stage = Stage::new();
    let site = stage.simple();
    fs::create_dir(stage.file("www-2")).unwrap();
    let mut running = hanging(&stage, &site);
    let visitor = running.visitor(&["site.example"]);
    running.reload(&Site { www: stage.file("www-2"), ..site.clone() });
    running.says("Reloading config file (");
    // Time enough for whoever would not wait.
    std::thread::sleep(Duration::from_millis(500));
    stage.front.clear_faults();
    running.says(ISSUED);
    running.says(RELOADED);
    running.shows_the_one_in(&site.storage, "site.example");
    assert_eq!(stage.front.spent(), FIRST);
    assert!(stage.tokens().is_empty(), "challenges are left behind: {:?}", stage.tokens());
    visitor.pleased();
}

#[test]
fn a_certificate_that_is_taken_away_while_its_order_hangs_leaves_nothing_behind() {
    let stage = Stage::new();
    let all = Site { certificates: certificate(&["gone.example"]) + &certificate(&["site.example"]), ..stage.simple() };
    let mut running = hanging(&stage, &all);
    let visitor = running.visitor(&["site.example", "gone.example"]);
    running.reload(&stage.simple());
    poll(DEADLINE, || (!running.shows("gone.example").contains("gone.example")).then_some(()));
    stage.front.clear_faults();
    running.says(RELOADED);
    running.shows_the_one_in(&all.storage, "site.example");
    assert!(stage.tokens().is_empty(), "challenges are left behind: {:?}", stage.tokens());
    visitor.pleased();
}

#[test]
fn an_end_in_the_middle_of_an_order_takes_its_challenge_back() {
    let stage = Stage::new();
    let site = stage.simple();
    let mut running = hanging(&stage, &site);
    let since = Instant::now();
    running.signal(Signal::TERM);
    assert!(running.wait(DEADLINE).unwrap().success(), "{}", running.output());
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    assert!(stage.tokens().is_empty(), "challenges are left behind: {:?}", stage.tokens());
    stage.front.clear_faults();
}
