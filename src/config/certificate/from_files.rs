//! A certificate in files of somebody else.

use std::path::PathBuf;

use plugin_api::config::{Problem, Problems, Spans};
use proxy_core::{CertificateError, ServerCertificate};

use super::FromFiles;
use crate::{
    cli::report,
    config::acme::{absolute, read},
};

/// Reads the files that the keys `certificate` and `key` name.
pub(super) fn build(
    name: Option<String>,
    (certificate, key): (Option<PathBuf>, Option<PathBuf>),
    spans: &Spans,
    problems: &mut Problems,
) -> Option<FromFiles> {
    let (certificate, key) = match (certificate, key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (Some(_), None) => {
            let problem = Problem::new(spans.of_key("certificate"), "a certificate is shown with its private key");
            problems.push(problem.with_hint("add `key`; where one file holds both, name it twice"));
            return None;
        }
        (None, _) => {
            let problem = Problem::new(spans.of_key("key"), "a private key is shown with its certificate");
            problems.push(problem.with_hint("add `certificate`; where one file holds both, name it twice"));
            return None;
        }
    };
    let mut text = |key, path: &PathBuf| {
        let hint = "it is read when the configuration is, by the user who starts Lockgate";
        let read = read(path);
        read.map_err(|message| problems.push(Problem::new(spans.of(key), message).with_hint(hint))).ok()
    };
    let (chain, secret) = (text("certificate", &certificate), text("key", &key));
    if let Err(error) = ServerCertificate::from_pem(&chain?, &secret?) {
        let (blamed, hint) = blame(&error);
        problems.push(Problem::new(spans.of(blamed), report::sentence(&error)).with_hint(hint));
        return None;
    }
    let certificate = absolute(certificate, "certificate", spans, problems);
    let name = name.unwrap_or_else(|| certificate.display().to_string());
    Some(FromFiles { name, certificate, key: absolute(key, "key", spans, problems) })
}

/// The key whose file is to blame, and what to do about it.
fn blame(error: &CertificateError) -> (&'static str, &'static str) {
    match error {
        CertificateError::Pem(_) | CertificateError::Empty => {
            ("certificate", "the file begins with the server's own certificate, in PEM: -----BEGIN CERTIFICATE-----")
        }
        CertificateError::Key(_) | CertificateError::KeyKind(_) => {
            ("key", "the file holds the private key in PEM, without a password")
        }
        CertificateError::Pair(_) => ("key", "name the private key that this certificate was made for"),
    }
}
