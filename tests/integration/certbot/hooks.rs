//! The operator's commands, when they fail or hang; and what is remembered of a certificate for its renewals.

use std::{fs, time::Duration};

use super::storage::{Stage, fails, said};
use crate::support::obtain;

#[test]
fn a_deploy_hook_that_failed_is_run_again_and_loses_nothing() {
    let stage = Stage::new();
    stage.made_by_us();
    let flag = stage.storage().join("ready");
    let hook = format!(
        "test -e {} && echo \"$RENEWED_DOMAINS\" >> {}",
        flag.display(),
        stage.storage().join("told").display()
    );
    let renew = ["cert", "renew", "--deploy-hook", &hook];
    let failing = [&renew[..], &["--force-renewal"]].concat();
    let output = fails(&stage.lockgate_asking(&failing), 1);
    assert!(output.contains("a deploy hook failed") && output.contains("deploy hook `test -e"), "{output}");
    stage.is_good_for_both("2");
    // It is not renewed again for that.
    fails(&stage.lockgate_asking(&renew), 1);
    let shown = said(&stage.lockgate(&["cert", "show", "--cert-name", "site.example"]));
    assert!(shown.contains("to be run again"), "{shown}");
    fs::write(&flag, "").unwrap();
    let output = said(&stage.lockgate_asking(&renew));
    assert!(output.contains("site.example: renewed"), "{output}");
    said(&stage.lockgate_asking(&renew));
    assert_eq!(fs::read_to_string(stage.storage().join("told")).unwrap(), "site.example www.site.example\n");
    stage.is_good_for_both("2");
}

#[test]
fn a_hook_that_hangs_is_killed_with_what_it_started() {
    let stage = Stage::new();
    stage.made_by_us();
    let started = stage.storage().join("started");
    let hook = format!("sleep 1000 & echo $! > {}; wait", started.display());
    let arguments = ["cert", "renew", "--force-renewal", "--pre-hook", &hook, "--hook-timeout", "1s"];
    let output = said(&stage.lockgate_asking(&arguments));
    assert!(output.contains("the pre hook") && output.contains("was killed"), "{output}");
    let child = fs::read_to_string(started).unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
    stage.is_good_for_both("2");
}

#[test]
fn a_certificate_is_renewed_in_the_way_that_was_tried_out() {
    let stage = Stage::new();
    stage.made_by_us();
    let before = stage.conf();
    // Nobody serves this directory, so nothing changes.
    let webroot = stage.storage().join("www");
    fs::create_dir(&webroot).unwrap();
    let server = stage.pebble.directory_url();
    let path = webroot.display().to_string();
    let reconfigure = ["cert", "reconfigure", "--cert-name", "site.example", "--server", &server];
    fails(&stage.lockgate_asking(&[&reconfigure[..], &["-w", &path]].concat()), 1);
    assert_eq!(stage.conf(), before);
    let changes = ["--deploy-hook", "true", "--elliptic-curve", "secp384r1"];
    said(&stage.lockgate_asking(&[&reconfigure[..], &changes].concat()));
    assert_eq!(stage.version(), "1", "nothing but the configuration changes");
    let shown = said(&stage.lockgate(&["cert", "show", "--cert-name", "site.example", "--json"]));
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["deploy_hook"], &shown["key"]), (&"true".into(), &"ECDSA P-384".into()));
    said(&stage.lockgate_asking(&["cert", "renew", "--force-renewal"]));
    stage.is_good_for_both("2");
    said(&stage.lockgate_asking(&[&reconfigure[..], &["--deploy-hook", ""]].concat()));
    assert!(!stage.conf().contains("renew_hook"), "{}", stage.conf());
}

#[test]
fn a_rehearsal_proves_every_name_and_saves_nothing() {
    let stage = Stage::new();
    stage.made_by_us();
    let before = stage.conf();
    let validations =
        || stage.pebble.output().matches("authz status").count() + stage.pebble.output().matches("set VALID").count();
    for _ in 0..2 {
        let proven = validations();
        let output = said(&stage.lockgate_asking(&["cert", "renew", "--dry-run"]));
        assert!(output.contains("its names are proven, nothing is saved"), "{output}");
        assert!(output.contains("order placed, 2 name(s) to prove"), "{output}");
        assert!(validations() > proven, "the authority came");
    }
    assert_eq!((stage.version().as_str(), stage.conf()), ("1", before));
    let left = fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    let left: Vec<_> =
        left.filter(|entry| entry.file_name().to_string_lossy().starts_with("lockgate-rehearsal")).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Everything below a directory that is no directory itself.
fn files(directory: &std::path::Path) -> Vec<String> {
    let mut find = std::process::Command::new("find");
    find.current_dir(directory).args([".", "-not", "-type", "d"]);
    let mut all: Vec<_> = said(&find).lines().map(str::to_owned).collect();
    all.sort();
    all
}

#[test]
fn nothing_is_left_of_what_is_deleted() {
    let stage = Stage::new();
    stage.made_by_us();
    said(&stage.lockgate_asking(&["cert", "renew", "--force-renewal", "--deploy-hook", "true"]));
    let all = files(&stage.storage());
    assert!(
        all.iter().any(|file| file.contains("site.example"))
            && all.iter().any(|file| file.contains("private_key.json"))
    );
    said(&stage.lockgate(&["cert", "delete", "--cert-name", "site.example"]));
    let server = stage.pebble.directory_url();
    said(&stage.lockgate_asking(&["account", "deactivate", "--server", &server]));
    // What says how to use the tree, and what it is locked by.
    assert_eq!(files(&stage.storage()), ["./.certbot.lock", "./live/README"]);
}

#[test]
fn shells_and_manuals_know_the_commands() {
    let directory = test_support::scratch_dir().unwrap();
    let lockgate = |arguments: &[&str]| {
        let mut command = std::process::Command::new(crate::support::LOCKGATE);
        command.args(arguments);
        said(&command)
    };
    lockgate(&["man", directory.path().to_str().unwrap()]);
    let pages: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|page| page.unwrap().path()).collect();
    assert!(pages.iter().any(|page| page.ends_with("lockgate-cert-renew.1")), "{pages:?}");
    for page in &pages {
        let mut groff = std::process::Command::new("groff");
        let text = said(groff.args(["-man", "-ww", "-Tutf8"]).arg(page));
        assert!(text.lines().count() > 10 && !text.contains("warning"), "{}: {text}", page.display());
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(lockgate(&["completion", shell]).contains("reconfigure"), "{shell}");
    }
    let script = directory.path().join("completion");
    fs::write(&script, lockgate(&["completion", "bash"])).unwrap();
    let mut bash = std::process::Command::new("bash");
    let ask = "source $0; COMP_WORDS=(lockgate cert re); COMP_CWORD=2; COMP_LINE='lockgate cert re'; \
               _lockgate lockgate re cert; echo \"${COMPREPLY[@]}\"";
    let offered = said(bash.args(["-euc", ask]).arg(&script));
    assert!(["renew", "reconfigure", "revoke"].iter().all(|name| offered.contains(name)), "{offered}");
}

#[test]
fn a_hook_that_certbot_has_stored_is_run_whatever_quotes_it_has() {
    let stage = Stage::new();
    let told = stage.storage().with_file_name("told");
    let hook = format!("sh -c 'echo \"one, two\"' >> {}", told.display());
    stage.made_by_certbot(&["--deploy-hook", &hook]);
    fs::remove_file(&told).unwrap();
    said(&stage.lockgate_asking(&["cert", "renew", "--force-renewal"]));
    assert_eq!(fs::read_to_string(&told).unwrap(), "one, two\n");
    said(&stage.certbot("renew", &["--force-renewal", "--no-random-sleep-on-renew"]));
    assert_eq!(fs::read_to_string(&told).unwrap(), "one, two\none, two\n", "it is stored as it was");
    // One of ours with everything in it is certbot's, too.
    let hook = format!("sh -c 'echo \"three, # four\"' >> {}; true # it's", told.display());
    let server = stage.pebble.directory_url();
    let arguments = ["cert", "reconfigure", "--cert-name", "site.example", "--server", &server, "--deploy-hook", &hook];
    said(&stage.lockgate_asking(&arguments));
    said(&stage.certbot("renew", &["--force-renewal", "--no-random-sleep-on-renew"]));
    assert!(fs::read_to_string(&told).unwrap().ends_with("one, two\nthree, # four\n"));
    stage.is_good_for_both("4");
}

#[test]
fn what_a_pre_hook_stopped_is_started_again_whatever_happens() {
    let stage = Stage::new();
    stage.made_by_us();
    let (stopped, started) = (stage.storage().join("stopped"), stage.storage().join("started"));
    let [stop, start] = [&stopped, &started].map(|file| format!("touch {}", file.display()));
    let webroot = stage.storage().join("www");
    fs::create_dir(&webroot).unwrap();
    // A rehearsal that fails.
    let (server, path) = (stage.pebble.directory_url(), webroot.display().to_string());
    let arguments = ["cert", "reconfigure", "--cert-name", "site.example", "--server", &server, "-w", &path];
    fails(&stage.lockgate_asking(&[&arguments[..], &["--pre-hook", &stop, "--post-hook", &start]].concat()), 1);
    assert!(stopped.exists() && started.exists());
    fs::remove_file(&started).unwrap();
    // A signal while the command runs that stops something.
    let stop = format!("{stop}2; sleep 1000");
    let arguments = ["cert", "renew", "--force-renewal", "--pre-hook", &stop, "--post-hook", &start];
    let mut process = test_support::Process::spawn(&stage.lockgate_asking(&arguments)).unwrap();
    let has_begun = || stage.storage().join("stopped2").exists().then_some(());
    test_support::poll(Duration::from_secs(20), has_begun).expect("the hook runs");
    process.signal(test_support::Signal::TERM);
    assert_eq!(process.wait(Duration::from_secs(20)).unwrap().code(), Some(1), "{}", process.output());
    assert!(started.exists(), "{}", process.output());
}

#[test]
fn names_that_are_no_names_and_accounts_that_are_not_there_change_nothing() {
    let stage = Stage::new();
    stage.made_by_us();
    let before = files(&stage.storage());
    for name in ["", "..", "../x", "../../x", ".hidden", "README"] {
        let mut command = obtain(&stage.place(), &stage.pebble, &stage.storage(), &["site.example"]);
        fails(command.args(["--force", "--cert-name", name]), 1);
        for command in ["delete", "revoke", "show", "reconfigure"] {
            fails(&stage.lockgate(&["cert", command, "--cert-name", name]), 64);
        }
    }
    let server = stage.pebble.directory_url();
    let of =
        |command: &str, id: &str| stage.lockgate_asking(&["account", command, "--server", &server, "--account", id]);
    for command in ["deactivate", "update", "show"] {
        fails(&of(command, "0123456789abcdef"), 64);
    }
    assert_eq!(files(&stage.storage()), before);
    stage.is_good_for_both("1");
}
