//! One storage for certbot and for us: whoever made a certificate, the other one renews it, with the same account.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use tempfile::TempDir;
use test_support::{Namespace, Network, Pebble, PebbleOptions, Place, Process, scratch_dir};

use super::certbot;
use crate::support::{LOCKGATE, obtain};

/// A machine with a storage, and an authority that comes to its port 80.
pub(super) struct Stage {
    network: Network<2>,
    pub(super) pebble: Pebble,
    directory: TempDir,
}

/// What a program said that did what it was asked.
pub(super) fn said(command: &Command) -> String {
    let mut process = Process::spawn(command).unwrap();
    let status = process.wait(Duration::from_secs(90)).unwrap();
    assert!(status.success(), "{command:?}: {status}\n{}", process.output());
    process.output()
}

/// What a program said that ended with this number.
pub(super) fn fails(command: &Command, code: i32) -> String {
    let mut process = Process::spawn(command).unwrap();
    let status = process.wait(Duration::from_secs(90)).unwrap();
    assert_eq!(status.code(), Some(code), "{command:?}: {}", process.output());
    process.output()
}

impl Stage {
    pub(super) fn new() -> Self {
        let network = Network::new(["site", "authority"]).unwrap();
        let [site, authority] = network.hosts();
        // certbot asks for another nonce once, and then gives up.
        let options =
            PebbleOptions { place: authority.into(), site: site.into(), http_port: 80, ipv6: true, refused_nonces: 0 };
        let pebble = Pebble::with(options).unwrap();
        Self { pebble, directory: scratch_dir().unwrap(), network }
    }

    fn site(&self) -> &Namespace {
        &self.network.hosts()[0]
    }

    pub(super) fn place(&self) -> Place {
        self.site().into()
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(super) fn storage(&self) -> PathBuf {
        self.file("config")
    }

    pub(super) fn certbot(&self, subcommand: &str, arguments: &[&str]) -> Command {
        let mut command = certbot(&self.place(), self.directory.path(), subcommand);
        command.args(arguments).env("REQUESTS_CA_BUNDLE", self.pebble.ca_file());
        command
    }

    /// A certificate of certbot's.
    pub(super) fn made_by_certbot(&self, arguments: &[&str]) {
        let mut command = self.certbot("certonly", arguments);
        command.args(["--standalone", "--agree-tos", "--register-unsafely-without-email"]);
        command.args(["--server", &self.pebble.directory_url(), "-d", "site.example", "-d", "www.site.example"]);
        said(&command);
    }

    /// A certificate of ours.
    pub(super) fn made_by_us(&self) {
        said(&obtain(&self.place(), &self.pebble, &self.storage(), &["site.example", "www.site.example"]));
    }

    pub(super) fn lockgate(&self, arguments: &[&str]) -> Command {
        let mut command = self.place().command(LOCKGATE);
        command.args(arguments).arg("--storage").arg(self.storage());
        command
    }

    /// The same for what talks to the authority.
    pub(super) fn lockgate_asking(&self, arguments: &[&str]) -> Command {
        let mut command = self.lockgate(arguments);
        command.arg("--ca-file").arg(self.pebble.ca_file());
        command
    }

    pub(super) fn conf(&self) -> String {
        fs::read_to_string(self.storage().join("renewal/site.example.conf")).unwrap()
    }

    /// What the accounts are called.
    pub(super) fn accounts(&self) -> Vec<String> {
        let directory = self.pebble.directory_url();
        let server = directory.trim_start_matches("https://");
        let entries = fs::read_dir(self.storage().join("accounts").join(server)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// The version in use.
    pub(super) fn version(&self) -> String {
        let target = fs::read_link(self.storage().join("live/site.example/fullchain.pem")).unwrap();
        target.file_stem().unwrap().to_str().unwrap().trim_start_matches("fullchain").to_owned()
    }

    /// Both find this version to be good.
    pub(super) fn is_good_for_both(&self, version: &str) {
        assert_eq!(self.version(), version);
        let listed = said(&self.certbot("certificates", &[]));
        assert!(listed.contains("(VALID: ") && listed.contains("Domains: site.example www.site.example"), "{listed}");
        assert!(!listed.contains("INVALID") && !listed.contains("could not be parsed"), "{listed}");
        let listed = said(&self.lockgate(&["cert", "list", "--json"]));
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        assert_eq!((listed[0]["state"].as_str(), listed[0]["version"].to_string().as_str()), (Some("valid"), version));
    }
}

#[test]
fn what_certbot_made_is_renewed_by_us_with_its_account() {
    let stage = Stage::new();
    stage.made_by_certbot(&["--deploy-hook", "echo \"$RENEWED_DOMAINS\" > $RENEWED_LINEAGE/told"]);
    let accounts = stage.accounts();
    assert_eq!(accounts.len(), 1);
    let told = stage.storage().join("live/site.example/told");
    fs::remove_file(&told).unwrap();
    let output = said(&stage.lockgate_asking(&["cert", "renew"]));
    assert!(output.contains("site.example: not due"), "{output}");
    let output = said(&stage.lockgate_asking(&["cert", "renew", "--force-renewal"]));
    assert!(output.contains("site.example: renewed"), "{output}");
    assert_eq!(fs::read_to_string(&told).unwrap(), "site.example www.site.example\n");
    stage.is_good_for_both("2");
    assert_eq!(stage.accounts(), accounts, "there is no other account");
    assert!(stage.conf().contains(&format!("account = {}\n", accounts[0])), "{}", stage.conf());
    said(&stage.certbot("renew", &["--force-renewal", "--no-random-sleep-on-renew"]));
    stage.is_good_for_both("3");
    assert_eq!(stage.accounts(), accounts);
}

#[test]
fn what_we_made_is_renewed_by_certbot_with_our_account() {
    let stage = Stage::new();
    stage.made_by_us();
    let accounts = stage.accounts();
    said(&stage.certbot("renew", &["--force-renewal", "--no-random-sleep-on-renew"]));
    stage.is_good_for_both("2");
    said(&stage.lockgate_asking(&["cert", "renew", "--force-renewal", "--cert-name", "site.example"]));
    stage.is_good_for_both("3");
    assert_eq!(stage.accounts(), accounts, "there is no other account");
    let shown = said(&stage.certbot("show_account", &["--server", &stage.pebble.directory_url()]));
    assert!(shown.contains("/my-account/"), "{shown}");
}

#[test]
fn keys_stay_of_the_kind_that_certbot_was_told() {
    for (arguments, kind) in [
        (&["--key-type", "ecdsa", "--elliptic-curve", "secp384r1"][..], "secp384r1"),
        (&["--key-type", "rsa", "--rsa-key-size", "2048", "--reuse-key"], "RSA"),
    ] {
        let stage = Stage::new();
        stage.made_by_certbot(arguments);
        let key = || fs::read_to_string(stage.storage().join("live/site.example/privkey.pem")).unwrap();
        let before = key();
        said(&stage.lockgate_asking(&["cert", "renew", "--dry-run"]));
        said(&stage.lockgate_asking(&["cert", "renew", "--force-renewal"]));
        stage.is_good_for_both("2");
        assert_eq!(key() == before, kind == "RSA", "{kind}");
        let mut openssl = Command::new("openssl");
        openssl.args(["pkey", "-noout", "-text", "-in"]).arg(stage.storage().join("live/site.example/privkey.pem"));
        let text = said(&openssl);
        assert!(text.contains(if kind == "RSA" { "modulus" } else { "secp384r1" }), "{text}");
    }
}

impl Stage {
    /// The number of the certificate in use.
    fn serial(&self) -> String {
        let mut openssl = Command::new("openssl");
        openssl.args(["x509", "-noout", "-serial", "-in"]).arg(self.storage().join("live/site.example/cert.pem"));
        said(&openssl).trim().trim_start_matches("serial=").to_lowercase()
    }

    /// Nothing is left of the certificate.
    fn has_none(&self) {
        let left: Vec<_> = ["live", "archive", "renewal", "lockgate", "lockgate/orders", "lockgate/deployed"]
            .into_iter()
            .flat_map(|part| fs::read_dir(self.storage().join(part)).into_iter().flatten().flatten())
            .filter(|entry| entry.file_name().to_string_lossy().contains("site.example"))
            .map(|entry| entry.path())
            .collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn each_revokes_and_deletes_what_the_other_made() {
    let stage = Stage::new();
    stage.made_by_certbot(&[]);
    let serial = stage.serial();
    assert!(!stage.pebble.is_revoked(&serial).unwrap());
    let output =
        said(&stage.lockgate_asking(&["cert", "revoke", "--cert-name", "site.example", "--reason", "superseded"]));
    assert!(output.contains("site.example is revoked"), "{output}");
    assert!(stage.pebble.is_revoked(&serial).unwrap());
    said(&stage.lockgate(&["cert", "delete", "--cert-name", "site.example"]));
    stage.has_none();

    stage.made_by_us();
    let serial = stage.serial();
    let live = stage.storage().join("live/site.example/cert.pem");
    let arguments = ["--cert-path", live.to_str().unwrap(), "--delete-after-revoke"];
    said(&stage.certbot("revoke", &[&arguments[..], &["--server", &stage.pebble.directory_url()]].concat()));
    assert!(stage.pebble.is_revoked(&serial).unwrap());
    assert!(!stage.storage().join("live/site.example").exists());
}

#[test]
fn an_account_is_one_for_both() {
    let stage = Stage::new();
    let server = stage.pebble.directory_url();
    let of = |subcommand: &str, more: &[&str]| {
        stage.lockgate_asking(&[&["account", subcommand, "--server", &server][..], more].concat())
    };
    said(&stage.certbot("register", &["--agree-tos", "-m", "one@site.example", "--server", &server]));
    let shown = said(&of("show", &["--json"]));
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["contact"], serde_json::json!(["mailto:one@site.example"]));
    assert_eq!((shown["status"].as_str(), shown["id"].as_str()), (Some("valid"), Some(&*stage.accounts()[0])));
    let told = said(&stage.certbot("show_account", &["--server", &server]));
    for what in ["url", "thumbprint"] {
        let ours = shown[what].as_str().unwrap();
        assert!(told.contains(ours) || what == "thumbprint" && !told.contains("humbprint"), "{ours} is not in {told}");
    }
    said(&of("update", &["-m", "two@site.example,three@site.example"]));
    let told = said(&stage.certbot("show_account", &["--server", &server]));
    assert!(told.contains("two@site.example") && told.contains("three@site.example"), "{told}");
    // A second one is not made.
    let mut again = Process::spawn(&of("register", &["--agree-tos"])).unwrap();
    assert_eq!(again.wait(Duration::from_secs(30)).unwrap().code(), Some(64), "{}", again.output());
    said(&of("deactivate", &[]));
    assert!(!stage.storage().join("accounts").read_dir().unwrap().flatten().any(|entry| entry.path().is_dir()));
    // One that we make is certbot's, too.
    said(&of("register", &["--agree-tos", "-m", "four@site.example"]));
    let told = said(&stage.certbot("show_account", &["--server", &server]));
    assert!(told.contains("four@site.example"), "{told}");
    said(&stage.certbot("unregister", &["--server", &server]));
    let mut none = Process::spawn(&of("show", &[])).unwrap();
    assert_eq!(none.wait(Duration::from_secs(30)).unwrap().code(), Some(64), "{}", none.output());
}
