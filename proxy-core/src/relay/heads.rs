//! Pingora's heads, as plugins see them.

use std::collections::HashSet;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use pingora::http::{RequestHeader, ResponseHeader};
use plugin_api::{RequestHead, ResponseHead, Spelled};

use super::order;
use crate::{answer::spelled, dial::basic, upstream::Attempts};

/// The head that goes to the upstream server.
pub(super) struct Outgoing<'a>(pub(super) &'a mut RequestHeader);

/// The head that comes back.
pub(crate) struct Incoming<'a>(pub(crate) &'a mut ResponseHeader);

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

/// Takes out what a client names in `Proxy-Connection` beside `Connection`: pingora looks at the latter only, and removes both.
pub(super) fn send(head: &mut RequestHeader, sent: &HeaderMap) {
    let named = beside(sent);
    if named.is_empty() {
        return;
    }
    // What pingora itself has to say about the connection is no client's to take away.
    let is_kept = |name: &HeaderName| [header::HOST, header::CONNECTION, header::UPGRADE].contains(name);
    order::remove(head, |name| named.contains(name) && !is_kept(name));
}

/// Takes what was between the server and us out of its answer (RFC 9110 §7.6.1), and says in whose version it is passed on.
pub(crate) fn receive(head: &mut ResponseHeader) {
    let named = named(&head.headers);
    order::remove(head, |name| named.contains(name) || HOP_BY_HOP.contains(name));
    let mut lengths = head.headers.get_all(header::CONTENT_LENGTH).iter();
    if let (Some(first), Some(_)) = (lengths.next().cloned(), lengths.next()) {
        // Pingora refuses those that differ; the same twice must not be passed on (RFC 9110 §8.6).
        head.insert_header(header::CONTENT_LENGTH, first).expect(TYPED);
    }
    head.set_version(Version::HTTP_11);
}

/// The fields that a head says are for its recipient only.
pub(crate) fn named(headers: &HeaderMap) -> HashSet<HeaderName> {
    let mut named = options(headers, header::CONNECTION);
    named.extend(beside(headers));
    named
}

/// The fields that are there and that a field lists as options of the connection: no more than there are, however long the list
/// is. What frames the message is never one, whatever anybody says.
fn options(headers: &HeaderMap, field: HeaderName) -> HashSet<HeaderName> {
    let listed = headers.get_all(field).into_iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    listed
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| headers.contains_key(name))
        .filter(|name| ![header::CONTENT_LENGTH, header::TRANSFER_ENCODING].contains(name))
        .collect()
}

/// The options in `Proxy-Connection`, which count where there is a `Connection` too.
fn beside(headers: &HeaderMap) -> HashSet<HeaderName> {
    if headers.contains_key(header::CONNECTION) { options(headers, PROXY_CONNECTION) } else { HashSet::new() }
}

/// No standard, and used like `Connection`.
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Fields that are for the next hop only.
const HOP_BY_HOP: [HeaderName; 5] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    PROXY_CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
];

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
        self.0.insert_header(spelled(&name), value).expect(TYPED);
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.append_header(spelled(&name), value).expect(TYPED);
    }

    fn set_spelled(&mut self, name: &Spelled, value: HeaderValue) {
        self.0.insert_header(name.spelling().clone(), value).expect(TYPED);
    }

    fn append_spelled(&mut self, name: &Spelled, value: HeaderValue) {
        self.0.append_header(name.spelling().clone(), value).expect(TYPED);
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
        self.0.insert_header(spelled(&name), value).expect(TYPED);
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.append_header(spelled(&name), value).expect(TYPED);
    }

    fn set_spelled(&mut self, name: &Spelled, value: HeaderValue) {
        self.0.insert_header(name.spelling().clone(), value).expect(TYPED);
    }

    fn append_spelled(&mut self, name: &Spelled, value: HeaderValue) {
        self.0.append_header(name.spelling().clone(), value).expect(TYPED);
    }

    fn remove(&mut self, name: &HeaderName) {
        self.0.remove_header(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_is_what_is_there() {
        let mut head = ResponseHeader::build(200, None).unwrap();
        let many = "zz,".repeat(300_000) + "x-a, content-length";
        for (name, value) in
            [("Connection", &*many), ("X-A", "1"), ("X-B", "2"), ("Content-Length", "0"), ("Proxy-Connection", "X-B")]
        {
            head.append_header(name, value).unwrap();
        }
        assert_eq!(named(&head.headers), HashSet::from(["x-a", "x-b"].map(HeaderName::from_static)));
        receive(&mut head);
        assert_eq!(head.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["content-length"]);
    }

    #[test]
    fn a_client_takes_no_upgrade_away() {
        let build = || RequestHeader::build("GET", b"/", None).unwrap();
        let (mut sent, mut head) = (build(), build());
        for (name, value) in [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("X-A", "1"), ("Host", "a")] {
            sent.append_header(name, value).unwrap();
            head.append_header(name, value).unwrap();
        }
        sent.append_header("Proxy-Connection", "Upgrade, Connection, Host, X-A").unwrap();
        send(&mut head, &sent.headers);
        assert_eq!(head.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["connection", "upgrade", "host"]);
    }
}
