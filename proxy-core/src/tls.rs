//! TLS on listeners: which certificate a client is shown, and what it has to agree to.

mod accept;
mod certificate;
mod certificates;
mod settings;

pub(crate) use self::accept::{Secured, accept};
pub use self::{
    certificate::{CertificateError, ServerCertificate},
    certificates::{Proofs, ServerCertificates},
    settings::{ClientAuth, ListenerTls, Sessions, TlsOptions, TlsVersion},
};
