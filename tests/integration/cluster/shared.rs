//! A balancer that only shows what is in a directory that others write.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;
use test_support::{Authority, Lockgate, Process, Signal, TlsClient, poll};

use crate::support::LOCKGATE;

/// The directory, and an authority.
struct Shared {
    authority: Authority,
    directory: TempDir,
}

impl Shared {
    fn new() -> Self {
        Self { authority: Authority::new().unwrap(), directory: test_support::scratch_dir().unwrap() }
    }

    fn path(&self, text: &str) -> PathBuf {
        self.directory.path().join(text)
    }

    /// The configuration of a balancer.
    fn config(&self, keys: &str) -> String {
        let (certificate, key) = (self.path("all/live/site/fullchain.pem"), self.path("all/live/site/privkey.pem"));
        format!(
            "[[listener]]\nname = \"https\"\naddress = [\"127.0.0.1:0\"]\ntls = true\n\
             [[certificate]]\ncertificate = {certificate:?}\nkey = {key:?}\n{keys}\n\
             [[route]]\nchain = [{{ use = \"upstream\", servers = [\"127.0.0.1:1\"] }}]\n"
        )
    }

    /// Adds a version, as the master does. Its certificate is for `v1.example`, and so on.
    fn add(&self, number: u32) {
        let made = self.authority.issue(&format!("v{number}"), &[&format!("v{number}.example")]).unwrap();
        let (archive, live) = (self.path("all/archive/site"), self.path("all/live/site"));
        for directory in [&archive, &live] {
            fs::create_dir_all(directory).unwrap();
        }
        let file = |kind: &str| archive.join(format!("{kind}{number}.pem"));
        fs::copy(&made.key, file("privkey")).unwrap();
        fs::copy(&made.certificate, file("cert")).unwrap();
        fs::copy(&made.certificate, file("fullchain")).unwrap();
        fs::write(file("chain"), "").unwrap();
        for kind in ["privkey", "cert", "chain", "fullchain"] {
            symlink(format!("../../archive/site/{kind}{number}.pem"), live.join("draft")).unwrap();
            fs::rename(live.join("draft"), live.join(format!("{kind}.pem"))).unwrap();
        }
    }

    fn is_shown(&self, balancer: &Lockgate, number: u32) -> bool {
        let name = format!("v{number}.example");
        TlsClient::connect(balancer.address(), &self.authority.ca_file(), &name, &[]).is_ok()
    }

    fn wait_until_shown(&self, balancer: &Lockgate, number: u32) {
        let shown = poll(SOON, || self.is_shown(balancer, number).then_some(()));
        assert!(shown.is_some(), "version {number}\n{}", balancer.output());
    }
}

fn reload(balancer: &mut Lockgate, times: usize) {
    balancer.signal(Signal::HUP);
    let reloaded =
        poll(Duration::from_secs(20), || (balancer.output().matches(RELOADED).count() == times).then_some(()));
    assert!(reloaded.is_some(), "{}", balancer.output());
}

#[test]
fn a_balancer_waits_for_its_first_certificate_and_loses_none_while_the_directory_is_away() {
    let shared = Shared::new();
    let mut balancer = Lockgate::run(LOCKGATE, &shared.config("awaited = true")).unwrap();
    assert!(balancer.output().contains("its files are not there yet"), "{}", balancer.output());
    for number in 1..=3 {
        shared.add(number);
        shared.wait_until_shown(&balancer, number);
        assert!(!shared.is_shown(&balancer, number - 1));
    }
    assert!(!balancer.output().contains(" ERROR "), "{}", balancer.output());
    // As when it is not mounted.
    fs::rename(shared.path("all"), shared.path("away")).unwrap();
    reload(&mut balancer, 1);
    assert!(shared.is_shown(&balancer, 3), "{}", balancer.output());
    fs::rename(shared.path("away"), shared.path("all")).unwrap();
    shared.add(4);
    shared.wait_until_shown(&balancer, 4);
    reload(&mut balancer, 2);
    assert!(shared.is_shown(&balancer, 4), "{}", balancer.output());
}

#[test]
fn a_file_that_is_missing_is_a_mistake_unless_it_is_awaited() {
    let shared = Shared::new();
    let check = |keys: &str| {
        let file = shared.path("lockgate.toml");
        fs::write(&file, shared.config(keys)).unwrap();
        let mut check = Process::spawn(Command::new(LOCKGATE).args(["check", "--config"]).arg::<&Path>(&file)).unwrap();
        (check.wait(SOON).unwrap().success(), check.output())
    };
    let (is_good, told) = check("");
    assert!(!is_good && told.contains("`awaited = true` if it comes later"), "{told}");
    let (is_good, told) = check("awaited = true");
    assert!(is_good && told.contains("its files are not there yet"), "{told}");
}

const RELOADED: &str = "Reloading config file finished";
/// A balancer looks every two seconds.
const SOON: Duration = Duration::from_secs(10);
