//! Lockgate in front of an application, on both ports: challenges are answered within, visitors are led to TLS.

use std::time::Duration;

use test_support::{
    Sighting, Trust,
    ca_front::{Endpoint, Fault},
};

use super::{
    assert_nobody_failed,
    scene::{Scene, Stage},
    swaps::Swaps,
    told,
};

/// The first certificates come while visitors of both ports are there, then each is renewed twice.
#[test]
fn a_front_proxy_shows_a_placeholder_then_certificates_and_then_others_and_loses_nobody() {
    let names = ["site.example", "www.example", "shop.example"].map(str::to_owned);
    let scene = Scene::new(&names, Stage { application_port: 8080, validity: 60 });
    let mut config = format!(
        "[[listener]]\nname = \"http\"\naddress = [\"0.0.0.0:80\", \"[::]:80\"]\n\
         [[listener]]\nname = \"https\"\naddress = [\"0.0.0.0:443\", \"[::]:443\"]\ntls = true\n\
         [[authenticator]]\nname = \"memory\"\nuse = \"standalone\"\n{}authenticator = \"memory\"\n\
         [[route]]\nlistener = [\"http\"]\nchain = [{{ use = \"acme-challenge\", authenticator = \"memory\" }},\n\
         {{ use = \"https-redirect\", otherwise = \"refuse\" }}]\n\
         [[route]]\nlistener = [\"https\"]\nchain = [{{ use = \"upstream\", servers = [\"127.0.0.1:8080\"] }}]\n",
        scene.acme(),
    );
    for name in &names {
        config += &format!("[[certificate]]\ndomains = [\"{name}\"]\n");
    }
    scene.front.inject(Endpoint::NewOrder, 1, Fault::Hang);
    let mut lockgate = scene.run(&config);

    // Nobody is shown a certificate that others believe before there is one, but everybody is served.
    let plain = scene.visitors(&scene.nginx.site().behind(scene.addresses(80)).over_tls(), 8);
    let early = scene.visitors_who_believe(Trust::Anyone, 14);
    assert!(early.wait_for(100, Duration::from_secs(60)), "{:?}", early.report());
    assert!(early.report().sightings.iter().all(is_placeholder), "{:?}", early.report());
    scene.front.clear_faults();
    scene.wait_for_certificates(&lockgate);
    scene.wait_until_seen(&early);
    let early = early.stop();

    let secure = scene.tls_visitors(14);
    let all = scene.follow(names.len() * 3, Duration::from_secs(120), &secure, || {});
    assert!(all, "{:?} {:?}\n{}", scene.front.spent(), secure.report(), lockgate.output());
    let certificates = scene.settle(&secure);
    let (plain, secure) = (plain.stop(), secure.stop());
    scene.end(&mut lockgate);

    let output = lockgate.output();
    scene.assert_orderly(&certificates);
    assert_eq!(plain.failed, 0, "{:#?}\n{output}", plain.reasons);
    assert!(plain.by_family.iter().all(|count| *count > 100), "{plain:?}");
    for report in [&early, &secure] {
        assert_nobody_failed(report, &names, &output);
    }
    // The last handshake with a placeholder began within a second after there was something better.
    for placeholder in early.sightings.iter().filter(|shown| is_placeholder(shown)) {
        let mut of = certificates.iter().filter(|certificate| certificate.names.contains(&placeholder.name));
        let late = placeholder.last.saturating_duration_since(of.next().unwrap().fetched);
        assert!(late <= Duration::from_secs(1), "{late:?} {placeholder:?}\n{output}");
    }
    let swaps = Swaps::read(&certificates, &secure.sightings);
    swaps.assert_in_time(&output);
    let (issued, requests, p99) = (certificates.len(), plain.requests, plain.p99[0]);
    eprintln!(
        "{issued} certificates; in the clear: {requests} requests (p99 {p99:.0?}); {}; then {}; {swaps}",
        told(&early),
        told(&secure)
    );
}

fn is_placeholder(shown: &Sighting) -> bool {
    String::from_utf8_lossy(&shown.der).contains("Lockgate placeholder")
}
