//! Request heads: strict, pure parsing before pingora sees a byte.
//!
//! Whatever two parsers could read in two ways is refused here, because the server behind us is the second parser
//! ([RFC 9112 §11.2](https://www.rfc-editor.org/rfc/rfc9112#section-11.2)).

mod host;
mod scanner;

use std::{mem::MaybeUninit, ops::Range};

use http::{HeaderValue, Method, StatusCode, Version};
use plugin_api::{Form, Scheme};

use self::host::Authority;
pub(crate) use self::scanner::{Scanner, settle};
use crate::HeadLimits;

/// A request head that can be understood in one way only. Ranges are within the bytes that it was parsed from.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) target: Range<usize>,
    /// The target without scheme, authority and query; `/` for an absolute target that ends with its authority, and empty
    /// for CONNECT. Byte by byte as it was sent: nothing is decoded or normalised, so whoever compares it compares bytes.
    pub(crate) path: Range<usize>,
    pub(crate) version: Version,
    /// Lower case, without port.
    pub(crate) host: Option<Box<str>>,
    pub(crate) body: Framing,
    pub(crate) keep_alive: bool,
    /// The client asks for another protocol on this connection.
    pub(crate) upgrade: bool,
    pub(crate) user_agent: Option<Range<usize>>,
    pub(crate) referer: Option<Range<usize>>,
    pub(crate) form: Form,
    /// For an absolute-form target: the authority, which takes the place of `Host` (RFC 9112 §3.2.2), and the rest.
    absolute: Option<Absolute>,
}

#[derive(Debug)]
struct Absolute {
    authority: Range<usize>,
    rest: Range<usize>,
}

/// How the end of the body is found (RFC 9112 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// Why a request is not served. The connection ends with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    /// A sentence for the visitor and the log.
    pub(crate) reason: &'static str,
}

impl Head {
    /// Parses a complete head, as found by [`Scanner::find_end`].
    pub(crate) fn parse(bytes: &[u8], limits: &HeadLimits) -> Result<Self, Refusal> {
        let mut headers = [const { MaybeUninit::uninit() }; MOST_HEADERS];
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(bytes, &mut headers) {
            Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
            Ok(_) => return Err(bad("The request head is malformed.")),
            Err(error) => return Err(malformed(error, bytes)),
        }
        let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
            return Err(bad("The request line is malformed."));
        };
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_error: http::method::InvalidMethod| bad("The method is malformed."))?;
        if target.len() > limits.target {
            return Err(TARGET_TOO_LONG);
        }
        let target = range_of(bytes, target.as_bytes());
        let version = if minor == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
        let fields = Fields::read(request.headers, bytes)?;
        let parts = Target::parse(bytes, &method, target.clone())?;
        let authority = match (&parts.authority, fields.host) {
            (Some(authority), _) => Some(Authority::parse(&bytes[authority.clone()])?),
            (None, Some(host)) => Some(Authority::parse(host)?),
            (None, None) if version == Version::HTTP_11 => return Err(bad("An HTTP/1.1 request needs a Host field.")),
            (None, None) => None,
        };
        if let (Some(_), Some(host)) = (&parts.authority, fields.host.filter(|host| !host.is_empty())) {
            // It will be replaced, but one that cannot be read is refused all the same.
            Authority::parse(host)?;
        }
        let body = fields.framing(version)?;
        let upgrade = fields.upgrade && fields.connection.upgrade && version == Version::HTTP_11;
        let keep_alive = !fields.connection.close && (version == Version::HTTP_11 || fields.connection.keep_alive);
        Ok(Self {
            absolute: parts.authority.zip(parts.rest).map(|(authority, rest)| Absolute { authority, rest }),
            path: parts.path,
            form: parts.form,
            host: authority.map(|authority| authority.host),
            user_agent: fields.user_agent,
            referer: fields.referer,
            method,
            target,
            version,
            body,
            keep_alive,
            upgrade,
        })
    }

    /// The head in origin form, when it came in absolute form.
    pub(crate) fn rewritten(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let absolute = self.absolute.as_ref()?;
        let mut out = Vec::with_capacity(bytes.len() + 16);
        out.extend_from_slice(&bytes[..self.target.start]);
        let rest = &bytes[absolute.rest.clone()];
        match rest.first() {
            Some(b'/') => {}
            // "OPTIONS of the whole server" is written like this in absolute form (RFC 9112 §3.2.4).
            None if self.method == Method::OPTIONS => out.push(b'*'),
            _ => out.push(b'/'),
        }
        out.extend_from_slice(rest);
        let mut lines = bytes[self.target.end..].split_inclusive(|byte| *byte == b'\n');
        out.extend_from_slice(lines.next().unwrap_or_default());
        out.extend_from_slice(b"Host: ");
        out.extend_from_slice(&bytes[absolute.authority.clone()]);
        out.extend_from_slice(b"\r\n");
        for line in lines {
            let is_host = line.len() > 4 && line[..4].eq_ignore_ascii_case(b"host") && line[4] == b':';
            if !is_host {
                out.extend_from_slice(line);
            }
        }
        Some(out)
    }
}

/// The parts of a request target (RFC 9112 §3.2).
struct Target {
    authority: Option<Range<usize>>,
    /// Path and query; CONNECT has none.
    rest: Option<Range<usize>>,
    path: Range<usize>,
    form: Form,
}

impl Target {
    fn parse(bytes: &[u8], method: &Method, target: Range<usize>) -> Result<Self, Refusal> {
        let text = &bytes[target.clone()];
        if text.iter().any(|byte| *byte == b'#' || *byte <= b' ' || *byte == 0x7f) {
            return Err(bad("The request target holds a character that none may hold."));
        }
        if method == Method::CONNECT {
            let authority = Authority::parse(text)?;
            if authority.port.is_none_or(|port| port == 0) {
                return Err(bad("CONNECT needs a host and a port."));
            }
            let path = target.end..target.end;
            return Ok(Self { path, authority: Some(target), rest: None, form: Form::Authority });
        }
        let scheme = [(&b"http://"[..], Scheme::Http), (b"https://", Scheme::Https)]
            .into_iter()
            .find(|(scheme, _)| text.len() > scheme.len() && text[..scheme.len()].eq_ignore_ascii_case(scheme));
        let form = scheme.map_or(Form::Origin, |(_, scheme)| Form::Absolute(scheme));
        let (authority, rest) = match scheme {
            Some((scheme, _)) => {
                let start = target.start + scheme.len();
                let length = text[scheme.len()..].iter().position(|byte| b"/?\\".contains(byte));
                let end = length.map_or(target.end, |length| start + length);
                (Some(start..end), end..target.end)
            }
            None if text.starts_with(b"/") || (text == b"*" && method == Method::OPTIONS) => (None, target.clone()),
            None => return Err(bad("The request target is neither a path nor a URL.")),
        };
        // Pingora keeps the target as a `Uri`; what that cannot hold would be answered by its own page.
        let text = &bytes[rest.clone()];
        let is_ordinary = |byte: &u8| ORDINARY[usize::from(*byte)];
        if !text.iter().all(is_ordinary) && http::uri::PathAndQuery::try_from(text).is_err() {
            return Err(bad("The request target holds a character that none may hold."));
        }
        let query = memchr::memchr(b'?', text);
        let path = rest.start..query.map_or(rest.end, |query| rest.start + query);
        // A URL without a path means `/` (RFC 9110 §4.2.3), and a route for `/` must see it: the slash before the authority
        // stands in for it.
        let path = match &authority {
            Some(authority) if path.is_empty() => authority.start - 1..authority.start,
            _ => path,
        };
        Ok(Self { authority, rest: Some(rest), path, form })
    }
}

/// The fields that decide about framing, connection and route.
#[derive(Default)]
struct Fields<'b> {
    host: Option<&'b [u8]>,
    length: Option<u64>,
    coding: Option<&'b [u8]>,
    connection: Tokens,
    upgrade: bool,
    user_agent: Option<Range<usize>>,
    referer: Option<Range<usize>>,
}

/// What a `Connection` field says.
#[derive(Default)]
struct Tokens {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
}

impl<'b> Fields<'b> {
    fn read(headers: &[httparse::Header<'b>], bytes: &[u8]) -> Result<Self, Refusal> {
        let mut fields = Self::default();
        for header in headers {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            match header.name.len() {
                4 if is("host") && fields.host.replace(header.value).is_some() => {
                    return Err(bad("The request has two Host fields."));
                }
                7 if is("upgrade") => fields.upgrade = !header.value.is_empty(),
                7 if is("referer") => fields.referer = Some(range_of(bytes, header.value)),
                10 if is("connection") => fields.connection.read(header.value),
                10 if is("user-agent") => fields.user_agent = Some(range_of(bytes, header.value)),
                14 if is("content-length") && fields.length.replace(length(header.value)?).is_some() => {
                    return Err(bad("The request has two Content-Length fields."));
                }
                17 if is("transfer-encoding") && fields.coding.replace(header.value).is_some() => {
                    return Err(bad("The request has two Transfer-Encoding fields."));
                }
                _ => {}
            }
        }
        Ok(fields)
    }

    fn framing(&self, version: Version) -> Result<Framing, Refusal> {
        match (self.coding, self.length) {
            (None, None | Some(0)) => Ok(Framing::None),
            (None, Some(length)) => Ok(Framing::Length(length)),
            (Some(_), Some(_)) => Err(bad("The request has both Content-Length and Transfer-Encoding.")),
            (Some(_), None) if version == Version::HTTP_10 => Err(bad("HTTP/1.0 has no Transfer-Encoding.")),
            (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
            (Some(coding), None) if is_coding_before_chunked(coding) => {
                Err(Refusal { status: StatusCode::NOT_IMPLEMENTED, reason: "This transfer coding is not understood." })
            }
            (Some(_), None) => Err(bad("The Transfer-Encoding does not end in chunked.")),
        }
    }
}

impl Tokens {
    fn read(&mut self, value: &[u8]) {
        for token in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= token.eq_ignore_ascii_case(b"close");
            self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            self.upgrade |= token.eq_ignore_ascii_case(b"upgrade");
        }
    }
}

fn is_coding_before_chunked(coding: &[u8]) -> bool {
    let mut codings = coding.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let last_is_chunked = codings.next().is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
    let is_token =
        |coding: &[u8]| !coding.is_empty() && coding.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    last_is_chunked && codings.all(|coding| is_token(coding) && !coding.eq_ignore_ascii_case(b"chunked"))
}

fn length(value: &[u8]) -> Result<u64, Refusal> {
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).ok_or(bad("The Content-Length is not a number."))
}

/// Where a part of `bytes` that the tokenizer returned lies in it.
fn range_of(bytes: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr());
    start..start + part.len()
}

fn malformed(error: httparse::Error, bytes: &[u8]) -> Refusal {
    // A blank within the target makes the tokenizer look for the version in the wrong place.
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let names_version =
        line.splitn(3, |byte| *byte == b' ').nth(2).is_some_and(|version| version.starts_with(b"HTTP/"));
    match error {
        httparse::Error::TooManyHeaders => TOO_MANY_HEADERS,
        httparse::Error::Version if names_version => Refusal {
            status: StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            reason: "Only HTTP/1.0 and HTTP/1.1 are spoken here.",
        },
        httparse::Error::HeaderName => bad("A header field name is malformed."),
        httparse::Error::HeaderValue => bad("A header field value is malformed."),
        _ => bad("The request head is malformed."),
    }
}

/// Letters, digits and these bytes, as a table: looked up for every byte of every request.
const fn set(others: &[u8]) -> [bool; 256] {
    let mut set = [false; 256];
    let mut byte = 0u8;
    while byte < 128 {
        set[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut other = 0;
    while other < others.len() {
        set[others[other] as usize] = true;
        other += 1;
    }
    set
}

pub(crate) const fn bad(reason: &'static str) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, reason }
}

/// The host that a `Host` field names: lower case, without port.
pub(crate) fn host_of(field: &HeaderValue) -> Option<Box<str>> {
    Authority::parse(field.as_bytes()).ok().map(|authority| authority.host)
}

/// Whether a `Host` field that names a host names a port too.
pub(crate) fn has_port(field: &HeaderValue) -> bool {
    Authority::parse(field.as_bytes()).is_ok_and(|authority| authority.port.is_some_and(|port| port != 0))
}

pub(crate) const TOO_MANY_HEADERS: Refusal = Refusal {
    status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
    reason: "The request has more than 256 header fields.",
};
const TOO_LARGE: Refusal =
    Refusal { status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, reason: "The request head is too large." };
pub(crate) const TARGET_TOO_LONG: Refusal =
    Refusal { status: StatusCode::URI_TOO_LONG, reason: "The request target is too long." };
/// Pingora's parser takes no more.
pub(crate) const MOST_HEADERS: usize = 256;
/// Bytes that may stand anywhere in path and query (RFC 3986 §3.3, §3.4); the rare others are asked about one by one.
const ORDINARY: [bool; 256] = set(b"/-._~?=&%+,:;@!$'()*");

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
