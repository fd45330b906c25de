//! What a parent proxy answers to `CONNECT`, on its way to the client.

use http::{HeaderValue, StatusCode, header};
use pingora::http::ResponseHeader;
use plugin_api::chain::Broken;

use super::Parts;
use crate::{
    flight::Flight,
    relay::heads::{Incoming, receive},
};

/// The head of an answer, and what came behind it.
pub(super) struct Said<'a> {
    head: ResponseHeader,
    phrase: String,
    /// The beginning of the body of one that opens no tunnel.
    pub(super) body: &'a [u8],
}

impl<'a> Said<'a> {
    /// Reads one; `None` when it is none.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut fields = [httparse::EMPTY_HEADER; 256];
        let mut response = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(length) = response.parse(bytes).ok()? else { return None };
        let mut head = ResponseHeader::build(response.code?, Some(response.headers.len())).ok()?;
        for field in response.headers.iter() {
            head.append_header(field.name.to_owned(), field.value).ok()?;
        }
        Some(Self { head, phrase: response.reason.unwrap_or_default().to_owned(), body: bytes.get(length..)? })
    }

    /// Whether a client of this minor version can tell where the body ends, and nobody can be mistaken about it.
    pub(super) fn is_framed_for(&self, minor: u8) -> bool {
        let mut lengths = self.head.headers.get_all(header::CONTENT_LENGTH).iter();
        let first = lengths.next();
        let is_chunked = self.head.headers.contains_key(header::TRANSFER_ENCODING);
        lengths.all(|length| Some(length) == first) && !(is_chunked && (first.is_some() || minor == 0))
    }

    pub(super) fn status(&self) -> StatusCode {
        self.head.status
    }

    /// The head for the client, without what was between the parent and us, and as the response hooks change it. One that opens a
    /// tunnel frames no body (RFC 9110 §9.3.6).
    pub(super) async fn head(mut self, flight: &mut Flight, parts: &Parts, minor: u8) -> Result<Vec<u8>, Broken> {
        // A client that is asked for a password must be told for what (RFC 9110 §15.5.8).
        let challenges: Vec<HeaderValue> =
            self.head.headers.get_all(header::PROXY_AUTHENTICATE).iter().cloned().collect();
        receive(&mut self.head);
        let opens = self.head.status.is_success();
        if opens {
            self.head.remove_header(&header::CONTENT_LENGTH);
            self.head.remove_header(&header::TRANSFER_ENCODING);
        }
        let request = parts.view(&flight.line);
        flight.run.response(request, &flight.origin.connection, &mut Incoming(&mut self.head)).await?;
        let mut wire = format!("HTTP/1.{minor} {} {}\r\n", self.head.status.as_str(), self.phrase).into_bytes();
        self.head.header_to_h1_wire(&mut wire);
        for value in challenges.iter().filter(|_| !opens) {
            wire.extend_from_slice(b"Proxy-Authenticate: ");
            wire.extend_from_slice(value.as_bytes());
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(if opens { b"\r\n" } else { b"Connection: close\r\n\r\n" });
        Ok(wire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_misunderstood_is_not_passed_on() {
        for (fields, minor, expected) in [
            ("", 0, true),
            ("Content-Length: 3\r\n", 0, true),
            ("Content-Length: 3\r\nContent-Length: 3\r\n", 1, true),
            ("Content-Length: 3\r\nContent-Length: 4\r\n", 1, false),
            ("Transfer-Encoding: chunked\r\n", 1, true),
            ("Transfer-Encoding: chunked\r\n", 0, false),
            ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", 1, false),
        ] {
            let bytes = format!("HTTP/1.1 403 No\r\n{fields}\r\nno");
            let said = Said::parse(bytes.as_bytes()).unwrap();
            assert_eq!((said.is_framed_for(minor), said.body), (expected, &b"no"[..]), "{fields}");
        }
        assert!(Said::parse(b"HTTP/1.1 403 No\r\n").is_none() && Said::parse(b"nonsense\r\n\r\n").is_none());
    }
}
