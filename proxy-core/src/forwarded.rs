//! The header fields that tell an upstream server about the client.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use plugin_api::{Connection, RequestHead};

use crate::Source;

/// Sets `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host` and `Forwarded`
/// ([RFC 7239](https://www.rfc-editor.org/rfc/rfc7239)).
///
/// What the client sent is replaced, or anybody could claim to be anybody; a client in `trusted` is itself a proxy, so
/// what it says is kept and it is added to the list.
pub(crate) fn set(head: &mut dyn RequestHead, connection: &Connection, host: Option<&HeaderValue>, trusted: &[Source]) {
    let believed = trusted.iter().any(|source| source.contains(connection.client));
    let own_for = connection.client.ip().map(|client| client.to_string());
    let own_forwarded = format!("for={};proto={}", node(connection.client.ip()), connection.scheme.as_str());

    match (own_for, believed) {
        (Some(own), true) => {
            let chain = joined(head.headers(), &X_FORWARDED_FOR, &own);
            replace(head, X_FORWARDED_FOR, chain);
        }
        (Some(own), false) => replace(head, X_FORWARDED_FOR, own),
        // Its list is complete without an address that there is not.
        (None, true) => {}
        (None, false) => head.remove(&X_FORWARDED_FOR),
    }
    let forwarded = if believed { joined(head.headers(), &header::FORWARDED, &own_forwarded) } else { own_forwarded };
    replace(head, header::FORWARDED, forwarded);
    if !believed || !head.headers().contains_key(X_FORWARDED_PROTO) {
        head.set(X_FORWARDED_PROTO, HeaderValue::from_static(connection.scheme.as_str()));
    }
    if !believed || !head.headers().contains_key(X_FORWARDED_HOST) {
        match host {
            Some(host) => head.set(X_FORWARDED_HOST, host.clone()),
            None => head.remove(&X_FORWARDED_HOST),
        }
    }
}

fn replace(head: &mut dyn RequestHead, name: HeaderName, value: String) {
    match HeaderValue::try_from(value) {
        Ok(value) => head.set(name, value),
        // Only a trusted proxy's own text can be no header value, and it came as one.
        Err(_) => head.remove(&name),
    }
}

/// All values of a field and one more, as one list.
fn joined(headers: &HeaderMap, name: &HeaderName, last: &str) -> String {
    let mut list = String::new();
    for value in headers.get_all(name).iter().filter_map(|value| value.to_str().ok()) {
        list.push_str(value);
        list.push_str(", ");
    }
    list + last
}

/// An address as RFC 7239 §6 writes it.
fn node(address: Option<IpAddr>) -> String {
    match address {
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => format!("\"[{address}]\""),
        None => "unknown".to_owned(),
    }
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

#[cfg(test)]
mod tests {
    use super::*;

    struct Head(HeaderMap);

    impl RequestHead for Head {
        fn target(&self) -> &[u8] {
            b"/"
        }
        fn set_target(&mut self, _: &[u8]) {}
        fn headers(&self) -> &HeaderMap {
            &self.0
        }
        fn set(&mut self, name: HeaderName, value: HeaderValue) {
            self.0.insert(name, value);
        }
        fn append(&mut self, name: HeaderName, value: HeaderValue) {
            self.0.append(name, value);
        }
        fn remove(&mut self, name: &HeaderName) {
            self.0.remove(name);
        }
    }

    fn forwarded(client: &str, sent: &[(&'static str, &'static str)]) -> Head {
        forwarded_for(client, sent, "10.0.0.0/8")
    }

    fn forwarded_for(client: &str, sent: &[(&'static str, &'static str)], trusted: &str) -> Head {
        let mut head = Head(HeaderMap::new());
        for (name, value) in sent {
            head.0.append(*name, HeaderValue::from_static(value));
        }
        let connection = Connection::new(client.parse().unwrap(), "a".into(), "192.0.2.9:80".parse().unwrap());
        let host = HeaderValue::from_static("example.com");
        set(&mut head, &connection, Some(&host), &[trusted.parse().unwrap()]);
        head
    }

    #[test]
    fn a_stranger_cannot_claim_another_address() {
        let claims = [
            ("x-forwarded-for", "203.0.113.1"),
            ("x-forwarded-for", "203.0.113.2"),
            ("forwarded", "for=_x"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "bank.example"),
        ];
        let head = forwarded("[2001:db8::7]:1", &claims);
        assert_eq!(head.0.get_all("x-forwarded-for").iter().collect::<Vec<_>>(), ["2001:db8::7"]);
        assert_eq!(head.0["forwarded"], "for=\"[2001:db8::7]\";proto=http");
        assert_eq!(head.0["x-forwarded-proto"], "http");
        assert_eq!(head.0["x-forwarded-host"], "example.com");
    }

    #[test]
    fn a_client_without_an_address_leaves_none_and_may_be_a_proxy_of_this_machine() {
        let claims = [("x-forwarded-for", "203.0.113.1"), ("forwarded", "for=203.0.113.1")];
        let stranger = forwarded_for("unix:", &claims, "0.0.0.0/0");
        assert!(!stranger.0.contains_key("x-forwarded-for"));
        assert_eq!(stranger.0["forwarded"], "for=unknown;proto=http");
        let proxy = forwarded_for("unix:", &claims, "unix");
        assert_eq!(proxy.0["x-forwarded-for"], "203.0.113.1");
        assert_eq!(proxy.0["forwarded"], "for=203.0.113.1, for=unknown;proto=http");
    }

    #[test]
    fn a_trusted_proxy_is_believed_and_added() {
        let head = forwarded(
            "10.1.1.1:1",
            &[("x-forwarded-for", "203.0.113.1"), ("x-forwarded-for", "203.0.113.2"), ("x-forwarded-proto", "https")],
        );
        assert_eq!(head.0["x-forwarded-for"], "203.0.113.1, 203.0.113.2, 10.1.1.1");
        assert_eq!(head.0["x-forwarded-proto"], "https");
        assert_eq!(head.0["forwarded"], "for=10.1.1.1;proto=http");
    }
}
