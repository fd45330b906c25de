//! Renewal information (RFC 9773): what the front says about certificates that it saw pass.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::json;
use x509_parser::prelude::{ASN1Time, FromDer as _, GeneralName, ParsedExtension, X509Certificate};

use super::{
    fault::{Problem, RetryAfter},
    message::Answer,
};

/// A certificate that a client fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// How renewal information names it (RFC 9773 §4.1).
    pub id: String,
    /// The names that it is for; addresses are left out.
    pub names: Vec<String>,
    /// The first moment at which it is valid.
    pub not_before: SystemTime,
    /// The last one.
    pub not_after: SystemTime,
    /// The certificate itself, without its chain.
    pub der: Vec<u8>,
    /// When it was handed out: its client had it no earlier.
    pub fetched: Instant,
}

/// What is to be said about when to renew.
#[derive(Debug)]
pub(super) struct Suggestions {
    pub(super) is_offered: bool,
    pub(super) of_all: Option<Window>,
    pub(super) of_one: BTreeMap<String, Window>,
    pub(super) explanation: Option<String>,
    pub(super) retry_after: RetryAfter,
}

/// Beginning and end.
pub(super) type Window = (SystemTime, SystemTime);

impl Certificate {
    /// The first one of a chain in PEM.
    pub(super) fn read(chain: &[u8]) -> Option<Self> {
        let der = CertificateDer::from_pem_slice(chain).ok()?;
        let (_, leaf) = X509Certificate::from_der(&der).ok()?;
        let issuer = leaf.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(identifier) => identifier.key_identifier.clone(),
            _ => None,
        })?;
        let subject = leaf.subject_alternative_name().ok()??;
        let names = subject.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        });
        let [issuer, serial] = [issuer.0, leaf.raw_serial()].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
        Some(Self {
            id: format!("{issuer}.{serial}"),
            names: names.collect(),
            not_before: moment(leaf.validity().not_before)?,
            not_after: moment(leaf.validity().not_after)?,
            der: der.to_vec(),
            fetched: Instant::now(),
        })
    }

    /// A fiftieth of its life to both sides of two thirds of it.
    fn window(&self) -> Window {
        let life = self.not_after.duration_since(self.not_before).unwrap_or_default();
        let middle = self.not_before + life * 2 / 3;
        (middle - life / 50, middle + life / 50)
    }
}

impl Suggestions {
    /// What is said about the certificate with this name.
    pub(super) fn answer(&self, id: &str, certificates: &[Certificate]) -> Answer {
        let computed = || certificates.iter().find(|certificate| certificate.id == id).map(Certificate::window);
        let Some((start, end)) = self.of_one.get(id).copied().or(self.of_all).or_else(computed) else {
            return Problem::new(404, "malformed", "No such certificate").answer();
        };
        let [start, end] = [start, end].map(|moment| Timestamp::try_from(moment).map(|moment| moment.to_string()));
        let mut document = json!({ "suggestedWindow": { "start": start.ok(), "end": end.ok() } });
        if let Some(explanation) = &self.explanation {
            document["explanationURL"] = json!(explanation);
        }
        let mut answer = Answer::new(200, "application/json", document.to_string());
        self.retry_after.put_into(&mut answer);
        answer
    }
}

impl Default for Suggestions {
    fn default() -> Self {
        // Six hours, as Let's Encrypt has it.
        let retry_after = RetryAfter::Seconds(21_600);
        Self { is_offered: true, of_all: None, of_one: BTreeMap::new(), explanation: None, retry_after }
    }
}

fn moment(time: ASN1Time) -> Option<SystemTime> {
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(time.timestamp().try_into().ok()?))
}
