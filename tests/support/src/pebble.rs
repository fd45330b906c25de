//! A real ACME server with its own name server: pebble and pebble-challtestsrv.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use serde_json::json;
use tempfile::TempDir;

use crate::{Namespace, Place, Process, StartError, process::Log, scratch_dir};

/// A running ACME server whose certificates nobody else trusts. Every name resolves to one place.
#[derive(Debug)]
pub struct Pebble {
    place: Place,
    directory: TempDir,
    acme: SocketAddr,
    management: SocketAddr,
    control: SocketAddr,
    pebble: Process,
    _names: Process,
}

/// What differs between tests.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the ACME server runs.
    pub place: Place,
    /// Where every name leads: the site that validations go to.
    pub site: Place,
    /// The port that validations go to.
    pub http_port: u16,
    /// Whether names have an IPv6 address too; pebble tries it first and alone.
    pub ipv6: bool,
    /// Percent of good nonces that are refused.
    pub refused_nonces: u8,
}

/// What few tests want beside.
#[derive(Clone, Debug)]
pub struct Features {
    /// The port that TLS-ALPN-01 validations go to.
    pub tls_port: u16,
    /// Further roots that chains lead to.
    pub alternate_roots: u8,
    /// Whether accounts are only for those who have [`EXTERNAL_ACCOUNT`].
    pub external_accounts: bool,
    /// Seconds for which certificates are valid.
    pub validity: u32,
}

impl Default for Features {
    fn default() -> Self {
        Self { tls_port: 1, alternate_roots: 0, external_accounts: false, validity: 7_776_000 }
    }
}

/// Key id and key (base64url) of the external account that is known where there are any.
pub const EXTERNAL_ACCOUNT: (&str, &str) =
    ("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W");

impl Pebble {
    /// On the loopback addresses; validations go to `http_port` there, by IPv4.
    ///
    /// # Errors
    /// A program is missing or does not start.
    pub fn start(http_port: u16) -> Result<Self, StartError> {
        Self::with(Options { place: Place::Loopback, site: Place::Loopback, http_port, ipv6: false, refused_nonces: 0 })
    }

    /// In a namespace of its own; validations go to port 80 of `site`, by IPv6 and IPv4 names.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn in_network(authority: &Namespace, site: &Namespace, ipv6: bool) -> Result<Self, StartError> {
        Self::with(Options { place: authority.into(), site: site.into(), http_port: 80, ipv6, refused_nonces: 5 })
    }

    /// As these options say.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn with(options: Options) -> Result<Self, StartError> {
        Self::with_features(options, &Features::default())
    }

    /// On the loopback addresses, with these features; HTTP-01 validations go to `http_port` there, by IPv4.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn featuring(http_port: u16, features: &Features) -> Result<Self, StartError> {
        let (place, site) = (Place::Loopback, Place::Loopback);
        Self::with_features(Options { place, site, http_port, ipv6: false, refused_nonces: 0 }, features)
    }

    /// As these options say, with these features.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn with_features(options: Options, features: &Features) -> Result<Self, StartError> {
        let place = options.place.clone();
        let failed = || StartError::prepare("a port");
        let directory = scratch_dir().map_err(StartError::prepare("a directory"))?;
        let ip = place.ipv4();
        let [acme, management, dns, control] = [(); 4].map(|()| place.reserve(ip, 0));
        let (acme, management) = (acme.map_err(failed())?, management.map_err(failed())?);
        let (dns, control) = (dns.map_err(failed())?, control.map_err(failed())?);
        make_certificates(directory.path(), &place).map_err(StartError::prepare("certificates"))?;
        let config = json!({ "pebble": {
            "listenAddress": acme.address().to_string(),
            "managementListenAddress": management.address().to_string(),
            "certificate": directory.path().join("server.pem"),
            "privateKey": directory.path().join("server.key"),
            "httpPort": options.http_port,
            "tlsPort": features.tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": features.external_accounts,
            "externalAccountMACKeys": { EXTERNAL_ACCOUNT.0: EXTERNAL_ACCOUNT.1 },
            "domainBlocklist": ["blocked.example"],
            "certificateValidityPeriod": features.validity,
        }});
        let file = directory.path().join("pebble.json");
        fs::write(&file, config.to_string()).map_err(StartError::prepare("pebble.json"))?;

        let mut names = place.command("pebble-challtestsrv");
        names.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
        names.args(["-management", &control.address().to_string(), "-dns01", &dns.address().to_string()]);
        names.args(["-defaultIPv4", &options.site.ipv4().to_string()]);
        names.args(["-defaultIPv6", &if options.ipv6 { options.site.ipv6().to_string() } else { String::new() }]);
        let mut names = Process::spawn(&names)?;
        names.wait_for_port(&place, control.address(), DEADLINE)?;

        let mut pebble = place.command("pebble");
        pebble.arg("-config").arg(&file).args(["-strict=true", "-dnsserver", &dns.address().to_string()]);
        pebble.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_AUTHZREUSE", "0");
        pebble.env("PEBBLE_ALTERNATE_ROOTS", features.alternate_roots.to_string());
        pebble.env("PEBBLE_WFE_NONCEREJECT", options.refused_nonces.to_string());
        let mut pebble = Process::spawn(&pebble)?;
        pebble.wait_for_port(&place, acme.address(), DEADLINE)?;
        pebble.wait_for_port(&place, management.address(), DEADLINE)?;
        let (acme, management, control) = (acme.address(), management.address(), control.address());
        Ok(Self { place, directory, acme, management, control, pebble, _names: names })
    }

    /// The URL that ACME clients start with.
    #[must_use]
    pub fn directory_url(&self) -> String {
        format!("https://{}/dir", self.acme)
    }

    /// Host and port of the ACME server.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.acme
    }

    /// Where it runs.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The certificate that its TLS certificate is signed with; beside it, in `server.pem` and `server.key`, is that one.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// The root that issued certificates lead to, as PEM; another one at every start.
    ///
    /// # Errors
    /// curl is missing or pebble does not answer.
    pub fn issuer_root(&self) -> Result<String, StartError> {
        self.root(0)
    }

    /// The root that the chain with this number leads to, as PEM.
    ///
    /// # Errors
    /// As [`Self::issuer_root`].
    pub fn root(&self, number: u8) -> Result<String, StartError> {
        let mut curl = self.asked(&format!("roots/{number}"))?;
        curl.wait_for_line("a certificate", DEADLINE, |line| line.contains("END CERTIFICATE"))?;
        Ok(curl.output())
    }

    /// Whether the certificate with this serial number (hexadecimal) is revoked.
    ///
    /// # Errors
    /// As [`Self::issuer_root`].
    pub fn is_revoked(&self, serial: &str) -> Result<bool, StartError> {
        let mut curl = self.asked(&format!("cert-status-by-serial/{serial}"))?;
        let line = curl.wait_for_line("a status", DEADLINE, |line| line.contains("\"Status\""))?;
        Ok(line.contains("Revoked"))
    }

    /// Asks pebble's second door, which no authority has.
    fn asked(&self, path: &str) -> Result<Process, StartError> {
        let mut curl = self.place.command("curl");
        curl.args(["-fsS", "--noproxy", "*", "--cacert"]).arg(self.ca_file());
        Process::spawn(curl.arg(format!("https://{}/{path}", self.management)))
    }

    /// Lets a name lead to these addresses from now on. The usual ones stay for a family of which there is none.
    ///
    /// # Errors
    /// curl is missing or the name server does not answer.
    pub fn lead(&self, name: &str, to: &[IpAddr]) -> Result<(), StartError> {
        let families = [("a", IpAddr::is_ipv4 as fn(&IpAddr) -> bool), ("aaaa", IpAddr::is_ipv6)];
        for (record, is_of_it) in families {
            let addresses: Vec<_> = to.iter().filter(|address| is_of_it(address)).map(ToString::to_string).collect();
            self.tell_names(&format!("clear-{record}"), &json!({ "host": name }))?;
            if !addresses.is_empty() {
                self.tell_names(&format!("add-{record}"), &json!({ "host": name, "addresses": addresses }))?;
            }
        }
        Ok(())
    }

    fn tell_names(&self, what: &str, body: &serde_json::Value) -> Result<(), StartError> {
        let mut curl = self.place.command("curl");
        curl.args(["-fsS", "--noproxy", "*", "--write-out", "done %{http_code}\n", "--data", &body.to_string()]);
        curl.arg(format!("http://{}/{what}", self.control));
        Process::spawn(&curl)?.wait_for_line("an answer of the name server", DEADLINE, |line| line == "done 200")?;
        Ok(())
    }

    /// Everything the ACME server wrote.
    #[must_use]
    pub fn output(&self) -> String {
        self.pebble.output()
    }

    pub(crate) fn log(&self) -> Log {
        self.pebble.log()
    }
}

fn make_certificates(directory: &Path, place: &Place) -> std::io::Result<()> {
    let ca_key = KeyPair::generate().map_err(std::io::Error::other)?;
    let mut ca = CertificateParams::new(Vec::new()).map_err(std::io::Error::other)?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.distinguished_name.push(rcgen::DnType::CommonName, "authority of a Lockgate test");
    let ca_certificate = ca.self_signed(&ca_key).map_err(std::io::Error::other)?;
    let key = KeyPair::generate().map_err(std::io::Error::other)?;
    let mut server = CertificateParams::new(vec!["localhost".to_owned()]).map_err(std::io::Error::other)?;
    server.distinguished_name.push(rcgen::DnType::CommonName, "pebble");
    server.subject_alt_names.push(SanType::IpAddress(place.ipv4().into()));
    server.subject_alt_names.push(SanType::IpAddress(place.ipv6().into()));
    let issuer = Issuer::new(ca, ca_key);
    let certificate = server.signed_by(&key, &issuer).map_err(std::io::Error::other)?;
    fs::write(directory.join("ca.pem"), ca_certificate.pem())?;
    fs::write(directory.join("server.pem"), certificate.pem())?;
    fs::write(directory.join("server.key"), key.serialize_pem())
}

const DEADLINE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_serves_a_directory_and_a_root() {
        let pebble = Pebble::start(1).unwrap();
        assert!(pebble.issuer_root().unwrap().contains("BEGIN CERTIFICATE"));
        assert!(pebble.directory_url().starts_with("https://127.0.0.1:"));
    }
}
