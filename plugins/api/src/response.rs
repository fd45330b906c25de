//! A response made by a plugin.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// A complete response that a plugin asks the engine to send.
///
/// The engine adds `Content-Length`, `Date` and connection management; for `HEAD` it sends no body but the same head.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: StatusCode,
    /// Header fields. Framing fields (`Content-Length`, `Transfer-Encoding`, `Connection`) are the engine's and ignored.
    pub headers: HeaderMap,
    /// What is sent as the body.
    pub body: Content,
}

/// The body of a [`Response`].
#[derive(Clone, Debug)]
pub enum Content {
    /// These bytes.
    Bytes(Bytes),
    /// The error page of the status, with a sentence for the visitor.
    Page(String),
}

impl Response {
    /// A response without a body.
    pub fn new(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Content::Bytes(Bytes::new()) }
    }

    /// A refusal: the engine renders its error page for `status` with `reason`, a sentence that the visitor may read.
    pub fn refuse(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, headers: HeaderMap::new(), body: Content::Page(reason.into()) }
    }

    /// Adds a header field.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.append(name, value);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Content::Bytes(body.into());
        self
    }
}
