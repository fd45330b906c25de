//! The set-up that this project grew out of, with its own configuration file: a firewall leads port 80 to the proxy, certbot
//! answers on 12346, and the application stays where it is.

use std::{io::Write as _, net::SocketAddr, path::Path, process::Stdio, time::Duration};

use test_support::{Namespace, Network, Nginx, Pebble, PebbleOptions, Phase, Place, Process, Visitors};

use crate::support::LOCKGATE;

/// Every source but loopback.
const RULES: &str = "table inet original {
    chain prerouting {
        type nat hook prerouting priority dstnat;
        iifname != \"lo\" tcp dport 80 redirect to :12345
    }
}";

fn lead_to_proxy(namespace: &Namespace) {
    let mut nft = namespace.command("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    nft.stdin.take().unwrap().write_all(RULES.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success());
}

#[test]
fn certbot_and_the_application_are_served_at_once() {
    let network = Network::new(["site", "visitors", "authority"]).unwrap();
    let [site, visitors, authority] = network.hosts();
    let place = Place::from(site);
    let nginx = Nginx::start_at(&place, 80).unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/tinyproxy.conf");
    let mut command = place.command(LOCKGATE);
    command.args(["tinyproxy", "-d", "-c"]).arg(file);
    let mut proxy = Process::spawn(&command).unwrap();
    for ip in [site.ipv4().into(), site.ipv6().into()] {
        proxy.wait_for_port(&place, SocketAddr::new(ip, 12345), Duration::from_secs(20)).unwrap();
    }
    lead_to_proxy(site);
    let options =
        PebbleOptions { place: authority.into(), site: site.into(), http_port: 80, ipv6: true, refused_nonces: 0 };
    let pebble = Pebble::with(options).unwrap();

    let addresses = vec![SocketAddr::from((site.ipv4(), 80)), SocketAddr::from((site.ipv6(), 80))];
    let load = Visitors::start(&visitors.into(), &nginx.site().behind(addresses), 16);
    assert!(load.wait_for(500, Duration::from_secs(60)), "the visitors are too slow");
    load.enter(Phase::During);
    let directory = test_support::scratch_dir().unwrap();
    let mut command = place.command("certbot");
    command.args(["certonly", "--non-interactive", "--agree-tos", "--register-unsafely-without-email"]);
    command.args(["--standalone", "--http-01-port", "12346", "-d", "site.example", "-d", "www.site.example"]);
    for (option, name) in [("--config-dir", "config"), ("--work-dir", "work"), ("--logs-dir", "logs")] {
        command.arg(option).arg(directory.path().join(name));
    }
    command.args(["--server", &pebble.directory_url()]).env("REQUESTS_CA_BUNDLE", pebble.ca_file());
    let mut certbot = Process::spawn(&command).unwrap();
    let status = certbot.wait(Duration::from_secs(120)).unwrap();
    load.enter(Phase::After);
    load.wait_for(load.requests() + 500, Duration::from_secs(60));
    let report = load.stop();
    assert!(status.success(), "{}\n{}\n{}", certbot.output(), pebble.output(), proxy.output());
    assert!(directory.path().join("config/live/site.example/fullchain.pem").exists(), "{}", certbot.output());
    assert_eq!(report.failed, 0, "{:#?}", report.reasons);
    assert!(report.in_phase.iter().all(|count| *count > 100), "{:?}", report.in_phase);
    assert!(report.by_family.iter().all(|count| *count > 100), "{:?}", report.by_family);
}
