//! Answers ACME challenges in TLS handshakes: TLS-ALPN-01, [RFC 8737](https://www.rfc-editor.org/rfc/rfc8737).
//!
//! It keeps a challenge certificate for each name; whoever accepts TLS asks for it when a client offers `acme-tls/1` and
//! nothing else. It listens nowhere and writes nothing.

mod config;
mod present;
mod proof;
mod tls_alpn;

pub use config::Config;
pub use tls_alpn::TlsAlpn;
