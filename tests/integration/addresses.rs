//! Certificates for addresses (RFC 8738): shown to clients that can name no host.

use std::{fs, time::Duration};

use test_support::{Lockgate, Network, Nginx, Pebble, PebbleFeatures, PebbleOptions, Place, Process, poll};

use crate::support::LOCKGATE;

#[test]
fn a_client_that_names_no_host_is_shown_the_certificate_of_the_address_that_it_came_to() {
    let network = Network::new(["site", "visitors", "authority"]).unwrap();
    let [site, visitors, authority] = network.hosts();
    let options =
        PebbleOptions { place: authority.into(), site: site.into(), http_port: 80, ipv6: true, refused_nonces: 0 };
    let features = PebbleFeatures { tls_port: 443, ..PebbleFeatures::default() };
    let pebble = Pebble::with_features(options, &features).unwrap();
    let storage = test_support::scratch_dir().unwrap();
    let nginx = Nginx::start_at(&Place::from(site), 8080).unwrap();
    let (v4, v6) = (site.ipv4(), site.ipv6());
    // One is proven by HTTP, the other in a handshake; the name, which is shown to everybody else, is no address's.
    let config = format!(
        "[[listener]]\nname = \"http\"\naddress = [\"0.0.0.0:80\", \"[::]:80\"]\n\
         [[listener]]\nname = \"https\"\naddress = [\"0.0.0.0:443\", \"[::]:443\"]\ntls = true\n\
         [[authenticator]]\nname = \"memory\"\nuse = \"standalone\"\n\
         [[authenticator]]\nname = \"handshake\"\nuse = \"tls-alpn\"\n\
         [acme]\ndirectory = \"{}\"\nca = \"{}\"\nagree_to_terms = true\nstorage = \"{}\"\nauthenticator = \"memory\"\n\
         [[certificate]]\ndomains = [\"site.example\"]\nissuer = \"internal\"\n\
         [[certificate]]\ndomains = [\"{v4}\"]\n\
         [[certificate]]\nname = \"six\"\ndomains = [\"{v6}\"]\nauthenticator = \"handshake\"\n\
         [[route]]\nchain = [{{ use = \"acme-challenge\", authenticator = \"memory\" }}, {{ use = \"upstream\", servers = [\"{}\"] }}]\n",
        pebble.directory_url(),
        pebble.ca_file().display(),
        storage.path().display(),
        nginx.addresses()[0],
    );
    let lockgate = Lockgate::run_at(&Place::from(site), LOCKGATE, &config).unwrap();
    let root = storage.path().join("root.pem");
    fs::write(&root, pebble.issuer_root().unwrap()).unwrap();
    for url in [format!("https://{v4}/"), format!("https://[{v6}]/")] {
        let fetched = || {
            let mut curl = visitors.command("curl");
            curl.args(["-sS", "--max-time", "5", "-w", "%{http_version} %{http_code}", "-o", "/dev/null", "--cacert"]);
            let mut curl = Process::spawn(curl.arg(&root).arg(&url)).unwrap();
            let _ = curl.wait(Duration::from_secs(10)).unwrap();
            (curl.output() == "2 200").then_some(())
        };
        // Until it is there, the certificate of the name is shown, which is for nobody who comes by address.
        poll(Duration::from_secs(30), fetched)
            .unwrap_or_else(|| panic!("{url}: {}\n{}", lockgate.output(), pebble.output()));
    }
}
