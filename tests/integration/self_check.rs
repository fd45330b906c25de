//! A look at a name from here, before an authority counts a failure.

use std::time::Duration;

use test_support::{CaFront, Lockgate, Network, Nginx, Pebble, Place, poll};

use crate::support::LOCKGATE;

/// Something else answers on port 80: no order is placed, and people are told what was found. With an answer of ours there is one.
#[test]
fn where_something_else_answers_no_authority_is_asked_to_come() {
    let network = Network::new(["site", "visitors", "authority"]).unwrap();
    let [site, _, authority] = network.hosts();
    let pebble = Pebble::in_network(authority, site, true).unwrap();
    let front = CaFront::start(&pebble).unwrap();
    let storage = test_support::scratch_dir().unwrap();
    let nginx = Nginx::start_at(&Place::from(site), 8080).unwrap();
    let config = |challenge: &str| {
        format!(
            "[[listener]]\nname = \"http\"\naddress = [\"0.0.0.0:80\", \"[::]:80\"]\n\
             [[authenticator]]\nname = \"memory\"\nuse = \"standalone\"\n\
             [acme]\ndirectory = \"{}\"\nca = \"{}\"\nagree_to_terms = true\nstorage = \"{}\"\nauthenticator = \"memory\"\n\
             [[certificate]]\ndomains = [\"{}\"]\n\
             [[route]]\nchain = [{challenge}{{ use = \"upstream\", servers = [\"{}\"] }}]\n",
            front.directory_url(),
            front.ca_file().display(),
            storage.path().display(),
            site.ipv4(),
            nginx.addresses()[0],
        )
    };
    let lockgate = Lockgate::run_at(&Place::from(site), LOCKGATE, &config("")).unwrap();
    let told = || lockgate.output().contains("something else answers: 404").then_some(());
    poll(Duration::from_secs(30), told).unwrap_or_else(|| panic!("{}", lockgate.output()));
    assert!(lockgate.output().contains("class=\"domain\""), "{}", lockgate.output());
    assert_eq!(front.spent().orders, 0, "{}", lockgate.output());
    drop(lockgate);

    // It rests for a minute now; a certificate for more names begins without failures.
    let wanted = format!("domains = [\"{}\"", site.ipv4());
    let answering = config("{ use = \"acme-challenge\", authenticator = \"memory\" }, ")
        .replace(&wanted, &format!("name = \"other\"\n{wanted}"));
    let lockgate = Lockgate::run_at(&Place::from(site), LOCKGATE, &answering).unwrap();
    let done = || lockgate.output().contains("there is a new certificate").then_some(());
    poll(Duration::from_secs(30), done).unwrap_or_else(|| panic!("{}", lockgate.output()));
    assert_eq!(front.spent().failed_authorizations, 0);
}
