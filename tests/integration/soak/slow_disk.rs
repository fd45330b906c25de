//! A disk on which every write takes its time.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use test_support::{Trust, require};

use super::{
    scene::{Scene, Stage},
    swaps::Swaps,
};
use crate::support::LOCKGATE;

/// What a busy disk was seen to need for one write that lasts, in the worst of a hundred.
const DELAY: Duration = Duration::from_millis(80);

#[test]
fn a_slow_disk_does_not_keep_a_new_certificate_from_being_shown_at_once() {
    require("strace").unwrap();
    let names = ["site.example".to_owned()];
    let scene = Scene::new(&names, Stage { application_port: 80, validity: 60 });
    let slow = scene.storage.path().join("slow");
    let delayed = format!("inject=fsync:delay_enter={}", DELAY.as_micros());
    let options = "-D -f -qq -o /dev/null --seccomp-bpf -e trace=fsync";
    fs::write(&slow, format!("#!/bin/sh\nexec strace {options} -e {delayed} {LOCKGATE} \"$@\"\n")).unwrap();
    fs::set_permissions(&slow, fs::Permissions::from_mode(0o755)).unwrap();
    let config = format!(
        "[[listener]]\nname = \"https\"\naddress = [\"0.0.0.0:443\", \"[::]:443\"]\ntls = true\n\
         [[authenticator]]\nname = \"handshake\"\nuse = \"tls-alpn\"\n{}authenticator = \"handshake\"\n\
         [[certificate]]\ndomains = [\"site.example\"]\n\
         [[route]]\nchain = [{{ use = \"upstream\", servers = [\"127.0.0.1:80\"] }}]\n",
        scene.acme()
    );
    let mut lockgate = scene.run_as(&slow, &config);
    scene.wait_for_certificates(&lockgate);
    // Two, who only look.
    let visitors = scene.visitors_who_believe(Trust::Anyone, 2);
    assert!(scene.follow(4, Duration::from_secs(120), &visitors, || {}), "{}", lockgate.output());
    let certificates = scene.wait_until_seen(&visitors);
    let report = visitors.stop();
    scene.end(&mut lockgate);
    let swaps = Swaps::read(&certificates, &report.sightings);
    swaps.assert_in_time(&lockgate.output());
    assert_eq!(report.failed_handshakes, 0, "{:?}", report.reasons);
    eprintln!("{DELAY:?} for each write: {swaps}");
}
