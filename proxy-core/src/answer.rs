//! The bytes of answers that the proxy itself makes.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use pingora::{http::ResponseHeader, protocols::http::v2::server::HttpSession};
use plugin_api::{
    Connection, Content, Page, Rendered, Request, Response, ResponseHead,
    chain::{Broken, Run},
};

/// An answer of our own: head fields and body are settled, framing is not.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// The words behind the status; `None` for those of its definition.
    pub(crate) phrase: Option<&'static str>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// What an error page says, which a plugin may render in its own way.
    page: Option<Words>,
}

/// What is known of the request that a page is about.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) line: Option<&'a str>,
    pub(crate) is_understood: bool,
}

impl Asked<'_> {
    /// There is none.
    pub(crate) const NOTHING: Self = Self { line: None, is_understood: false };
}

/// What an error page says.
struct Words {
    reason: String,
    error: Option<String>,
}

impl Answer {
    /// The error page for `status`, with a sentence for the visitor.
    pub(crate) fn page(status: StatusCode, reason: &str) -> Self {
        Response::refuse(status, reason).into()
    }

    /// The same with other words behind its status.
    pub(crate) fn with_phrase(mut self, phrase: &'static str) -> Self {
        self.phrase = Some(phrase);
        if let Some(words) = &self.page {
            self.body = render(self.status, Some(phrase), &words.reason).into();
        }
        self
    }

    /// The same with what the system said of the failure.
    pub(crate) fn with_error(mut self, error: Option<String>) -> Self {
        if let Some(words) = &mut self.page {
            words.error = error;
        }
        self
    }

    /// The words behind the status on the status line.
    pub(crate) fn phrase(&self) -> &'static str {
        self.phrase.or(self.status.canonical_reason()).unwrap_or_default()
    }

    /// Lets the plugins of a chain render the page, if this is one. `line` is what the client sent before its fields. A plugin
    /// that fails is told about; the page is ours then.
    pub(crate) async fn render(
        &mut self,
        run: &mut Run,
        request: Request<'_>,
        connection: &Connection,
        line: Option<&str>,
    ) -> Vec<Broken> {
        self.render_for(run, request, connection, Asked { line, is_understood: true }).await
    }

    /// The same for a request that perhaps was not understood: of that there is only the line.
    pub(crate) async fn render_for(
        &mut self,
        run: &mut Run,
        request: Request<'_>,
        connection: &Connection,
        asked: Asked<'_>,
    ) -> Vec<Broken> {
        let Some(words) = self.page.take().filter(|_| run.chain().renders_pages()) else { return Vec::new() };
        let mut page = Page::new(self.status, self.phrase(), &words.reason);
        page.line = asked.line;
        page.is_understood = asked.is_understood;
        page.error = words.error.as_deref();
        let (rendered, broken) = run.page(request, connection, &page).await;
        if let Some(Rendered { body, content_type }) = rendered {
            self.body = body;
            self.headers.insert(header::CONTENT_TYPE, content_type);
        }
        broken
    }

    /// The whole message for a connection that ends with it, for requests that never reach pingora.
    pub(crate) fn to_wire(&self, keep_alive: bool, with_body: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.body.len());
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(self.status.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.phrase().as_bytes());
        out.extend_from_slice(b"\r\n");
        for (name, value) in &self.headers {
            out.extend_from_slice(spelled(name).as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(format!("Content-Length: {}\r\n", self.body.len()).as_bytes());
        out.extend_from_slice(if keep_alive {
            b"Connection: keep-alive\r\n\r\n"
        } else {
            b"Connection: close\r\n\r\n"
        });
        if with_body {
            out.extend_from_slice(&self.body);
        }
        out
    }
}

impl Answer {
    /// Writes it to a stream of HTTP/2, each piece within the time. Returns how many bytes of body went out.
    pub(crate) async fn send(self, session: &mut HttpSession, within: Duration) -> pingora::Result<u64> {
        session.set_write_timeout(Some(within));
        let bodiless = matches!(self.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let silent = bodiless || self.body.is_empty() || session.req_header().method == Method::HEAD;
        let mut head = ResponseHeader::build(self.status, Some(self.headers.len() + 2))?;
        for (name, value) in &self.headers {
            head.append_header(name.clone(), value)?;
        }
        if !bodiless {
            head.insert_header(header::CONTENT_LENGTH, HeaderValue::from(self.body.len()))?;
        }
        session.write_response_header(Box::new(head), silent)?;
        if silent {
            return Ok(0);
        }
        let length = self.body.len() as u64;
        session.write_body(self.body, true).await?;
        Ok(length)
    }
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        let Response { status, phrase, mut headers, body, fault: _ } = response;
        let mut page = None;
        for framing in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION] {
            headers.remove(framing);
        }
        let body = match body {
            Content::Bytes(bytes) => bytes,
            Content::Page(reason) => {
                let mut all = HeaderMap::with_capacity(headers.len() + 2);
                all.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
                all.extend(headers);
                headers = all;
                if KEPT_BY_CACHES.contains(&status) {
                    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                }
                let body = render(status, phrase, &reason).into();
                page = Some(Words { reason, error: None });
                body
            }
        };
        Self { status, phrase, headers, body, page }
    }
}

/// Response hooks may change an answer like any other head.
impl ResponseHead for Answer {
    fn status(&self) -> StatusCode {
        self.status
    }

    fn set_status(&mut self, status: StatusCode) {
        if !status.is_informational() {
            self.phrase = self.phrase.filter(|_| status == self.status);
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

/// A name as people write it: in HTTP/1 its case means nothing, but there are readers to whom it does.
pub(crate) fn spelled(name: &HeaderName) -> String {
    match *name {
        header::ETAG => return "ETag".to_owned(),
        header::TE => return "TE".to_owned(),
        header::WWW_AUTHENTICATE => return "WWW-Authenticate".to_owned(),
        _ => {}
    }
    let mut starts = true;
    let letter = |letter: char| {
        let shown = if starts { letter.to_ascii_uppercase() } else { letter };
        starts = letter == '-';
        shown
    };
    name.as_str().chars().map(letter).collect()
}

fn render(status: StatusCode, phrase: Option<&str>, reason: &str) -> String {
    let phrase = phrase.or(status.canonical_reason()).unwrap_or("Error");
    let reason = escape(reason);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{} {phrase}</title></head>\n\
         <body><h1>{phrase}</h1>\n<p>{reason}</p>\n</body></html>\n",
        status.as_str()
    )
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

/// Errors that a cache may keep unless it is told otherwise (RFC 9110 §15.1).
const KEPT_BY_CACHES: [StatusCode; 5] = [
    StatusCode::NOT_FOUND,
    StatusCode::METHOD_NOT_ALLOWED,
    StatusCode::GONE,
    StatusCode::URI_TOO_LONG,
    StatusCode::NOT_IMPLEMENTED,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_escape_their_reason_and_carry_their_length() {
        let page = Answer::page(StatusCode::BAD_REQUEST, "<script>");
        let wire = String::from_utf8(page.to_wire(false, true)).unwrap();
        assert!(wire.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{wire}");
        assert!(wire.contains("&lt;script&gt;") && !wire.contains("<script>"));
        let (head, body) = wire.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
        assert!(head.ends_with("Connection: close"));
        assert!(head.contains("\r\nContent-Type: text/html\r\n"));
        assert!(page.to_wire(true, false).ends_with(b"Connection: keep-alive\r\n\r\n"), "HEAD gets no body");
    }
}
