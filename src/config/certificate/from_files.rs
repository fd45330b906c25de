//! A certificate in files of somebody else.

use std::path::PathBuf;

use plugin_api::config::{Problem, Problems, Spans};
use proxy_core::{CertificateError, ServerCertificate};

use super::FromFiles;
use crate::{
    cli::report,
    config::acme::absolute,
    pair::{self, Unreadable},
};

/// The keys of such a certificate.
pub(super) struct FileKeys {
    /// Its name in messages.
    pub(super) name: Option<String>,
    /// The file with the certificate.
    pub(super) certificate: Option<PathBuf>,
    /// The file with the private key.
    pub(super) key: Option<PathBuf>,
    /// Whether they may come later.
    pub(super) awaited: bool,
}

/// Reads the files that the keys name.
pub(super) fn build(keys: FileKeys, spans: &Spans, problems: &mut Problems) -> Option<FromFiles> {
    let (certificate, key) = match (keys.certificate, keys.key) {
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
    let certificate = absolute(certificate, "certificate", spans, problems);
    let key = absolute(key, "key", spans, problems);
    let is_missing = match pair::read(&certificate, &key) {
        Ok((chain, secret)) => {
            if let Err(error) = ServerCertificate::from_pem(&chain, &secret) {
                let (blamed, hint) = blame(&error);
                problems.push(Problem::new(spans.of(blamed), report::sentence(&error)).with_hint(hint));
                return None;
            }
            false
        }
        Err(unreadable) if keys.awaited && unreadable.iter().all(Unreadable::is_missing) => true,
        Err(unreadable) => {
            problems_of(&unreadable, spans, problems);
            return None;
        }
    };
    let name = keys.name.unwrap_or_else(|| certificate.display().to_string());
    Some(FromFiles { name, certificate, key, is_missing })
}

fn problems_of(unreadable: &[Unreadable], spans: &Spans, problems: &mut Problems) {
    for error in unreadable {
        let hint = if error.is_missing() {
            "it is read when the configuration is, by the user who starts Lockgate; `awaited = true` if it comes later"
        } else {
            "it is read when the configuration is, by the user who starts Lockgate"
        };
        problems.push(Problem::new(spans.of(error.key), report::sentence(error)).with_hint(hint));
    }
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
