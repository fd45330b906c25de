//! A cluster without a master: whoever obtains the certificate, every balancer can answer for its account.

use std::{fs, path::Path, process::Command, time::Duration};

use test_support::{Connection, Lockgate, Network, Origin, Pebble, Place, Process};

use crate::{
    certbot::certbot,
    support::{LOCKGATE, obtain},
};

/// Waits for its end, which must be a good one.
fn done(mut process: Process) -> String {
    let status = process.wait(Duration::from_secs(120)).unwrap();
    assert!(status.success(), "{}", process.output());
    process.output()
}

/// That of the one account in this directory of certbot's ([RFC 7638](https://www.rfc-editor.org/rfc/rfc7638)), which newer
/// versions of it print.
fn thumbprint(accounts: &Path) -> String {
    let found = Command::new("find").arg(accounts).args(["-name", "private_key.json"]).output().unwrap();
    let key = fs::read(String::from_utf8(found.stdout).unwrap().trim()).unwrap();
    let key: serde_json::Value = serde_json::from_slice(&key).unwrap();
    let text = format!("{{\"e\":{},\"kty\":{},\"n\":{}}}", key["e"], key["kty"], key["n"]);
    let digest = "printf %s \"$1\" | openssl dgst -sha256 -binary | basenc --base64url";
    let made = Command::new("sh").args(["-c", digest, "sh", &text]).output().unwrap();
    String::from_utf8(made.stdout).unwrap().trim().trim_end_matches('=').to_owned()
}

/// certbot on the authority's host obtains a certificate and tells nobody of its tokens.
#[test]
fn certbot_obtains_on_another_host_and_two_balancers_answer_for_it() {
    let network = Network::new(["one", "two", "authority"]).unwrap();
    let [one, two, authority] = network.hosts();
    let pebble = Pebble::in_network(authority, one, false).unwrap();
    pebble.lead("two.example", &[two.ipv4().into(), two.ipv6().into()]).unwrap();
    let (place, directory) = (Place::from(authority), test_support::scratch_dir().unwrap());
    let command = |subcommand: &str, arguments: &[&str]| {
        let mut command = certbot(&place, directory.path(), subcommand);
        command.args(["--server", &pebble.directory_url()]).args(arguments).env("REQUESTS_CA_BUNDLE", pebble.ca_file());
        Process::spawn(&command).unwrap()
    };
    done(command("register", &["--agree-tos", "--register-unsafely-without-email"]));
    let thumbprint = thumbprint(&directory.path().join("config/accounts"));

    let application = Origin::start_at(&one.into(), 8080).unwrap();
    let config = format!(
        "[[listener]]\nname = \"http\"\naddress = [\"0.0.0.0:80\", \"[::]:80\"]\n[[route]]\nchain = [\n\
         {{ use = \"acme-challenge\", thumbprint = \"{thumbprint}\", hosts = [\"one.example\", \"two.example\"] }},\n\
         {{ use = \"upstream\", servers = [\"{}\"] }},\n]\n",
        application.address()
    );
    let balancers = [one, two].map(|host| Lockgate::run_at(&host.into(), LOCKGATE, &config).unwrap());
    let how = ["--manual", "--preferred-challenges", "http", "--manual-auth-hook", "true"];
    done(command("certonly", &[&how[..], &["-d", "one.example", "-d", "two.example"]].concat()));
    assert!(directory.path().join("config/live/one.example/fullchain.pem").exists());

    // A name that leads here and that the account is not to have certificates for.
    let mut other = command("certonly", &[&how[..], &["-d", "other.example"]].concat());
    assert!(!other.wait(Duration::from_secs(120)).unwrap().success(), "{}", other.output());
    assert!(application.requests() > 0, "the application was not asked: {}", balancers[0].output());
    let request = "GET /.well-known/acme-challenge/token HTTP/1.1\r\nHost: [fd77::2]:80\r\n\r\n";
    let stream = place.connect((two.ipv6(), 80).into()).unwrap();
    assert_eq!(Connection::over(stream).unwrap().exchange(request).unwrap().status, 404);
}

/// The same with our own client: it is told that it answers, and nobody comes to it.
#[test]
fn lockgate_obtains_on_another_host_and_a_balancer_answers_for_it() {
    let network = Network::new(["balancer", "authority"]).unwrap();
    let [balancer, authority] = network.hosts();
    let pebble = Pebble::in_network(authority, balancer, true).unwrap();
    let (place, directory) = (Place::from(authority), test_support::scratch_dir().unwrap());
    let attempt = || {
        let mut command = obtain(&place, &pebble, directory.path(), &["one.example"]);
        command.args(["--listen", "127.0.0.1:8080"]);
        let mut process = Process::spawn(&command).unwrap();
        (process.wait(Duration::from_secs(120)).unwrap().success(), process.output())
    };
    // It makes the account; where nothing answers there is no certificate.
    let (is_good, told) = attempt();
    assert!(!is_good, "{told}");
    let mut command = Command::new(LOCKGATE);
    command.args(["account", "list", "--json", "--storage"]).arg(directory.path());
    let accounts = done(Process::spawn(&command).unwrap());
    let accounts: Vec<serde_json::Value> = serde_json::from_str(&accounts).unwrap();
    assert_eq!((accounts.len(), &accounts[0]["server"]), (1, &pebble.directory_url().into()));
    let thumbprint = accounts[0]["thumbprint"].as_str().unwrap();
    let config = format!(
        "[[listener]]\nname = \"http\"\naddress = [\"0.0.0.0:80\", \"[::]:80\"]\n[[route]]\nchain = [\n\
         {{ use = \"acme-challenge\", thumbprint = \"{thumbprint}\", hosts = [\"one.example\"] }},\n\
         {{ use = \"upstream\", servers = [\"127.0.0.1:1\"] }},\n]\n"
    );
    let lockgate = Lockgate::run_at(&balancer.into(), LOCKGATE, &config).unwrap();
    let (is_good, told) = attempt();
    assert!(is_good, "{told}\n{}", lockgate.output());
}
