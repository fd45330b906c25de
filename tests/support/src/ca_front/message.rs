//! HTTP messages, whole and in memory.

use std::{
    fmt::Write as _,
    io::{self, BufRead, Read as _},
};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde_json::Value;

/// What a client asks.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    headers: Headers,
    body: Vec<u8>,
    /// The connection is not to be used again.
    pub(super) closes: bool,
}

/// What a server says.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    headers: Headers,
    pub(super) body: Vec<u8>,
}

/// Names in lower case.
#[derive(Clone, Debug, Default)]
struct Headers(Vec<(String, String)>);

impl Request {
    /// One without a body, for whom `host` leads to.
    pub(super) fn new(method: &str, path: &str, host: &str) -> Self {
        let headers = Headers(vec![("host".to_owned(), host.to_owned())]);
        Self { method: method.to_owned(), path: path.to_owned(), headers, body: Vec::new(), closes: true }
    }

    /// The next one on a connection; `None` at its end, and when it is no HTTP.
    pub(super) fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let Some((first, mut headers)) = read_head(reader)? else { return Ok(None) };
        let mut words = first.split(' ');
        let (Some(method), Some(path), Some(version)) = (words.next(), words.next(), words.next()) else {
            return Ok(None);
        };
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let closes = version == "HTTP/1.0"
            || headers.get("connection").is_some_and(|connection| connection.eq_ignore_ascii_case("close"));
        headers.remove("content-length");
        headers.remove("connection");
        Ok(Some(Self { method: method.to_owned(), path: path.to_owned(), headers, body, closes }))
    }

    /// As a server gets it. By HTTP/1.0, whose answers have no chunks and end with the connection.
    pub(super) fn text(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.0\r\n", self.method, self.path);
        self.headers.write(&mut head);
        if self.method == "POST" {
            let _ = write!(head, "content-length: {}\r\n", self.body.len());
        }
        [head.as_bytes(), b"\r\n", &self.body].concat()
    }

    /// The server that the client believes to talk to.
    pub(super) fn host(&self) -> &str {
        self.headers.get("host").unwrap_or_default()
    }

    /// What is signed in the body (RFC 8555 §6.2); `None` when nothing is, and for a POST-as-GET.
    pub(super) fn payload(&self) -> Option<Value> {
        let signed: Value = serde_json::from_slice(&self.body).ok()?;
        let payload = BASE64_URL_SAFE_NO_PAD.decode(signed["payload"].as_str()?).ok()?;
        serde_json::from_slice(&payload).ok()
    }

    #[cfg(test)]
    pub(super) fn signed(path: &str, payload: &Value) -> Self {
        let payload = BASE64_URL_SAFE_NO_PAD.encode(payload.to_string());
        let body = serde_json::json!({ "protected": "", "payload": payload, "signature": "" }).to_string().into_bytes();
        Self { body, ..Self::new("POST", path, "ca.example") }
    }
}

impl Answer {
    /// One of a document of this kind.
    pub(super) fn new(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = Headers(vec![("content-type".to_owned(), kind.to_owned())]);
        Self { status, headers, body: body.into() }
    }

    /// The answer to a request with this method, to the end of the connection.
    pub(super) fn read(reader: &mut impl BufRead, method: &str) -> io::Result<Self> {
        let (first, mut headers) = read_head(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status =
            first.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        let length = headers.get("content-length").and_then(|length| length.parse().ok());
        let mut body = Vec::new();
        if method != "HEAD" {
            let read = reader.take(length.unwrap_or(u64::MAX)).read_to_end(&mut body)?;
            if length.is_some_and(|length| length != read as u64) {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        for own in ["content-length", "connection", "transfer-encoding"] {
            headers.remove(own);
        }
        Ok(Self { status, headers, body })
    }

    /// As a client gets it that asked by this method.
    pub(super) fn text(&self, method: &str, closes: bool) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        self.headers.write(&mut head);
        if closes {
            head.push_str("connection: close\r\n");
        }
        // RFC 9110 §8.6 forbids it with this status.
        if self.status != 204 {
            let _ = write!(head, "content-length: {}\r\n", self.body.len());
        }
        let body = if method == "HEAD" { &[] } else { self.body.as_slice() };
        [head.as_bytes(), b"\r\n", body].concat()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    pub(super) fn set_header(&mut self, name: &str, value: impl Into<String>) {
        self.headers.remove(name);
        self.headers.0.push((name.to_owned(), value.into()));
    }

    /// The body, where it is JSON.
    pub(super) fn document(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    pub(super) fn set_document(&mut self, document: &Value) {
        self.body = document.to_string().into_bytes();
    }
}

impl Headers {
    fn get(&self, wanted: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }

    fn remove(&mut self, unwanted: &str) {
        self.0.retain(|(name, _)| name != unwanted);
    }

    fn write(&self, head: &mut String) {
        for (name, value) in &self.0 {
            let _ = write!(head, "{name}: {value}\r\n");
        }
    }
}

/// First line and headers; `None` where nothing comes.
fn read_head(reader: &mut impl BufRead) -> io::Result<Option<(String, Headers)>> {
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        Ok::<_, io::Error>(line.trim_end().to_owned())
    };
    let first = line()?;
    if first.is_empty() {
        return Ok(None);
    }
    let mut headers = Headers::default();
    while let Some((name, value)) = line()?.split_once(':') {
        headers.0.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(Some((first, headers)))
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        _ => "As It Is",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_one_after_the_other() {
        let both =
            b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}GET /b HTTP/1.1\r\nConnection: Close\r\n\r\n";
        let mut reader = both.as_slice();
        let first = Request::read(&mut reader).unwrap().unwrap();
        assert_eq!((first.method.as_str(), first.host(), first.closes), ("POST", "x", false));
        assert_eq!(first.text(), b"POST /a HTTP/1.0\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}");
        assert!(Request::read(&mut reader).unwrap().unwrap().closes);
        assert!(Request::read(&mut reader).unwrap().is_none());
    }

    #[test]
    fn an_answer_that_ends_early_is_an_error_and_one_to_head_is_not() {
        let text = b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nab".as_slice();
        assert_eq!(Answer::read(&mut &*text, "GET").unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(Answer::read(&mut &*text, "HEAD").unwrap().status, 200);
    }

    #[test]
    fn a_post_as_get_has_no_payload() {
        assert_eq!(Request::signed("/x", &serde_json::json!({ "a": 1 })).payload().unwrap()["a"], 1);
        let empty = Request { body: br#"{"payload":""}"#.to_vec(), ..Request::new("POST", "/x", "ca.example") };
        assert!(empty.payload().is_none());
    }
}
