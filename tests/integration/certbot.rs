//! Debian's certbot behind Lockgate, and on Lockgate's storage.

mod damage;
mod hooks;
mod instead;
mod kill;
mod storage;

use std::{fs, net::SocketAddr, path::Path, process::Command, time::Duration};

use test_support::{
    Connection, Lockgate, Namespace, Network, Nginx, Origin, Pebble, PebbleOptions, Phase, Place, Process, Visitors,
};

use crate::support::{LOCKGATE, obtain};

const CHALLENGE: &str = "/.well-known/acme-challenge/";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: site.example\r\n\r\n")
}

/// Lockgate at `listen` with this link before the application.
fn config(listen: &str, authenticator: &str, link: &str, application: SocketAddr) -> String {
    format!(
        "[[listener]]\nname = \"http\"\naddress = [{listen}]\n{authenticator}\n\
         [[route]]\nchain = [\n  {{ use = \"acme-challenge\", {link} }},\n\
         {{ use = \"upstream\", servers = [\"{application}\"] }},\n]\n"
    )
}

/// certbot on directories of its own, in a place.
pub(crate) fn certbot(place: &Place, directory: &Path, subcommand: &str) -> Command {
    let mut command = place.command("certbot");
    command.arg(subcommand).arg("--non-interactive");
    for (option, name) in [("--config-dir", "config"), ("--work-dir", "work"), ("--logs-dir", "logs")] {
        command.arg(option).arg(directory.join(name));
    }
    command
}

/// certbot obtains a certificate in this way while the site that Lockgate serves is under load.
fn obtains_under_load(
    network: &Network<3>,
    how: &[&str],
    authenticator: &str,
    link: &str,
    meanwhile: impl FnOnce(&Namespace, &Namespace),
) {
    let [site, visitors, authority] = network.hosts();
    let place = Place::from(site);
    let nginx = Nginx::start_at(&place, 8080).unwrap();
    let application = SocketAddr::from((site.ipv4(), 8080));
    let listen = format!("\"{}:80\", \"[{}]:80\"", site.ipv4(), site.ipv6());
    let lockgate = Lockgate::run_at(&place, LOCKGATE, &config(&listen, authenticator, link, application)).unwrap();
    // certbot asks for another nonce once, and then gives up.
    let options =
        PebbleOptions { place: authority.into(), site: site.into(), http_port: 80, ipv6: true, refused_nonces: 0 };
    let pebble = Pebble::with(options).unwrap();
    meanwhile(site, visitors);

    let addresses = vec![SocketAddr::from((site.ipv4(), 80)), SocketAddr::from((site.ipv6(), 80))];
    let load = Visitors::start(&visitors.into(), &nginx.site().behind(addresses), 16);
    assert!(load.wait_for(500, Duration::from_secs(60)), "the visitors are too slow");
    load.enter(Phase::During);
    let directory = test_support::scratch_dir().unwrap();
    let mut command = certbot(&place, directory.path(), "certonly");
    command.args(["--agree-tos", "--register-unsafely-without-email", "--server", &pebble.directory_url()]);
    command.args(["-d", "site.example", "-d", "www.site.example"]).args(how);
    command.env("REQUESTS_CA_BUNDLE", pebble.ca_file());
    let mut certbot = Process::spawn(&command).unwrap();
    let status = certbot.wait(Duration::from_secs(120)).unwrap();
    load.enter(Phase::After);
    load.wait_for(load.requests() + 500, Duration::from_secs(60));
    let report = load.stop();
    assert!(status.success(), "{}\n{}\n{}", certbot.output(), pebble.output(), lockgate.output());
    assert!(directory.path().join("config/live/site.example/fullchain.pem").exists(), "{}", certbot.output());
    assert_eq!(report.failed, 0, "{:#?}\n{}", report.reasons, lockgate.output());
    assert!(report.in_phase.iter().all(|count| *count > 100), "{:?}", report.in_phase);
}

#[test]
fn certbot_standalone_obtains_behind_forward() {
    let network = Network::new(["site", "visitors", "authority"]).unwrap();
    let how = ["--standalone", "--http-01-port", "12346"];
    obtains_under_load(&network, &how, "", "forward = \"http://127.0.0.1:12346\"", |site, visitors| {
        // certbot does not run yet: the application answers.
        let stream = Place::from(visitors).connect((site.ipv4(), 80).into()).unwrap();
        let response = Connection::over(stream).unwrap().exchange(get(&format!("{CHALLENGE}unknown"))).unwrap();
        assert_eq!(
            (response.status, response.header("server").is_some_and(|name| name.contains("nginx"))),
            (404, true)
        );
    });
}

#[test]
fn certbot_webroot_obtains_through_our_webroot() {
    let network = Network::new(["site", "visitors", "authority"]).unwrap();
    let (webroot, state) = (test_support::scratch_dir().unwrap(), test_support::scratch_dir().unwrap());
    let (path, state) = (webroot.path().display().to_string(), state.path().display().to_string());
    let authenticator =
        format!("[[authenticator]]\nname = \"files\"\nuse = \"webroot\"\npath = \"{path}\"\nstate = \"{state}\"\n");
    let how = ["--webroot", "--webroot-path", &path];
    obtains_under_load(&network, &how, &authenticator, "authenticator = \"files\"", |_, _| {});
}

/// An application with a challenge of its own, and what Lockgate before it answers to it.
fn asked_for_the_applications_own(forward: &str) -> (u16, String) {
    let nginx = Nginx::start_at(&Place::Loopback, 0).unwrap();
    let directory = nginx.root().join(CHALLENGE.trim_start_matches('/'));
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("own"), "the application's").unwrap();
    let link = format!("forward = \"{forward}\"");
    let config = config("\"127.0.0.1:0\"", "", &link, nginx.addresses()[0]);
    let lockgate = Lockgate::run(LOCKGATE, &config).unwrap();
    let mut client = Connection::open(lockgate.address()).unwrap();
    let response = client.exchange(get(&format!("{CHALLENGE}own"))).unwrap();
    assert_eq!(client.exchange(get("/")).unwrap().body, &*nginx.site().page.1);
    (response.status, response.text())
}

#[test]
fn the_application_answers_what_the_other_client_cannot() {
    let closed = Place::Loopback.reserve(std::net::Ipv4Addr::LOCALHOST, 0).unwrap();
    let (status, text) = asked_for_the_applications_own(&format!("http://{}", closed.address()));
    assert_eq!((status, text.as_str()), (200, "the application's"));
    let other = Origin::start().unwrap();
    let (status, text) = asked_for_the_applications_own(&format!("http://{}", other.address()));
    assert_eq!((status, text.as_str()), (200, "the application's"));
    assert_eq!(other.requests(), 1, "the other client was not asked");
}

#[test]
fn a_circle_ends_in_508() {
    let origin = Origin::start().unwrap();
    let reserved = [(); 2].map(|()| Place::Loopback.reserve(std::net::Ipv4Addr::LOCALHOST, 0).unwrap());
    let [one, two] = reserved.each_ref().map(test_support::Reservation::address);
    // To itself, and to another that sends it back.
    for (next, back) in [(one, None), (two, Some(one))] {
        let proxy = |at: SocketAddr, to: SocketAddr| {
            let link = format!("forward = \"http://{to}\"");
            Lockgate::run(LOCKGATE, &config(&format!("\"{at}\""), "", &link, origin.address())).unwrap()
        };
        let _first = proxy(one, next);
        let _second = back.map(|back| proxy(next, back));
        let ask = |path: &str| Connection::open(one).unwrap().exchange(get(path)).unwrap().status;
        assert_eq!((ask(&format!("{CHALLENGE}token")), ask("/")), (508, 200));
    }
}

#[test]
fn certbot_lists_what_we_issue_as_valid() {
    let port = Place::Loopback.reserve(std::net::Ipv4Addr::LOCALHOST, 0).unwrap();
    let pebble = Pebble::start(port.port()).unwrap();
    let directory = test_support::scratch_dir().unwrap();
    let storage = directory.path().join("config");
    for names in [&["site.example", "www.site.example"][..], &["other.example"]] {
        let mut command = obtain(&Place::Loopback, &pebble, &storage, names);
        command.args(["--listen", &port.address().to_string()]);
        let mut lockgate = Process::spawn(&command).unwrap();
        assert!(lockgate.wait(Duration::from_secs(60)).unwrap().success(), "{}", lockgate.output());
    }
    let mut certbot = Process::spawn(&certbot(&Place::Loopback, directory.path(), "certificates")).unwrap();
    assert!(certbot.wait(Duration::from_secs(60)).unwrap().success(), "{}", certbot.output());
    let output = certbot.output();
    assert_eq!(output.matches("(VALID: ").count(), 2, "{output}");
    assert!(output.contains("Certificate Name: site.example") && output.contains("Certificate Name: other.example"));
    assert!(output.contains("Domains: site.example www.site.example"), "{output}");
    assert!(!output.contains("INVALID") && !output.contains("could not be parsed"), "{output}");
    let live = storage.join("live/site.example/fullchain.pem");
    assert!(output.contains(&live.display().to_string()), "{output}");
}
