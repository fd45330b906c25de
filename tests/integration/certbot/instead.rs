//! In certbot's place: what was written for it goes on.

use std::{fs, os::unix::fs::symlink, process::Command, time::Duration};

use test_support::{Nginx, Process};

use super::storage::Stage;
use crate::support::LOCKGATE;

/// A machine on which `certbot` may be ours.
fn stage() -> Stage {
    let stage = Stage::new();
    fs::create_dir(stage.file("bin")).unwrap();
    symlink(LOCKGATE, stage.file("bin/certbot")).unwrap();
    stage
}

impl Stage {
    /// A script, on a machine with Debian's certbot or with ours.
    fn script(&self, is_ours: bool, text: &str) -> Command {
        let mut command = self.place().command("sh");
        command.args(["-euc", text]).current_dir(self.file(""));
        let path = std::env::var("PATH").unwrap();
        if is_ours {
            command.env("PATH", format!("{}:{path}", self.file("bin").display()));
        }
        command.env("DIRS", "--config-dir config --work-dir work --logs-dir logs");
        command.env("SERVER", self.pebble.directory_url()).env("REQUESTS_CA_BUNDLE", self.pebble.ca_file());
        command
    }

    /// Runs it to its end, which is this number.
    fn ends(&self, is_ours: bool, text: &str, code: i32) -> String {
        let mut process = Process::spawn(&self.script(is_ours, text)).unwrap();
        let status = process.wait(Duration::from_secs(90)).unwrap();
        assert_eq!(status.code(), Some(code), "{text}: {}", process.output());
        process.output()
    }
}

const OBTAIN: &str = "certbot certonly $DIRS -n --standalone --agree-tos --register-unsafely-without-email \
                      --server $SERVER -d site.example,www.site.example";

#[test]
fn a_timers_script_runs_unchanged() {
    let stage = stage();
    // Obtained by the real one, with a hook that is stored and one in the directory.
    stage.ends(false, OBTAIN, 0);
    let hooks = stage.file("config/renewal-hooks");
    for moment in ["pre", "deploy", "post"] {
        let directory = hooks.join(moment);
        fs::create_dir_all(&directory).unwrap();
        let hook = directory.join("10-note");
        let text = format!(
            "#!/bin/sh\necho {moment} \"${{RENEWED_LINEAGE:-}}|${{RENEWED_DOMAINS:-}}|${{FAILED_DOMAINS:-}}\" >> {}\n",
            stage.file("noted").display()
        );
        fs::write(&hook, text).unwrap();
        fs::copy(&hook, directory.join("20-copy~")).unwrap();
        fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let renew = "certbot renew $DIRS --quiet --no-random-sleep-on-renew --deploy-hook 'echo deployed >> noted'";
    // Nothing is due, so nothing runs and nothing is said.
    assert_eq!(stage.ends(true, renew, 0), "");
    assert!(!stage.file("noted").exists());
    let noted_by = |is_ours: bool| {
        let _ = fs::remove_file(stage.file("noted"));
        let output = stage.ends(is_ours, &format!("{renew} --force-renewal"), 0);
        assert!(!is_ours || output.is_empty(), "{output}");
        fs::read_to_string(stage.file("noted")).unwrap()
    };
    let (ours, theirs) = (noted_by(true), noted_by(false));
    assert_eq!(stage.version(), "3");
    // What certbot sets for one hook it leaves there for those that come after it.
    let lineage = stage.file("config/live/site.example").display().to_string();
    assert_eq!(ours, theirs.replace(&format!("post {lineage}|"), "post |"));
    let lines: Vec<_> = ours.lines().collect();
    assert_eq!((lines[0], lines.last().copied()), ("pre ||", Some("post |site.example www.site.example|")));
    assert!(lines.contains(&"deployed") && lines.len() == 4, "{ours}");
}

#[test]
fn what_certbots_options_say_is_done() {
    let stage = stage();
    let nginx = Nginx::start_at(&stage.place(), 80).unwrap();
    let root = nginx.root().display().to_string();
    let webroot = format!(
        "certbot certonly $DIRS -n --agree-tos -m a@site.example --server $SERVER -w {root} -d site.example \
         --key-type ecdsa --elliptic-curve secp384r1 --cert-name site.example"
    );
    stage.ends(true, &webroot, 0);
    let conf = fs::read_to_string(stage.file("config/renewal/site.example.conf")).unwrap();
    for line in ["authenticator = webroot", &format!("site.example = {root}"), "elliptic_curve = secp384r1"] {
        assert!(conf.contains(line), "{line} is not in {conf}");
    }
    // The same again keeps it, more names take its place, and both of them find it.
    stage.ends(true, &webroot, 0);
    assert_eq!(stage.version(), "1");
    let unnamed = webroot.replace("--cert-name site.example", "-d www.site.example");
    let output = stage.ends(true, &unnamed, 1);
    assert!(output.contains("--expand"), "{output}");
    stage.ends(true, &format!("{unnamed} --expand"), 0);
    assert_eq!(stage.version(), "2");
    for is_ours in [true, false] {
        let listed = stage.ends(is_ours, "certbot certificates $DIRS", 0);
        assert!(listed.contains("Certificate Name: site.example"), "{listed}");
        assert!(listed.contains("Domains: site.example www.site.example"), "{listed}");
        assert!(listed.contains("(VALID: 89 days)") || listed.contains("(VALID: 90 days)"), "{listed}");
    }
    stage.ends(true, "certbot renew $DIRS --dry-run --server $SERVER --no-random-sleep-on-renew", 0);
    assert_eq!(stage.version(), "2");
    stage.ends(true, "certbot revoke $DIRS -n --cert-path config/live/site.example/cert.pem --reason superseded --delete-after-revoke", 0);
    assert!(!stage.file("config/live/site.example").exists());
    // Usage and failures have certbot's numbers.
    stage.ends(true, "certbot certonly $DIRS --no-such-option", 2);
    stage.ends(true, "certbot delete $DIRS -n --cert-name nobody.example", 1);
    stage.ends(true, "certbot certonly $DIRS -n --server $SERVER -w no/such/directory -d elsewhere.invalid", 1);
}
