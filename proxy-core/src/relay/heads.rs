//! Pingora's heads, as plugins see them.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use plugin_api::{RequestHead, ResponseHead};

/// The head that goes to the upstream server.
pub(super) struct Outgoing<'a>(pub(super) &'a mut RequestHeader);

/// The head that comes back.
pub(super) struct Incoming<'a>(pub(super) &'a mut ResponseHeader);

const TYPED: &str = "a typed name and value are always accepted";

impl RequestHead for Outgoing<'_> {
    fn target(&self) -> &[u8] {
        self.0.raw_path()
    }

    fn set_target(&mut self, target: &[u8]) {
        if let Err(error) = self.0.set_raw_path(target) {
            tracing::warn!(target: "lockgate::chain", %error, "a plugin set a request target that cannot be sent");
        }
    }

    fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.insert_header(name, value).expect(TYPED);
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.append_header(name, value).expect(TYPED);
    }

    fn remove(&mut self, name: &HeaderName) {
        self.0.remove_header(name);
    }
}

impl ResponseHead for Incoming<'_> {
    fn status(&self) -> StatusCode {
        self.0.status
    }

    fn set_status(&mut self, status: StatusCode) {
        // The framing of 1xx is another one: changing it would leave the connection out of step.
        if !status.is_informational() && !self.0.status.is_informational() {
            self.0.set_status(status).expect("a status code is a status code");
        }
    }

    fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.insert_header(name, value).expect(TYPED);
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.append_header(name, value).expect(TYPED);
    }

    fn remove(&mut self, name: &HeaderName) {
        self.0.remove_header(name);
    }
}
