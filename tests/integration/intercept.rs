//! A certificate for a live site, through the gate, with not one request lost.

use std::time::Duration;

use crate::support::{self, Stage, obtain};
use test_support::{
    CaFront, Lockgate, Network, Nginx, Pebble, Phase, Place, Process, Report, Visitors,
    ca_front::{Endpoint, Fault, Times},
    poll,
};

fn whole_run(method: &str, requests: u64) -> Report {
    let network = Network::new(["site", "visitors", "authority"]).unwrap();
    let [site, visitors, authority] = network.hosts();
    let nginx = Nginx::start_at(&Place::from(site), 80).unwrap();
    let pebble = Pebble::in_network(authority, site, true).unwrap();
    let storage = test_support::scratch_dir().unwrap();

    let mut watched = nginx.site();
    // While Lockgate is in between, the application is still reached at the address that the visitor dialled.
    watched.served_at = true;
    let load = Visitors::start(&Place::from(visitors), &watched, 32);
    assert!(load.wait_for(requests / 4, Duration::from_secs(120)), "the visitors are too slow");
    load.enter(Phase::During);
    let mut command = obtain(&Place::from(site), &pebble, storage.path(), &["site.example", "www.site.example"]);
    command.args(["--intercept", "80", "--method", method]);
    let mut lockgate = Process::spawn(&command).unwrap();
    let status = lockgate.wait(Duration::from_secs(120)).unwrap();
    load.enter(Phase::After);
    assert!(status.success(), "{}\n{}", lockgate.output(), pebble.output());
    let target = load.requests() + requests / 4;
    load.wait_for(target.max(requests), Duration::from_secs(180));
    let report = load.stop();

    assert!(storage.path().join("live/site.example/fullchain.pem").exists(), "{}", lockgate.output());
    assert_eq!(report.failed, 0, "{:#?}\n{}", report.reasons, lockgate.output());
    assert!(report.requests >= requests, "only {} requests", report.requests);
    assert!(report.by_family.iter().all(|count| *count > requests / 4), "{:?}", report.by_family);
    assert!(report.in_phase.iter().all(|count| *count > 0), "{:?}", report.in_phase);
    support::assert_no_table(site);
    eprintln!("{method}: {} requests, {:?} in the phases, p99 {:?}", report.requests, report.in_phase, report.p99);
    report
}

#[test]
fn no_visitor_notices_tproxy() {
    whole_run("tproxy", 20_000);
}

#[test]
fn no_visitor_notices_a_redirect() {
    whole_run("redirect", 20_000);
}

/// kill -9 at each stage: the site answers directly within a second, no table is left, and the next run succeeds.
#[test]
fn a_kill_at_any_stage_harms_nobody() {
    let network = Network::new(["site", "visitors", "authority"]).unwrap();
    let [site, visitors, authority] = network.hosts();
    let nginx = Nginx::start_at(&Place::from(site), 80).unwrap();
    let pebble = Pebble::in_network(authority, site, true).unwrap();
    for stage in Stage::ALL {
        let storage = test_support::scratch_dir().unwrap();
        let command = {
            let mut command = obtain(&Place::from(site), &pebble, storage.path(), &["site.example"]);
            command.arg("--intercept");
            command
        };
        let mut lockgate = Process::spawn(&command).unwrap();
        let reached = lockgate.wait_for_line(stage.line(), Duration::from_secs(60), |line| line.contains(stage.line()));
        reached.unwrap();
        lockgate.kill();
        support::site_answers(visitors, nginx.site(), Duration::from_secs(1));
        support::wait_for_no_table(site, Duration::from_secs(1));
        let mut again = Process::spawn(&command).unwrap();
        let status = again.wait(Duration::from_secs(60)).unwrap();
        assert!(status.success(), "after a kill at {stage:?}: {}", again.output());
        assert!(storage.path().join("live/site.example/privkey.pem").exists());
    }
}

#[test]
fn ctrl_c_undoes_everything() {
    let network = Network::new(["site", "visitors", "authority"]).unwrap();
    let [site, visitors, authority] = network.hosts();
    let nginx = Nginx::start_at(&Place::from(site), 80).unwrap();
    let pebble = Pebble::in_network(authority, site, true).unwrap();
    let storage = test_support::scratch_dir().unwrap();
    let mut command = obtain(&Place::from(site), &pebble, storage.path(), &["site.example"]);
    command.arg("--intercept");
    let mut lockgate = Process::spawn(&command).unwrap();
    lockgate.wait_for_line("the gate", Duration::from_secs(60), |line| line.contains(Stage::GateOpen.line())).unwrap();
    lockgate.signal(test_support::Signal::INT);
    let status = lockgate.wait(Duration::from_secs(30)).unwrap();
    assert_eq!(status.code(), Some(1), "{}", lockgate.output());
    assert!(lockgate.output().contains("interrupted after"), "{}", lockgate.output());
    support::assert_no_table(site);
    support::site_answers(visitors, nginx.site(), Duration::from_secs(1));
}

/// certbot's standalone server is stopped for 30 seconds by one such visitor.
#[test]
fn two_hundred_silent_visitors_delay_nothing() {
    let network = Network::new(["site", "visitors", "authority"]).unwrap();
    let [site, visitors, authority] = network.hosts();
    let nginx = Nginx::start_at(&Place::from(site), 80).unwrap();
    let pebble = Pebble::in_network(authority, site, true).unwrap();
    let storage = test_support::scratch_dir().unwrap();
    let held = support::silent_connections(visitors, nginx.addresses(), 200);
    let started = std::time::Instant::now();
    let mut command = obtain(&Place::from(site), &pebble, storage.path(), &["site.example"]);
    command.arg("--intercept");
    let mut lockgate = Process::spawn(&command).unwrap();
    // More of them come while the gate is open.
    lockgate.wait_for_line("the gate", Duration::from_secs(60), |line| line.contains(Stage::GateOpen.line())).unwrap();
    let more = support::silent_connections(visitors, nginx.addresses(), 200);
    lockgate
        .wait_for_line("the end of validation", Duration::from_secs(30), |line| line.contains("is proven"))
        .unwrap();
    let status = lockgate.wait(Duration::from_secs(60)).unwrap();
    let took = started.elapsed();
    assert!(status.success(), "{}", lockgate.output());
    assert!(took < Duration::from_secs(5), "it took {took:?}");
    drop((held, more));
}

/// The proxy of another service of this machine, which looks after the application's certificate.
fn steps_in(listener: &str, interception: &str) {
    let network = Network::new(["site", "visitors", "authority"]).unwrap();
    let [site, visitors, authority] = network.hosts();
    let nginx = Nginx::start_at(&Place::from(site), 80).unwrap();
    let pebble = Pebble::in_network(authority, site, true).unwrap();
    let front = CaFront::start(&pebble).unwrap();
    let storage = test_support::scratch_dir().unwrap();
    let mut watched = nginx.site();
    watched.served_at = true;
    let load = Visitors::start(&Place::from(visitors), &watched, 16);
    assert!(load.wait_for(500, Duration::from_secs(60)), "the visitors are too slow");
    load.enter(Phase::During);
    let config = format!(
        "[server]\nshards = 2\n[[listener]]\nname = \"other\"\naddress = [\"127.0.0.1:0\"]\n{listener}\
         [[authenticator]]\nname = \"memory\"\nuse = \"standalone\"\n\
         [acme]\ndirectory = \"{}\"\nca = \"{}\"\nagree_to_terms = true\nstorage = \"{}\"\nauthenticator = \"memory\"\n\
         [[certificate]]\ndomains = [\"site.example\"]\n[interception]\n{interception}\n\
         [[route]]\nchain = [{{ use = \"acme-challenge\", authenticator = \"memory\" }}, \
         {{ use = \"upstream\", servers = [\"original-destination\"] }}]\n",
        front.directory_url(),
        front.ca_file().display(),
        storage.path().display(),
    );
    let lockgate = Lockgate::run_at(&Place::from(site), support::LOCKGATE, &config).unwrap();
    let done = || lockgate.output().contains("interception ended").then_some(());
    poll(Duration::from_secs(60), done).unwrap_or_else(|| panic!("{}\n{}", lockgate.output(), pebble.output()));
    load.enter(Phase::After);
    let target = load.requests() + 300;
    assert!(load.wait_for(target, Duration::from_secs(60)));
    let report = load.stop();
    assert_eq!(report.failed, 0, "{:#?}\n{}", report.reasons, lockgate.output());
    // The authority has seen what it wanted, and the certificate may be on its way.
    let issued = || lockgate.output().contains("there is a new certificate").then_some(());
    poll(Duration::from_secs(30), issued).unwrap_or_else(|| panic!("{}", lockgate.output()));
    assert!(storage.path().join("live/site.example/fullchain.pem").exists());
    support::assert_no_table(site);
    support::site_answers(visitors, nginx.site(), Duration::from_secs(1));
}

#[test]
fn a_running_proxy_steps_in_for_a_certificate_that_is_due() {
    steps_in("", "port = 80\n");
}

#[test]
fn visitors_are_led_to_a_listener_of_the_running_proxy_by_tproxy() {
    let listener = "[[listener]]\nname = \"intercept\"\naddress = [\"0.0.0.0:8081\", \"[::]:8081\"]\n\
                    transparent = true\nkeep_alive = false\n";
    steps_in(listener, "listener = \"intercept\"\n");
}

#[test]
fn visitors_are_led_to_a_listener_of_the_running_proxy_by_a_redirect() {
    let listener = "[[listener]]\nname = \"intercept\"\naddress = [\"0.0.0.0:8081\", \"[::]:8081\"]\n\
                    redirected = true\nkeep_alive = false\n";
    steps_in(listener, "listener = \"intercept\"\n");
}

/// Whoever kills the process that holds the gate: visitors reach the application again at once, and the proxy rests and goes on.
#[test]
fn a_gate_that_is_taken_away_costs_an_attempt_and_nothing_else() {
    let network = Network::new(["site", "visitors", "authority"]).unwrap();
    let [site, visitors, authority] = network.hosts();
    let nginx = Nginx::start_at(&Place::from(site), 80).unwrap();
    let pebble = Pebble::in_network(authority, site, true).unwrap();
    let front = CaFront::start(&pebble).unwrap();
    front.inject(Endpoint::Challenge, Times::Forever, Fault::Hang);
    let storage = test_support::scratch_dir().unwrap();
    let config = format!(
        "[[listener]]\nname = \"other\"\naddress = [\"127.0.0.1:0\"]\n\
         [[authenticator]]\nname = \"memory\"\nuse = \"standalone\"\n\
         [acme]\ndirectory = \"{}\"\nca = \"{}\"\nagree_to_terms = true\nstorage = \"{}\"\nauthenticator = \"memory\"\n\
         [[certificate]]\ndomains = [\"site.example\"]\n[interception]\n\
         [[route]]\nchain = [{{ use = \"upstream\", servers = [\"127.0.0.1:80\"] }}]\n",
        front.directory_url(),
        front.ca_file().display(),
        storage.path().display(),
    );
    let lockgate = Lockgate::run_at(&Place::from(site), support::LOCKGATE, &config).unwrap();
    let says = |what: &str, within| poll(within, || lockgate.output().contains(what).then_some(()));
    says(Stage::GateOpen.line(), Duration::from_secs(30)).unwrap_or_else(|| panic!("{}", lockgate.output()));
    let holder =
        site.command("pkill").args(["-KILL", "--ns", &lockgate.id().to_string(), "--nslist", "net", "nft"]).status();
    assert!(holder.unwrap().success(), "nobody holds the gate");
    support::site_answers(visitors, nginx.site(), Duration::from_secs(1));
    says("the gate closed by itself", Duration::from_secs(10)).unwrap_or_else(|| panic!("{}", lockgate.output()));
    support::wait_for_no_table(site, Duration::from_secs(5));
    front.clear_faults();
    // It rests for a minute; who asks again now, beside it, is served, and it shows what came.
    let mut again = obtain(&Place::from(site), &pebble, storage.path(), &["site.example"]);
    let mut again = Process::spawn(again.args(["--intercept", "80"])).unwrap();
    assert!(again.wait(Duration::from_secs(60)).unwrap().success(), "{}", again.output());
    says("another certificate is shown", Duration::from_secs(20)).unwrap_or_else(|| panic!("{}", lockgate.output()));
    assert_eq!(lockgate.output().matches("the gate closed by itself").count(), 1, "{}", lockgate.output());
}
