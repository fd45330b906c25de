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
    /// The words behind it on the status line; `None` for those of its definition. HTTP/2 has none.
    pub phrase: Option<&'static str>,
    /// Header fields. Framing fields (`Content-Length`, `Transfer-Encoding`, `Connection`) are the engine's and ignored.
    pub headers: HeaderMap,
    /// What is sent as the body.
    pub body: Content,
    /// What it finds wrong with the request, for the statistics; `None` leaves it to [`Fault::of`] the status.
    pub fault: Option<Fault>,
}

/// What is wrong with a request that is answered instead of being passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Who asks: it counts as denied.
    Client,
    /// What is asked for, because a rule forbids it: it counts as denied and as bad.
    Target,
    /// How it is asked: it counts as bad.
    Request,
}

impl Fault {
    /// What a status says of it.
    pub fn of(status: StatusCode) -> Option<Self> {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                Some(Self::Client)
            }
            StatusCode::BAD_REQUEST | StatusCode::NOT_IMPLEMENTED => Some(Self::Request),
            _ => None,
        }
    }
}

/// The body of a [`Response`].
#[derive(Clone, Debug)]
pub enum Content {
    /// These bytes.
    Bytes(Bytes),
    /// The error page of the status, with a sentence for the visitor; see [`Plugin::page`](crate::Plugin::page).
    Page(String),
}

impl Response {
    /// A response without a body.
    pub fn new(status: StatusCode) -> Self {
        Self { status, phrase: None, headers: HeaderMap::new(), body: Content::Bytes(Bytes::new()), fault: None }
    }

    /// A refusal: the engine renders its error page for `status` with `reason`, a sentence that the visitor may read.
    pub fn refuse(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, phrase: None, headers: HeaderMap::new(), body: Content::Page(reason.into()), fault: None }
    }

    /// Sets the words behind the status on the status line.
    #[must_use]
    pub fn with_phrase(mut self, phrase: &'static str) -> Self {
        self.phrase = Some(phrase);
        self
    }

    /// Says what is wrong with the request.
    #[must_use]
    pub fn with_fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
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
