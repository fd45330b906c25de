//! Why a request to a certificate authority has no answer.

use std::{error::Error as StdError, io, time::SystemTime};

use http::StatusCode;

use super::DEADLINE;

/// Why a request to a certificate authority has no answer.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The file with certificates to trust cannot be read.
    #[error("cannot read the certificates in {path}")]
    CaFile {
        /// The file.
        path: String,
        /// Why not.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The system's trusted certificates cannot be used.
    #[error("cannot use the system's trusted certificates")]
    Roots {
        /// Why not.
        source: rustls::Error,
    },
    /// No answer in time.
    #[error("{host} did not answer within {DEADLINE:?}")]
    TimedOut {
        /// The server.
        host: String,
    },
    /// The name of the server does not resolve.
    #[error("the name {host} does not resolve")]
    Name {
        /// The server.
        host: String,
        /// What the system said.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// No connection.
    #[error("cannot connect to {host}")]
    Connect {
        /// The server.
        host: String,
        /// What happened.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The connection broke, or HTTP was not spoken.
    #[error("the exchange with {host} failed")]
    Exchange {
        /// The server.
        host: String,
        /// What happened.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The server does not hand out what it hands out to everybody: its directory, a nonce.
    #[error("{host} answered {status}: {detail}")]
    Unavailable {
        /// The server.
        host: String,
        /// The status.
        status: StatusCode,
        /// What it says.
        detail: String,
        /// When it wants to be asked again.
        retry_after: Option<SystemTime>,
    },
    /// The server speaks HTTP, but not ACME.
    #[error("{host} is no ACME server: it answered {status} with {kind}, beginning {beginning:?}")]
    NotAcme {
        /// The server.
        host: String,
        /// The status.
        status: StatusCode,
        /// The content type.
        kind: String,
        /// The first characters.
        beginning: String,
        /// When it wants to be asked again.
        retry_after: Option<SystemTime>,
    },
    /// There is no nonce, without which nothing can be asked of the server (RFC 8555 §6.5). It was asked for often enough.
    #[error("{host} gives no nonce")]
    NoNonce {
        /// The server.
        host: String,
        /// What happened when it was asked for last.
        source: Box<TransportError>,
    },
}

impl TransportError {
    /// Finds out what an error of the HTTP library is about; its own text says only "client error (Connect)".
    pub(super) fn of(host: &str, error: hyper_util::client::legacy::Error) -> Self {
        let host = host.to_owned();
        let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
        let mut names_the_resolver = false;
        let mut timed_out = false;
        while let Some(inner) = cause {
            names_the_resolver |= inner.to_string().starts_with("dns error");
            timed_out |= inner.downcast_ref::<io::Error>().is_some_and(|inner| inner.kind() == io::ErrorKind::TimedOut);
            cause = inner.source();
        }
        let is_connect = error.is_connect();
        let source = Box::new(error);
        if timed_out {
            Self::TimedOut { host }
        } else if names_the_resolver {
            Self::Name { host, source }
        } else if is_connect {
            Self::Connect { host, source }
        } else {
            Self::Exchange { host, source }
        }
    }

    /// When the server wants to be asked again.
    pub fn retry_after(&self) -> Option<SystemTime> {
        match self {
            Self::Unavailable { retry_after, .. } | Self::NotAcme { retry_after, .. } => *retry_after,
            Self::NoNonce { source, .. } => source.retry_after(),
            _ => None,
        }
    }

    /// Whether the same request may have an answer in a moment.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Exchange { .. } => true,
            Self::Unavailable { status, retry_after, .. } | Self::NotAcme { status, retry_after, .. } => {
                // A page with the status of a success is somebody's between us and the server.
                !status.is_client_error() || (*status == StatusCode::TOO_MANY_REQUESTS && retry_after.is_some())
            }
            // Deadlines are long, and whoever resolves names tries a few times itself.
            Self::TimedOut { .. } | Self::Name { .. } | Self::NoNonce { .. } => false,
            Self::CaFile { .. } | Self::Roots { .. } => false,
        }
    }

    /// Whether the server may have done what it was asked, and only its answer is missing.
    pub(crate) fn is_undecided(&self) -> bool {
        matches!(self, Self::TimedOut { .. } | Self::Exchange { .. } | Self::Unavailable { .. } | Self::NotAcme { .. })
    }
}
