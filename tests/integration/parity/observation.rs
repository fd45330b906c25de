//! What was seen of a case, in parts that can be compared.

use std::collections::BTreeMap;

use super::origin::Got;

/// What was seen, by aspect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Observation {
    pub(super) parts: BTreeMap<String, Part>,
}

/// One aspect of what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Text(String),
    /// Header fields as they were written, in order.
    Fields(Vec<(String, String)>),
}

impl Observation {
    pub(super) fn text(&mut self, aspect: impl Into<String>, text: impl Into<String>) {
        self.parts.insert(aspect.into(), Part::Text(text.into()));
    }

    fn fields(&mut self, aspect: String, fields: Vec<(String, String)>) {
        self.parts.insert(aspect, Part::Fields(fields));
    }

    /// What a client got, from the bytes and how they ended.
    pub(super) fn answer(&mut self, prefix: &str, bytes: &[u8], end: &str, is_head: bool) {
        self.text(format!("{prefix}end"), end);
        let mut rest = bytes;
        let mut interim = String::new();
        loop {
            let Some((head, after)) = split_head(rest) else {
                let is_nothing = rest.is_empty();
                self.text(format!("{prefix}status"), if is_nothing { "(nothing)" } else { "(no head)" });
                self.text(format!("{prefix}body"), latin(rest));
                break;
            };
            let (line, fields) = parse_head(head);
            let (version, status) = line.split_once(' ').unwrap_or((&line, ""));
            if is_interim(status) {
                interim += &format!("{status}\n");
                rest = after;
                continue;
            }
            self.text(format!("{prefix}version"), version);
            self.text(format!("{prefix}status"), status);
            let body =
                if is_head { Body { content: after.to_vec(), trailers: String::new() } } else { body(&fields, after) };
            self.page(prefix, &latin(&body.content));
            if !body.trailers.is_empty() {
                self.text(format!("{prefix}trailers"), body.trailers);
            }
            self.fields(format!("{prefix}header"), fields);
            break;
        }
        if !interim.is_empty() {
            self.text(format!("{prefix}interim"), interim);
        }
    }

    /// A page of the proxy's own is compared by what it says: its words are its own.
    fn page(&mut self, prefix: &str, body: &str) {
        match between(body, "<h1>", "</h1>") {
            Some(title) if body.contains("<html") => {
                self.text(format!("{prefix}page.title"), title);
                self.text(format!("{prefix}page.detail"), between(body, "<p>", "</p>").unwrap_or_default().trim());
                self.text(format!("{prefix}page.markup"), body);
            }
            _ => self.text(format!("{prefix}body"), body),
        }
    }

    /// What the origin got on its connections.
    pub(super) fn origin(&mut self, prefix: &str, connections: &[Got]) {
        self.text(format!("{prefix}origin.connections"), connections.len().to_string());
        for (index, Got { from, handshake, bytes, .. }) in connections.iter().enumerate() {
            let number = if index == 0 { String::new() } else { format!("{}.", index + 1) };
            let prefix = format!("{prefix}origin.{number}");
            self.text(format!("{prefix}from"), from.map(|from| from.to_string()).unwrap_or_default());
            if !handshake.is_empty() {
                self.text(format!("{prefix}handshake"), latin(handshake));
            }
            let Some((head, after)) = split_head(bytes) else {
                self.text(format!("{prefix}bytes"), latin(bytes));
                continue;
            };
            let (line, fields) = parse_head(head);
            let body = body(&fields, after);
            let (line, version) = line.rsplit_once(' ').unwrap_or((&line, ""));
            self.text(format!("{prefix}line"), line);
            self.text(format!("{prefix}version"), version);
            self.text(format!("{prefix}body"), latin(&body.content));
            if !body.trailers.is_empty() {
                self.text(format!("{prefix}trailers"), body.trailers);
            }
            self.fields(format!("{prefix}header"), fields);
        }
    }
}

/// A body without its framing; bytes after its end belong to it.
struct Body {
    content: Vec<u8>,
    trailers: String,
}

fn body(fields: &[(String, String)], after: &[u8]) -> Body {
    let is_chunked = last(fields, "transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    let unchanged = || Body { content: after.to_vec(), trailers: String::new() };
    if is_chunked { dechunk(after).unwrap_or_else(unchanged) } else { unchanged() }
}

fn dechunk(mut rest: &[u8]) -> Option<Body> {
    let mut content = Vec::new();
    loop {
        let (line, after) = split_line(rest)?;
        let size = usize::from_str_radix(latin(line).split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            let (trailers, after) = match after.strip_prefix(b"\r\n") {
                Some(after) => (String::new(), after),
                None => {
                    let (head, after) = split_head(after)?;
                    (latin(head), after)
                }
            };
            content.extend(after);
            return Some(Body { content, trailers });
        }
        content.extend(after.get(..size)?);
        rest = after.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

/// Whether a client that keeps to RFC 9112 knows that the answer has ended, though the connection goes on.
pub(super) fn is_complete(bytes: &[u8], is_head: bool) -> bool {
    let Some((head, after)) = split_head(bytes) else { return false };
    let (line, fields) = parse_head(head);
    let status = line.split_once(' ').map_or("", |(_, status)| status);
    if is_interim(status) {
        return is_complete(after, is_head);
    }
    let says = |option: &str| {
        fields.iter().any(|(name, value)| {
            name.eq_ignore_ascii_case("connection")
                && value.split(',').any(|one| one.trim().eq_ignore_ascii_case(option))
        })
    };
    if says("close") || line.starts_with("HTTP/1.0") && !says("keep-alive") {
        return false;
    }
    if is_head || status.starts_with("204") || status.starts_with("304") || status.starts_with("101") {
        return true;
    }
    if last(&fields, "transfer-encoding").is_some() {
        return dechunk(after).is_some();
    }
    last(&fields, "content-length")
        .and_then(|length| length.parse().ok())
        .is_some_and(|length: usize| after.len() >= length)
}

/// Whether a head has come that is not an interim one, and what follows it.
pub(super) fn after_head(bytes: &[u8]) -> Option<&[u8]> {
    let (head, after) = split_head(bytes)?;
    let (line, _) = parse_head(head);
    if is_interim(line.split_once(' ').map_or("", |(_, status)| status)) { after_head(after) } else { Some(after) }
}

/// Whether a request has come with its body.
pub(super) fn is_request(bytes: &[u8]) -> bool {
    let Some((head, after)) = split_head(bytes) else { return false };
    let (_, fields) = parse_head(head);
    if last(&fields, "transfer-encoding").is_some() {
        return dechunk(after).is_some();
    }
    let length = last(&fields, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    after.len() >= length
}

fn is_interim(status: &str) -> bool {
    status.starts_with('1') && !status.starts_with("101")
}

fn last<'a>(fields: &'a [(String, String)], wanted: &str) -> Option<&'a str> {
    fields.iter().rfind(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
}

/// A head (with the line end of its last field) and what follows its empty line.
pub(super) fn split_head(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some((&bytes[..at + 2], &bytes[at + 4..]))
}

fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.windows(2).position(|two| two == b"\r\n")?;
    Some((&bytes[..at], &bytes[at + 2..]))
}

fn parse_head(head: &[u8]) -> (String, Vec<(String, String)>) {
    let text = latin(head);
    let mut lines = text.strip_suffix("\r\n").unwrap_or(&text).split("\r\n");
    let first = lines.next().unwrap_or_default().to_owned();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in lines {
        match fields.last_mut() {
            // What is folded belongs to the field before it.
            Some((_, value)) if line.starts_with([' ', '\t']) => *value += &format!("\r\n{line}"),
            _ => {
                let (name, value) = line.split_once(':').unwrap_or((line, "(no colon)"));
                let value = value.strip_prefix(' ').unwrap_or(value);
                let is_now = name.eq_ignore_ascii_case("date") && is_recent(value);
                fields.push((name.to_owned(), if is_now { "(now)".to_owned() } else { value.to_owned() }));
            }
        }
    }
    (first, fields)
}

/// A date that no case wrote.
fn is_recent(date: &str) -> bool {
    date.ends_with(" GMT")
        && date.split(' ').nth(3).and_then(|year| year.parse().ok()).is_some_and(|year: u16| year >= 2025)
}

/// Each byte as the character of its number.
pub(super) fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    Some(text.split_once(start)?.1.split_once(end)?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<'a>(seen: &'a Observation, aspect: &str) -> Option<&'a str> {
        seen.parts.get(aspect).map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Fields(_) => panic!("{aspect} are fields"),
        })
    }

    #[test]
    fn an_answer_is_taken_apart() {
        let mut seen = Observation::default();
        let bytes =
            b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 Fine by me\r\nA: 1\r\n x\r\nTransfer-Encoding: chunked\r\n\r\n\
                      2\r\nhi\r\n0\r\nT: 1\r\n\r\n";
        assert!(is_complete(bytes, false));
        seen.answer("", bytes, "kept", false);
        assert_eq!(text(&seen, "status"), Some("200 Fine by me"));
        assert_eq!((text(&seen, "interim"), text(&seen, "body")), (Some("103 Early\n"), Some("hi")));
        assert_eq!(text(&seen, "trailers"), Some("T: 1\r\n"));
        let folded = ("A".to_owned(), "1\r\n x".to_owned());
        let Part::Fields(fields) = &seen.parts["header"] else { panic!() };
        assert_eq!(fields[0], folded);
    }

    #[test]
    fn an_answer_ends_where_a_client_sees_its_end() {
        for (bytes, is_head, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh", false, false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", false, true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", true, true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi", false, false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", false, false),
            ("HTTP/1.1 304 Not Modified\r\n\r\n", false, true),
            ("HTTP/1.1 100 Continue\r\n\r\n", false, false),
        ] {
            assert_eq!(is_complete(bytes.as_bytes(), is_head), expected, "{bytes}");
        }
    }

    #[test]
    fn what_an_origin_got_is_taken_apart() {
        let mut seen = Observation::default();
        let got = |bytes: &[u8]| {
            let mut got = Got::default();
            got.bytes = bytes.to_vec();
            got
        };
        seen.origin("", &[got(b"POST /x HTTP/1.1\r\nHost: a\r\n\r\nbody"), got(b"\x04\x01")]);
        assert_eq!((text(&seen, "origin.line"), text(&seen, "origin.version")), (Some("POST /x"), Some("HTTP/1.1")));
        assert_eq!(text(&seen, "origin.body"), Some("body"));
        assert_eq!(text(&seen, "origin.2.bytes"), Some("\u{4}\u{1}"));
        assert_eq!(text(&seen, "origin.connections"), Some("2"));
    }

    #[test]
    fn a_page_is_compared_by_its_words() {
        let mut seen = Observation::default();
        seen.answer("", b"HTTP/1.1 400 No\r\n\r\n<html><h1>No</h1><p>Because</p></html>", "closed", false);
        assert_eq!((text(&seen, "page.title"), text(&seen, "page.detail")), (Some("No"), Some("Because")));
        assert_eq!(text(&seen, "body"), None);
    }
}
