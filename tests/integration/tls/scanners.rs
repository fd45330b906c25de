//! What scanners find: sslscan and testssl.sh, at a certificate with an ECDSA key and at one with an RSA key.

use std::{fs, net::SocketAddr, thread, time::Duration};

use test_support::{Authority, Credentials, Lockgate, Origin, Place, Process, scratch_dir};

use super::{LOCKGATE, route};

/// A proxy that shows this certificate.
fn start(origin: &Origin, shown: &Credentials) -> Lockgate {
    let config = format!(
        "[[listener]]\nname = \"https\"\naddress = [\"127.0.0.1:0\"]\ntls = true\n\
         [[certificate]]\ncertificate = \"{}\"\nkey = \"{}\"\n{}",
        shown.certificate.display(),
        shown.key.display(),
        route(origin)
    );
    Lockgate::run(LOCKGATE, &config).unwrap()
}

/// Both kinds of certificates, at the same time: a scan is mostly waiting.
fn scan_both(scan: impl Fn(&Authority, SocketAddr, &str) + Sync) {
    let (authority, origin) = (Authority::new().unwrap(), Origin::start().unwrap());
    let kinds = [
        ("ECDSA", authority.issue_for_names("ecdsa", &["a.example"]).unwrap()),
        ("RSA", authority.issue_rsa("rsa", &["a.example"]).unwrap()),
    ];
    thread::scope(|scope| {
        for (kind, shown) in &kinds {
            let (scan, authority, lockgate) = (&scan, &authority, start(&origin, shown));
            scope.spawn(move || scan(authority, lockgate.address(), kind));
        }
    });
}

#[test]
fn sslscan_finds_new_versions_and_strong_ciphers_only() {
    scan_both(|_, address, kind| {
        let mut command = Place::Loopback.command("sslscan");
        command.args(["--no-colour", "--xml=-", "--sni-name=a.example"]).arg(address.to_string());
        let mut sslscan = Process::spawn(&command).unwrap();
        sslscan.wait(SCAN).unwrap();
        let found = sslscan.output();
        let lines = |name: &str| -> Vec<&str> {
            found.lines().map(str::trim).filter(|line| line.starts_with(&format!("<{name} "))).collect()
        };
        let protocols = lines("protocol");
        assert_eq!(protocols.len(), 6, "{found}");
        for line in protocols {
            let is_new = line.contains("version=\"1.2\"") || line.contains("version=\"1.3\"");
            assert_eq!(line.contains("enabled=\"1\""), is_new, "{kind}: {line}");
        }
        let ciphers = lines("cipher");
        assert!(ciphers.len() >= 6, "{found}");
        for line in ciphers {
            // It calls those of TLS 1.3 acceptable, all of them.
            let is_good = line.contains("strength=\"strong\"") || line.contains("cipher=\"TLS_");
            assert!(
                is_good && (line.contains("_GCM_") || line.contains("-GCM-") || line.contains("CHACHA20")),
                "{line}"
            );
            assert!(line.contains("ecdhebits="), "{kind}: {line}");
        }
        assert!(lines("heartbleed").iter().all(|line| line.contains("vulnerable=\"0\"")), "{found}");
        assert!(found.contains("<renegotiation supported=\"0\"") && !found.contains("<compression supported=\"1\""));
        assert!(found.contains("<self-signed>false<") && found.contains("<expired>false<"), "{found}");
    });
}

#[test]
fn testssl_finds_nothing_worse_than_low() {
    let directory = scratch_dir().unwrap();
    scan_both(|authority, address, kind| {
        let file = directory.path().join(format!("{kind}.json"));
        let mut command = Place::Loopback.command("testssl");
        // How long it waits for what must not come; and for a page, which on a busy machine takes longer than it thinks.
        command.envs([("HEARTBLEED_MAX_WAITSOCK", "3"), ("CCS_MAX_WAITSOCK", "2"), ("HEADER_MAXSLEEP", "60")]);
        command.args(["--quiet", "--warnings", "off", "--color", "0", "--nodns", "none", "--ip", "127.0.0.1"]);
        command.arg("--add-ca").arg(authority.ca_file()).arg("--jsonfile").arg(&file);
        // Versions, the certificate, what has had a name, and what depends on the kind of key. sslscan knows about ciphers.
        command.args(match kind {
            "RSA" => &["--protocols", "--fs", "--server-defaults", "--robot"][..],
            _ => &["--protocols", "--server-defaults", "--vulnerable"],
        });
        command.arg(format!("a.example:{}", address.port())).current_dir(directory.path());
        let mut testssl = Process::spawn(&command).unwrap();
        testssl.wait(SCAN).unwrap();
        let text = fs::read_to_string(&file).unwrap_or_else(|_| panic!("{}", testssl.output()));
        let found: Vec<serde_json::Value> =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let has = |id: &str| found.iter().any(|finding| finding["id"] == id);
        assert!(["TLS1_3", "cert_chain_of_trust", "ALPN_HTTP2"].iter().all(|id| has(id)), "{text}");
        let worse: Vec<&serde_json::Value> = found
            .iter()
            .filter(|finding| !["OK", "INFO", "LOW"].contains(&finding["severity"].as_str().unwrap()))
            .filter(|finding| !EXPECTED.iter().any(|(id, _)| finding["id"] == *id))
            .filter(|finding| !is_without_a_ticket(finding))
            .collect();
        assert!(worse.is_empty(), "{kind}: {worse:#?}");
        for (id, reason) in EXPECTED {
            assert!(has(id), "{kind}: {id} is not found any more ({reason})");
        }
    });
}

/// Whether it could not find out if sessions are taken up again: openssl, which has nothing to send, may be gone before the ticket of
/// TLS 1.3 arrives, and has none to show when it comes again. That sessions are taken up again is tested by itself (`sessions`).
fn is_without_a_ticket(finding: &serde_json::Value) -> bool {
    finding["id"] == "sessionresumption_ticket"
        && finding["severity"] == "WARN"
        && finding["finding"].as_str().is_some_and(|text| text.contains("connect problem"))
}

/// What is worse than "low", and is not about the listener.
const EXPECTED: [(&str, &str); 2] = [
    ("cert_revocation", "the authority of the test has neither lists nor responders"),
    ("engine_problem", "Debian's openssl speaks no GOST, which testssl.sh would try"),
];

/// On a machine that does other things, too; alone it is a third of that.
const SCAN: Duration = Duration::from_secs(240);
