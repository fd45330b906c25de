//! Trees that a power failure or a killed certbot left: they load, and are never made worse.

use std::{fs, os::unix::fs::symlink, path::Path};

use super::storage::{Stage, said};

const KINDS: [&str; 4] = ["privkey", "cert", "chain", "fullchain"];

/// Lets a link lead to this version, as certbot does it.
fn lead(live: &Path, kind: &str, version: u32) {
    let link = live.join(format!("{kind}.pem"));
    let _ = fs::remove_file(&link);
    symlink(format!("../../archive/site.example/{kind}{version}.pem"), link).unwrap();
}

/// What certbot keeps of the links before it changes them.
fn keep(live: &Path, kind: &str, version: u32) {
    symlink(format!("../../archive/site.example/{kind}{version}.pem"), live.join(format!("previous_{kind}.pem")))
        .unwrap();
}

/// What happens to `live` and to `archive`.
type Damage = fn(&Path, &Path);

#[test]
fn what_a_power_failure_left_of_certbots_tree_loads_and_is_renewed() {
    let damages: [(&str, Damage); 6] = [
        ("a link is gone, with all that certbot keeps", |live, _| {
            KINDS.iter().for_each(|kind| keep(live, kind, 2));
            fs::remove_file(live.join("privkey.pem")).unwrap();
        }),
        ("a link is gone, with some of what certbot keeps", |live, _| {
            KINDS[1..].iter().for_each(|kind| keep(live, kind, 2));
            fs::remove_file(live.join("privkey.pem")).unwrap();
        }),
        ("the links are a version behind", |live, _| KINDS.iter().for_each(|kind| lead(live, kind, 1))),
        ("the links lead to two versions", |live, _| lead(live, "privkey", 1)),
        ("a version is empty", |live, archive| {
            for kind in KINDS {
                fs::write(archive.join(format!("{kind}3.pem")), "").unwrap();
                lead(live, kind, 3);
            }
        }),
        ("a version has another one's key", |live, archive| {
            for kind in KINDS {
                let from = if kind == "privkey" { 1 } else { 2 };
                fs::copy(archive.join(format!("{kind}{from}.pem")), archive.join(format!("{kind}3.pem"))).unwrap();
                lead(live, kind, 3);
            }
        }),
    ];
    let stage = Stage::new();
    stage.made_by_certbot(&[]);
    said(&stage.certbot("renew", &["--force-renewal", "--no-random-sleep-on-renew"]));
    let whole = stage.storage().with_file_name("whole");
    let copy = |from: &Path, to: &Path| said(std::process::Command::new("cp").arg("-a").args([from, to]));
    copy(&stage.storage(), &whole);
    for (what, damage) in damages {
        fs::remove_dir_all(stage.storage()).unwrap();
        copy(&whole, &stage.storage());
        let (live, archive) = (stage.storage().join("live/site.example"), stage.storage().join("archive/site.example"));
        damage(&live, &archive);
        let kept = fs::read(archive.join("privkey2.pem")).unwrap();
        let listed = said(&stage.lockgate(&["cert", "list"]));
        assert!(listed.contains("site.example  valid"), "{what}: {listed}");
        let output = said(&stage.lockgate_asking(&["cert", "renew", "--force-renewal"]));
        assert!(output.contains("renewed"), "{what}: {output}");
        let version = stage.version();
        assert!(["3", "4"].contains(&version.as_str()), "{what}: {version}");
        stage.is_good_for_both(&version);
        assert_eq!(fs::read(archive.join("privkey2.pem")).unwrap(), kept, "{what}");
    }
}
