//! A process that is killed in the middle of writing loses nothing.

use std::{path::Path, process::Command, time::Duration};

use test_support::{Pebble, Place, Process, require, scratch_dir};

use crate::support::{killed_at, obtain};

/// System calls by which files get their contents and names on disk.
const CALLS: &str = "fsync,rename,renameat,renameat2,symlink,symlinkat";

fn command(pebble: &Pebble, storage: &Path, port: u16, options: &[&str]) -> Command {
    let mut command = obtain(&Place::Loopback, pebble, storage, &["site.example"]);
    command.args(["--listen", &format!("127.0.0.1:{port}"), "--json"]).args(options);
    command
}

fn run(command: &Command) -> (bool, String) {
    let mut process = Process::spawn(command).unwrap();
    let status = process.wait(Duration::from_secs(60)).unwrap();
    (status.success(), process.output())
}

/// The same command, killed by the kernel at the `number`th of [`CALLS`].
fn killed(number: usize, command: &Command) -> Command {
    let mut traced = killed_at(&Place::Loopback, CALLS, number);
    traced.args(command.get_args());
    traced
}

#[test]
fn a_kill_at_any_write_leaves_a_certificate_that_loads_and_a_next_run_that_succeeds() {
    require("strace").unwrap();
    let held = Place::Loopback.reserve(std::net::Ipv4Addr::LOCALHOST, 0).unwrap();
    let port = held.port();
    let pebble = Pebble::start(port).unwrap();
    // A first run and a renewal write different things.
    for renewal in [false, true] {
        let mut number = 0;
        loop {
            number += 1;
            assert!(number < 100, "it never survives");
            let storage = scratch_dir().unwrap();
            if renewal {
                let (succeeded, output) = run(&command(&pebble, storage.path(), port, &[]));
                assert!(succeeded, "{output}");
            }
            let (survived, output) = run(&killed(number, &command(&pebble, storage.path(), port, &["--force"])));
            if survived {
                // strace counts the calls of each thread, and one thread writes all files.
                assert!(number > 12, "only {number} writes were interrupted: {output}");
                break;
            }
            // What was there is there, or what was about to be.
            let (loads, output) = run(&command(&pebble, storage.path(), port, &[]));
            assert!(loads, "after a kill at write {number}: {output}");
            assert!(!renewal || output.contains("\"unchanged\""), "after a kill at write {number}: {output}");
            for file in
                ["live/site.example/fullchain.pem", "live/site.example/privkey.pem", "renewal/site.example.conf"]
            {
                assert!(storage.path().join(file).exists(), "{file} is missing after a kill at write {number}");
            }
            let (again, output) = run(&command(&pebble, storage.path(), port, &["--force"]));
            assert!(again && output.contains("\"issued\""), "after a kill at write {number}: {output}");
            let drafts =
                Command::new("find").arg(storage.path()).args(["-name", ".lockgate-draft-*"]).output().unwrap();
            let drafts = String::from_utf8_lossy(&drafts.stdout).into_owned();
            assert!(!drafts.contains("archive") && !drafts.contains("live/site"), "{drafts}");
        }
    }
}
