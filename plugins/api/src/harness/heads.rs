//! Heads in memory, as hooks see them.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::{RequestHead, ResponseHead};

/// The head that goes to the upstream server.
pub(super) struct Outgoing {
    pub(super) target: Vec<u8>,
    pub(super) headers: HeaderMap,
}

impl RequestHead for Outgoing {
    fn target(&self) -> &[u8] {
        &self.target
    }

    fn set_target(&mut self, target: &[u8]) {
        if !target.iter().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()) {
            self.target = target.to_vec();
        }
    }

    fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.insert(name, value);
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.append(name, value);
    }

    fn remove(&mut self, name: &HeaderName) {
        self.headers.remove(name);
    }
}

/// The head that comes back.
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
}

impl ResponseHead for Head {
    fn status(&self) -> StatusCode {
        self.status
    }

    fn set_status(&mut self, status: StatusCode) {
        if !status.is_informational() {
            self.status = status;
        }
    }

    fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.insert(name, value);
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.headers.append(name, value);
    }

    fn remove(&mut self, name: &HeaderName) {
        self.headers.remove(name);
    }
}
