//! An authority that only a test knows, and what it issues.

use std::{
    fs, io,
    net::{Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    process::Command,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use tempfile::TempDir;

use crate::{Process, scratch_dir};

/// An authority. Its files are removed with it.
#[derive(Debug)]
pub struct Authority {
    directory: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, in files.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn new() -> io::Result<Self> {
        let directory = scratch_dir()?;
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut ca = CertificateParams::new(Vec::new()).map_err(io::Error::other)?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        ca.distinguished_name = DistinguishedName::new();
        (ca.not_before, ca.not_after) = (ago(DAY).into(), ahead(3650 * DAY).into());
        // Two of one name are not told apart by it.
        ca.distinguished_name.push(DnType::CommonName, "authority of a Lockgate test");
        let certificate = ca.self_signed(&key).map_err(io::Error::other)?;
        fs::write(directory.path().join("ca.pem"), certificate.pem())?;
        Ok(Self { directory, issuer: Issuer::new(ca, key) })
    }

    /// Its certificate, PEM.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A certificate for these names, and for the loopback addresses.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn issue(&self, file: &str, names: &[&str]) -> io::Result<Credentials> {
        let mut parameters = Self::parameters(names)?;
        parameters.subject_alt_names.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
        parameters.subject_alt_names.push(SanType::IpAddress(Ipv6Addr::LOCALHOST.into()));
        self.sign(file, &parameters)
    }

    /// A certificate for these names only.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn issue_for_names(&self, file: &str, names: &[&str]) -> io::Result<Credentials> {
        self.sign(file, &Self::parameters(names)?)
    }

    /// A certificate for these names whose key is an RSA one.
    ///
    /// # Errors
    /// The files cannot be written, or openssl is missing.
    pub fn issue_rsa(&self, file: &str, names: &[&str]) -> io::Result<Credentials> {
        let draft = self.directory.path().join(format!("{file}.draft"));
        let mut command = Command::new("openssl");
        command
            .args(["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"])
            .arg(&draft);
        let mut openssl = Process::spawn(&command).map_err(io::Error::other)?;
        openssl.wait(Duration::from_secs(60)).map_err(io::Error::other)?;
        let key = KeyPair::from_pem(&fs::read_to_string(&draft)?).map_err(io::Error::other)?;
        self.sign_key(file, &Self::parameters(names)?, &key)
    }

    /// One that has expired, for the loopback addresses.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn issue_expired(&self, file: &str) -> io::Result<Credentials> {
        let mut parameters = Self::parameters(&[])?;
        parameters.subject_alt_names.push(SanType::IpAddress(Ipv4Addr::LOCALHOST.into()));
        parameters.not_before = date_time_ymd(2019, 1, 1);
        parameters.not_after = date_time_ymd(2020, 1, 1);
        self.sign(file, &parameters)
    }

    fn parameters(names: &[&str]) -> io::Result<CertificateParams> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names.clone()).map_err(io::Error::other)?;
        // What a public authority would write: scanners and browsers look at all of it.
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, names.first().map_or("a Lockgate test", String::as_str));
        parameters.use_authority_key_identifier_extension = true;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        (parameters.not_before, parameters.not_after) = (ago(DAY).into(), ahead(89 * DAY).into());
        Ok(parameters)
    }

    fn sign(&self, file: &str, parameters: &CertificateParams) -> io::Result<Credentials> {
        self.sign_key(file, parameters, &KeyPair::generate().map_err(io::Error::other)?)
    }

    fn sign_key(&self, file: &str, parameters: &CertificateParams, key: &KeyPair) -> io::Result<Credentials> {
        let certificate = parameters.signed_by(key, &self.issuer).map_err(io::Error::other)?;
        let path = |extension: &str| self.directory.path().join(format!("{file}.{extension}"));
        fs::write(path("pem"), certificate.pem())?;
        fs::write(path("key"), key.serialize_pem())?;
        Ok(Credentials { certificate: path("pem"), key: path("key") })
    }
}

fn ago(time: Duration) -> SystemTime {
    SystemTime::now() - time
}

fn ahead(time: Duration) -> SystemTime {
    SystemTime::now() + time
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
