//! How a request ended.

use std::time::Duration;

use http::StatusCode;

/// The end of one request, for [`Plugin::log`](crate::Plugin::log) and the access log.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The status sent, `None` when no head went out.
    pub status: Option<StatusCode>,
    /// Bytes of the response body sent to the client.
    pub response_bytes: u64,
    /// Time from the last byte of the request head to the end.
    pub duration: Duration,
    /// How it ended.
    pub ending: Ending,
}

impl Outcome {
    /// An outcome.
    pub fn new(status: Option<StatusCode>, response_bytes: u64, duration: Duration, ending: Ending) -> Self {
        Self { status, response_bytes, duration, ending }
    }
}

/// The ways in which a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ending {
    /// A complete response was sent.
    Complete,
    /// The client went away or broke the protocol.
    Client,
    /// The upstream server could not be reached, or failed.
    Upstream,
    /// A plugin was broken.
    Plugin,
    /// The proxy itself was at fault, or was stopped.
    Proxy,
}

impl Ending {
    /// The word for the access log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Plugin => "plugin",
            Self::Proxy => "proxy",
        }
    }
}
