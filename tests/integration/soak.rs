//! Renewals in minutes that a site has in years, under load: nobody notices.

mod front_proxy;
mod pulse;
mod scene;
mod slow_disk;
pub(crate) mod swaps;

use std::time::{Duration, Instant};

use test_support::TlsReport;

use self::{
    pulse::Pulse,
    scene::{Scene, Stage},
    swaps::Swaps,
};
use crate::support;

/// An application owns port 80 and Lockgate ends TLS beside it. A third of the certificates is proven by files that the
/// application shows, a third in handshakes, a third by stepping in front of the application.
#[test]
fn a_hundred_renewals_are_noticed_by_no_visitor() {
    let names: Vec<String> =
        (1..=EACH).flat_map(|number| HANDS.map(|hands| format!("{hands}-{number}.example"))).collect();
    let scene = Scene::new(&names, Stage { application_port: 80, validity: 180 });
    let mut config = format!(
        "[[listener]]\nname = \"https\"\naddress = [\"0.0.0.0:443\", \"[::]:443\"]\ntls = true\n\
         [[authenticator]]\nname = \"files\"\nuse = \"webroot\"\npath = \"{}\"\nstate = \"{}\"\n\
         [[authenticator]]\nname = \"handshake\"\nuse = \"tls-alpn\"\n\
         [[authenticator]]\nname = \"gate\"\nuse = \"standalone\"\n\
         [interception]\nport = 80\n{}\
         [[route]]\nchain = [{{ use = \"upstream\", servers = [\"127.0.0.1:80\"] }}]\n",
        scene.nginx.root().display(),
        scene.storage.path().join("webroot").display(),
        scene.acme(),
    );
    for name in &names {
        let hands = name.split('-').next().unwrap();
        config += &format!("[[certificate]]\ndomains = [\"{name}\"]\nauthenticator = \"{hands}\"\n");
    }
    let mut lockgate = scene.run(&config);
    scene.wait_for_certificates(&lockgate);

    let begun = Instant::now();
    // While Lockgate is in between, the application is still reached at the address that the visitor dialled.
    let plain = scene.visitors(&scene.nginx.site(), PLAIN);
    let secure = scene.tls_visitors(SECURE);
    let mut pulse = Pulse::of(lockgate.id());
    let all = scene.follow(names.len() + RENEWALS, LONGEST, &secure, || pulse.take());
    assert!(all, "{:?} {:?}\n{}", scene.front.spent(), secure.report(), lockgate.output());
    let took = begun.elapsed();
    let certificates = scene.settle(&secure);
    let (plain, secure) = (plain.stop(), secure.stop());
    scene.end(&mut lockgate);

    let output = lockgate.output();
    let renewals = certificates.len() - names.len();
    assert!(renewals >= RENEWALS, "{renewals}");
    for hands in HANDS {
        let of = certificates.iter().filter(|certificate| certificate.names[0].starts_with(hands)).count() - EACH;
        assert!(of >= RENEWALS / 3 - EACH, "{hands}: {of} renewals");
    }
    scene.assert_orderly(&certificates);
    assert_eq!(plain.failed, 0, "{:#?}\n{output}", plain.reasons);
    assert!(plain.by_family.iter().all(|count| *count > 1000), "{plain:?}");
    assert_nobody_failed(&secure, &names, &output);
    assert!(secure.over_http2 > 100 && secure.resumed > 100, "{secure:?}");
    let swaps = Swaps::read(&certificates, &secure.sightings);
    swaps.assert_in_time(&output);
    pulse.assert_flat();
    let challenges = scene.nginx.root().join(".well-known");
    assert!(!challenges.exists(), "a challenge is left in {}", challenges.display());
    support::assert_no_table(scene.site());
    let (requests, p99) = (plain.requests, plain.p99[0]);
    eprintln!(
        "{renewals} renewals in {took:.0?}; in the clear: {requests} requests (p99 {p99:.0?}); {}; {swaps}; {pulse}",
        told(&secure)
    );
}

fn assert_nobody_failed(secure: &TlsReport, names: &[String], output: &str) {
    assert_eq!((secure.failed_handshakes, secure.failed), (0, 0), "{:#?}\n{output}", secure.reasons);
    assert!(secure.by_family.iter().all(|count| *count > 50), "{secure:?}");
    for name in names {
        assert!(secure.by_name.get(name).is_some_and(|count| *count > 10), "{name}: {:?}", secure.by_name);
    }
}

fn told(secure: &TlsReport) -> String {
    let TlsReport { handshakes, resumed, p99, requests, over_http2, .. } = secure;
    format!(
        "TLS: {handshakes} handshakes ({resumed} resumed, p99 {p99:.0?}), {requests} requests ({over_http2} over HTTP/2)"
    )
}

/// The authenticators, by the beginning of the names that they prove.
const HANDS: [&str; 3] = ["files", "handshake", "gate"];
/// Certificates for each of them.
const EACH: usize = 7;
const RENEWALS: usize = 100;
/// Visitors, of port 80 and of port 443: both kinds keep two cores busy, and leave some time for the rest of the world.
const PLAIN: usize = 8;
const SECURE: usize = 14;
/// A quarter of it is enough on two cores that many want.
const LONGEST: Duration = Duration::from_secs(480);
