//! An authority that only a test knows, and what it issues.

use std::{
    fs, io,
    net::{Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType, date_time_ymd};
use tempfile::TempDir;

use crate::scratch_dir;

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
        CertificateParams::new(names).map_err(io::Error::other)
    }

    fn sign(&self, file: &str, parameters: &CertificateParams) -> io::Result<Credentials> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = parameters.signed_by(&key, &self.issuer).map_err(io::Error::other)?;
        let path = |extension: &str| self.directory.path().join(format!("{file}.{extension}"));
        fs::write(path("pem"), certificate.pem())?;
        fs::write(path("key"), key.serialize_pem())?;
        Ok(Credentials { certificate: path("pem"), key: path("key") })
    }
}
