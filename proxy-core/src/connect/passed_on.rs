//! The head of a `CONNECT` that is passed on to a parent proxy, as plugins see it.

use http::{HeaderMap, HeaderName, HeaderValue, header};
use plugin_api::RequestHead;

use crate::relay::heads::named;

/// What the client sent, without what was for us, and what plugins make of it.
pub(super) struct PassedOn {
    target: Vec<u8>,
    headers: HeaderMap,
}

impl PassedOn {
    pub(super) fn of(target: &[u8], headers: &HeaderMap) -> Self {
        let mut headers = headers.clone();
        let named = named(&headers);
        without(&mut headers, |name| named.contains(name) || OURS.contains(name));
        Self { target: target.to_vec(), headers }
    }

    /// The fields, with what a `CONNECT` must not have taken out again. Credentials are those that a plugin added.
    pub(super) fn into_fields(mut self) -> HeaderMap {
        without(&mut self.headers, |name| OURS.contains(name) && *name != header::PROXY_AUTHORIZATION);
        self.headers
    }
}

impl RequestHead for PassedOn {
    fn target(&self) -> &[u8] {
        &self.target
    }

    /// It is where the tunnel leads, which is decided by now.
    fn set_target(&mut self, target: &[u8]) {
        tracing::warn!(
            target: "lockgate::chain", wanted = %target.escape_ascii(), "a plugin cannot change where a tunnel leads"
        );
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

/// Removes fields, and leaves all others in their order.
fn without(headers: &mut HeaderMap, is_unwanted: impl Fn(&HeaderName) -> bool) {
    let mut name = None;
    for (next, value) in std::mem::take(headers) {
        name = next.or(name);
        if let Some(name) = name.as_ref().filter(|name| !is_unwanted(name)) {
            headers.append(name.clone(), value);
        }
    }
}

/// Fields between two neighbours, those that we write ourselves, and those that would frame a body.
const OURS: [HeaderName; 10] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_for_us_stays_here() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "a:443"),
            ("connection", "X-Secret, close"),
            ("x-secret", "1"),
            ("proxy-authorization", "Basic eA=="),
            ("content-length", "3"),
            ("user-agent", "test"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let mut head = PassedOn::of(b"a:443", &headers);
        head.append(header::VIA, HeaderValue::from_static("1.1 me"));
        head.set(header::CONTENT_LENGTH, HeaderValue::from_static("5"));
        head.append(header::PROXY_AUTHORIZATION, HeaderValue::from_static("Basic eTo="));
        head.set_target(b"b:443");
        assert_eq!(head.target(), b"a:443");
        let fields = head.into_fields();
        let names: Vec<_> = fields.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["user-agent", "via", "proxy-authorization"]);
        assert_eq!(fields[header::PROXY_AUTHORIZATION], "Basic eTo=", "that of the operator, not the client's");
    }
}
