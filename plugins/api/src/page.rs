//! Error pages, and who renders them.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

/// An error page that is about to be written: the engine's own, or one that a plugin asked for with
/// [`Response::refuse`](crate::Response::refuse).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Page<'a> {
    /// The status.
    pub status: StatusCode,
    /// The words behind it on the status line.
    pub phrase: &'a str,
    /// A sentence that the visitor may read.
    pub reason: &'a str,
    /// The request line as it came, where one came: HTTP/2 has none.
    pub line: Option<&'a str>,
    /// Whether the request was understood; otherwise there is no request to look at, but for its line.
    pub is_understood: bool,
    /// What the system said when a server could not be reached, in its words: "Connection refused".
    pub error: Option<&'a str>,
}

impl<'a> Page<'a> {
    /// A page; the engine and the harness make them.
    pub const fn new(status: StatusCode, phrase: &'a str, reason: &'a str) -> Self {
        Self { status, phrase, reason, line: None, is_understood: true, error: None }
    }
}

/// What a plugin made of a [`Page`].
#[derive(Clone, Debug)]
pub struct Rendered {
    /// The body.
    pub body: Bytes,
    /// Its `Content-Type`.
    pub content_type: HeaderValue,
}

impl Rendered {
    /// HTML in UTF-8.
    pub fn html(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), content_type: HeaderValue::from_static("text/html; charset=utf-8") }
    }
}
