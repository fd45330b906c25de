//! Limits of the authority, how they are kept across restarts, and how the operator has his way all the same.

use std::{fs, process::Command, thread, time::SystemTime};

use test_support::{
    Signal,
    ca_front::{Endpoint, Fault, Problem},
};

use super::{A_REST, A_ROUND, FAILED, FIRST, HOUR, ISSUED, ONE, Running, Site, Stage};
use crate::support::LOCKGATE;

/// Nothing is asked while the program looks at its clock and files.
fn rests(running: &Running<'_>) {
    let before = running.stage.asked();
    thread::sleep(A_ROUND);
    assert_eq!(running.stage.asked(), before, "{}", running.output());
}

/// In Let's Encrypt's words.
fn too_many() -> Fault {
    let until = jiff::Timestamp::try_from(SystemTime::now() + 2 * HOUR).unwrap().strftime("%Y-%m-%d %H:%M:%S UTC");
    let detail = format!(
        "too many failed authorizations (5) for \"site.example\" in the last 1h0m0s, retry after {until}: \
         see https://letsencrypt.org/docs/rate-limits/#authorization-failures-per-identifier-per-account"
    );
    Problem::new(429, "rateLimited", detail).retry_after(2 * HOUR).into()
}

#[test]
fn a_limit_is_obeyed_across_restarts() {
    thread::scope(|scope| {
        scope.spawn(|| obeys(Fault::rate_limited(2 * HOUR)));
        scope.spawn(|| obeys(too_many()));
    });
}

fn obeys(fault: Fault) {
    let stage = Stage::new();
    let site = stage.simple();
    stage.front.inject(Endpoint::NewOrder, 1, fault);
    let running = site.run();
    let failed = running.says(FAILED);
    assert!(failed.contains("rateLimited") && failed.contains("a placeholder is shown"), "{failed}");
    drop(running);
    for _ in 0..2 {
        stage.clock.advance(HOUR - A_REST).unwrap();
        let running = site.run();
        assert!(running.shows("site.example").is_placeholder());
        rests(&running);
    }
    let running = site.run();
    running.later(3 * A_REST, ISSUED);
    running.shows_the_one_in(&site.storage, "site.example");
    assert_eq!(stage.front.spent(), FIRST);
}

/// `lockgate cert obtain`, which has the running proxy serve what it writes.
fn forced(site: &Site<'_>) -> Command {
    let mut command = Command::new(LOCKGATE);
    command.args(["cert", "obtain", "--force", "--agree-tos", "-d", "site.example", "--server", &site.directory]);
    command.args(["--authenticator", "webroot", "--webroot"]).arg(&site.www);
    command.arg("--ca-file").arg(&site.ca).arg("--storage").arg(&site.storage);
    command
}

#[test]
fn the_operator_can_have_a_certificate_whatever_failed_before() {
    let stage = Stage::new();
    let site = stage.simple();
    stage.front.inject(Endpoint::NewOrder, 1, Fault::rate_limited(24 * HOUR));
    let mut running = site.run();
    let visitor = running.visitor(&["site.example"]);
    running.says(FAILED);
    rests(&running);
    let obtained = forced(&site).output().unwrap();
    assert!(obtained.status.success(), "{}", String::from_utf8_lossy(&obtained.stderr));
    // By itself, and without another order.
    running.shows_the_one_in(&site.storage, "site.example");
    assert_eq!(stage.front.spent(), FIRST);
    stage.clock.advance(25 * HOUR).unwrap();
    thread::sleep(A_ROUND);
    assert_eq!(stage.front.spent(), FIRST);

    // Or the proxy itself is made to forget what failed, and to look again.
    stage.want_renewal_of_the_last();
    stage.front.inject(Endpoint::NewOrder, 1, Fault::rate_limited(24 * HOUR));
    running.later(48 * HOUR, FAILED);
    running.signal(Signal::HUP);
    running.says("Reloading config file finished");
    rests(&running);
    fs::remove_file(site.storage.join("lockgate/site.example.json")).unwrap();
    running.signal(Signal::HUP);
    running.says(ISSUED);
    running.shows_the_one_in(&site.storage, "site.example");
    assert_eq!(stage.front.spent() - FIRST, ONE);
    assert_eq!(visitor.pleased().len(), 3);
}
