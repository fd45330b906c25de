//! A process that is killed in the middle of a renewal: the next one serves at once with what there was, and goes on.

use std::{fs, path::Path, process::Command, thread};

use test_support::{
    Lockgate, Place,
    ca_front::{Endpoint, Fault, Times},
    poll, require,
};

use super::{A_REST, A_ROUND, DEADLINE, FIRST, ISSUED, ONE, Running, Site, Stage, TWO_DAYS, record, stored};
use crate::support::{in_lanes, killed_at};

/// System calls by which files get their contents and names on disk.
const CALLS: &str = "fsync,rename,renameat,renameat2,symlink,symlinkat";

#[test]
fn a_kill_at_any_step_of_an_order_costs_what_the_authority_has_done_and_no_more() {
    let stage = Stage::new();
    let site = stage.simple();
    stage.want_renewals();
    for endpoint in [
        Endpoint::NewAccount,
        Endpoint::NewNonce,
        Endpoint::NewOrder,
        Endpoint::Authorization,
        Endpoint::Challenge,
        Endpoint::Order,
        Endpoint::Finalize,
        Endpoint::Certificate,
    ] {
        let (before, last_good) = (stage.front.spent(), stored(&site.storage, "site.example"));
        stage.clock.advance(TWO_DAYS).unwrap();
        stage.front.inject(endpoint, Times::Forever, Fault::Hang);
        let running = site.run();
        stage.wait_at(endpoint, &running);
        running.kill();
        // Else the authority would do what nobody waits for.
        poll(DEADLINE, || (stage.front.journal().open() == 0).then_some(()))
            .expect("it is noticed that the client is gone");
        stage.front.clear_faults();
        let is_presented = matches!(endpoint, Endpoint::Challenge);
        assert!(!is_presented || stage.tokens().len() == 1, "a challenge was presented");

        // It is there at once, and does not try again at once.
        let is_patient = endpoint == Endpoint::Certificate;
        if !is_patient {
            stage.clock.advance(A_REST).unwrap();
        }
        let running = site.run();
        let visitor = running.visitor(&["site.example"]);
        if is_patient {
            let (shown, asked) = (running.shows("site.example"), stage.asked());
            thread::sleep(A_ROUND);
            assert_eq!((Some(shown), stage.asked()), (last_good.clone(), asked));
            stage.clock.advance(A_REST).unwrap();
        }
        running.says(ISSUED);
        running.shows_the_one_in(&site.storage, "site.example");
        let shown = visitor.pleased();
        assert!(last_good.is_none() || !shown[0].is_placeholder(), "{endpoint:?}: {shown:?}");
        // An order that was placed is gone on with: nothing is spent beside the certificate.
        let spent = if endpoint == Endpoint::NewAccount { FIRST } else { ONE };
        assert_eq!(stage.front.spent() - before, spent, "{endpoint:?}");
        assert!(stage.tokens().is_empty(), "{endpoint:?}: challenges are left behind: {:?}", stage.tokens());
    }
    assert_eq!(stage.front.spent().accounts, 1);
}

/// The service, killed by the kernel at the `number`th of [`CALLS`]; `None` when it is not even ready by then.
fn started_and_killed_at<'s>(number: usize, site: &Site<'s>) -> Option<Running<'s>> {
    site.try_run_by(killed_at(&Place::Loopback, CALLS, number)).ok()
}

/// The certificate is saved and so is what was learnt about it, or the process was killed.
fn survives(mut running: Running<'_>, site: &Site<'_>) -> bool {
    let is_through = |lockgate: &mut Lockgate| {
        let is_known = || record(&site.storage, "site.example")["suggestions"]["next_poll"].is_string();
        let is_saved = lockgate.output().contains(ISSUED) && is_known();
        (is_saved || !lockgate.is_running()).then_some(())
    };
    poll(DEADLINE, || is_through(&mut running)).unwrap_or_else(|| panic!("{}", running.output()));
    running.is_running()
}

#[test]
fn a_kill_at_any_write_leaves_a_certificate_that_is_served_at_once() {
    require("strace").unwrap();
    // strace counts the calls of each thread, and on a busy machine files are written by more than one.
    let survived = in_lanes(LANES, kill_every);
    assert!(survived > 8, "only {survived} writes were interrupted");
}

/// Kills renewals at the `lane`th write and every few from there on; returns the number of the one that was not reached.
fn kill_every(lane: usize) -> usize {
    let stage = Stage::new();
    let site = stage.simple();
    let running = site.run();
    running.says(ISSUED);
    // What takes its place is due in its own time.
    stage.want_renewal_of_the_last();
    running.knows_when(&site.storage, "site.example");
    let first = running.shows("site.example");
    running.kill();
    assert_eq!(stage.front.spent(), FIRST);
    let kept = stage.file("kept");
    copy(&site.storage, &kept);
    for number in (lane..).step_by(LANES) {
        assert!(number < 200, "it never survives");
        let before = stage.front.spent();
        fs::remove_dir_all(&site.storage).unwrap();
        copy(&kept, &site.storage);
        stage.clock.set(TWO_DAYS).unwrap();
        if started_and_killed_at(number, &site).is_some_and(|running| survives(running, &site)) {
            assert_eq!(stage.front.spent() - before, ONE);
            return number;
        }
        stage.clock.advance(A_REST).unwrap();
        let running = site.run();
        let shown = running.shows("site.example");
        if shown == first {
            running.says(ISSUED);
        } else {
            assert!(!shown.is_placeholder(), "after a kill at write {number}: {shown:?}");
        }
        // Whatever the one began, the other goes on with.
        assert_eq!(stage.front.spent() - before, ONE, "after a kill at write {number}");
        is_whole(&site.storage, number);
        running.shows_the_one_in(&site.storage, "site.example");
        assert!(stage.tokens().is_empty(), "after a kill at write {number}: {:?}", stage.tokens());
    }
    unreachable!("numbers do not end")
}

/// All links lead to one version, also for programs that know nothing of us.
fn is_whole(storage: &Path, number: usize) {
    let live = storage.join("live/site.example");
    let versions = || {
        ["privkey", "cert", "chain", "fullchain"].map(|kind| {
            let target = fs::read_link(live.join(format!("{kind}.pem"))).unwrap();
            target.file_name().unwrap().to_str().unwrap().trim_start_matches(kind).to_owned()
        })
    };
    let whole = poll(DEADLINE, || versions().windows(2).all(|pair| pair[0] == pair[1]).then_some(()));
    assert!(whole.is_some(), "after a kill at write {number}: {:?}", versions());
    assert!(storage.join("renewal/site.example.conf").exists(), "after a kill at write {number}");
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

/// At a time, on a machine that mostly waits for its disk.
const LANES: usize = 3;
