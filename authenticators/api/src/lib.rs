//! The waist between Lockgate and its authenticators: who proves to a certificate authority that we control a name.
//!
//! An authenticator makes key authorizations retrievable at `/.well-known/acme-challenge/<token>`
//! ([RFC 8555 §8.3](https://www.rfc-editor.org/rfc/rfc8555#section-8.3)), or certificates that prove the same in a TLS
//! handshake ([RFC 8737](https://www.rfc-editor.org/rfc/rfc8737)). It does not speak ACME and knows no proxy.

mod authenticator;
mod challenge;
mod config;
#[cfg(feature = "conformance")]
pub mod conformance;

pub use authenticator::{Authenticator, BoxFuture, Error, Lookup};
pub use challenge::{
    Challenge, ChallengeCertificate, ChallengeKind, DomainName, KeyAuthorization, NameError, Token, TokenError,
};
pub use config::{BuildError, Kind};
