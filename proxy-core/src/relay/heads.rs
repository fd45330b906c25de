//! Pingora's heads, as plugins see them.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use plugin_api::{RequestHead, ResponseHead};

use crate::{dial::basic, upstream::Attempts};

/// The head that goes to the upstream server.
pub(super) struct Outgoing<'a>(pub(super) &'a mut RequestHeader);

/// The head that comes back.
pub(super) struct Incoming<'a>(pub(super) &'a mut ResponseHeader);

const TYPED: &str = "a typed name and value are always accepted";

/// Tells a proxy on the way what it is asked for: the whole URL, and who asks (RFC 9112 §3.2.2).
pub(super) fn for_parent(head: &mut Outgoing<'_>, attempts: &Attempts) {
    let Some(authority) = attempts.absolute_authority() else { return };
    let mut target = format!("http://{authority}").into_bytes();
    target.extend_from_slice(if head.target() == b"*" { b"" } else { head.target() });
    head.set_target(&target);
    let parent = attempts.peer().settings().parent.as_ref();
    if let Some((user, password)) = parent.and_then(|parent| parent.credentials.as_ref())
        && let Ok(value) = HeaderValue::try_from(basic(user, password))
    {
        head.set(header::PROXY_AUTHORIZATION, value);
    }
    if let Ok(host) = HeaderValue::try_from(authority) {
        head.set(header::HOST, host);
    }
}

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
