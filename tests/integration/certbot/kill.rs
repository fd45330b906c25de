//! A renewal that is killed at any write: the tree loads, certbot agrees, and the next run succeeds.

use std::{fs, path::Path, process::Command, time::Duration};

use test_support::{Process, require};

use super::storage::{Stage, said};
use crate::support::{in_lanes, killed_at};

/// System calls by which files get their contents and names on disk.
const CALLS: &str = "fsync,rename,renameat,renameat2,symlink,symlinkat,unlink,unlinkat";

/// At a time, on a machine that mostly waits for its disk.
const LANES: usize = 2;

#[test]
fn a_renewal_that_is_killed_at_any_write_costs_nothing() {
    require("strace").unwrap();
    // strace counts the calls of each thread, and one thread writes all files.
    let survived = in_lanes(LANES, kill_every);
    assert!(survived > 20, "only {survived} writes were interrupted");
}

/// Kills renewals at the `lane`th write and every few from there on; returns the number of the one that was not reached.
fn kill_every(lane: usize) -> usize {
    let stage = Stage::new();
    stage.made_by_certbot(&["--deploy-hook", "true"]);
    let whole = stage.storage().with_file_name("whole");
    let copy = |from: &Path, to: &Path| said(Command::new("cp").arg("-a").args([from, to]));
    copy(&stage.storage(), &whole);
    let renew = ["cert", "renew", "--force-renewal"];
    for number in (lane..200).step_by(LANES) {
        fs::remove_dir_all(stage.storage()).unwrap();
        copy(&whole, &stage.storage());
        let mut traced = killed_at(&stage.place(), CALLS, number);
        traced.args(renew).arg("--storage").arg(stage.storage()).arg("--ca-file").arg(stage.pebble.ca_file());
        let mut process = Process::spawn(&traced).unwrap();
        let survives = process.wait(Duration::from_secs(60)).unwrap().success();
        let what = format!("after a kill at write {number}");
        let listed = said(&stage.lockgate(&["cert", "list"]));
        assert!(listed.contains("site.example  valid"), "{what}: {listed}");
        let listed = said(&stage.certbot("certificates", &[]));
        assert!(listed.contains("(VALID: ") && !listed.contains("could not be parsed"), "{what}: {listed}");
        if survives {
            return number;
        }
        let output = said(&stage.lockgate_asking(&renew));
        assert!(output.contains("site.example: renewed"), "{what}: {output}");
        stage.is_good_for_both(&stage.version());
        assert_eq!(stage.accounts().len(), 1, "{what}");
    }
    panic!("it never survives");
}
