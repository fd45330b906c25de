//! `ReversePath` and its relatives: paths, and where they lead.

use plugin_api::config::Span;
use plugin_reverse_path::Path;

use super::{argument::At, warning::Warnings};
use crate::octet;

#[derive(Debug, Default)]
pub(super) struct Reverse {
    /// The first path that tinyproxy knows: with one, it has a reverse proxy, also if no request can have that path.
    pub(super) first: Option<Span>,
    /// In the order of the file; the last is tried first.
    pub(super) paths: Vec<At<Mapping>>,
    pub(super) only: Option<At<bool>>,
    pub(super) magic: Option<At<bool>>,
    pub(super) base_url: Option<At<String>>,
}

/// A path, and what becomes of requests for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    /// Begins and ends with `/`.
    pub(super) path: String,
    pub(super) way: Way,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    To(String),
    /// The URL has a protocol that is not spoken.
    Unsupported,
    /// The URL names nobody who could be asked.
    Nobody,
}

impl Reverse {
    pub(super) fn add(&mut self, span: Span, path: Option<At<String>>, url: At<String>, warnings: &mut Warnings) {
        let mut path = path.map_or_else(|| "/".to_owned(), |path| path.value);
        if !url.value.contains("://") {
            return warnings.push(url.span, "this is no URL: like tinyproxy, the line is ignored");
        }
        if !path.starts_with('/') {
            return warnings.push(span, "a path starts with `/`: like tinyproxy, the line is ignored");
        }
        self.first.get_or_insert_with(|| span.clone());
        if !path.ends_with('/') {
            path.push('/');
        }
        if Path::new(path.as_str(), ANYWHERE).problem().is_some() {
            return warnings.push(span, "no path holds such a character: the line is ignored");
        }
        let way = way(&url, warnings);
        self.paths.push(At { value: Mapping { path, way }, span });
    }
}

/// Where a URL leads; what is wrong with it is found out by tinyproxy at a request only.
fn way(url: &At<String>, warnings: &mut Warnings) -> Way {
    let to = plain(&url.value);
    let scheme = to.split(':').next().unwrap_or_default();
    if !["http", "https"].iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
        warnings.push(url.span.clone(), "only `http://` and `https://` are spoken: requests for this path get 501");
        return Way::Unsupported;
    }
    match Path::new("/", to.as_str()).problem() {
        None => Way::To(to),
        Some(problem) => {
            warnings.push(url.span.clone(), format!("{problem}: requests for this path reach nobody"));
            Way::Nobody
        }
    }
}

/// A URL without what tinyproxy passes over in it, which are the user and junk in the port, and what it would send of a fragment. A
/// byte that no URL holds is percent-encoded, which servers read as that byte.
fn plain(url: &str) -> String {
    let url = url.split_once('#').map_or(url, |(url, _)| url);
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.split_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, number(port)),
        _ => (host, String::new()),
    };
    format!("{scheme}://{host}{port}{}", encoded(path))
}

/// A port with its colon as `atoi` reads it: digits up to the first that is none. Without any, it is that of the scheme.
fn number(port: &str) -> String {
    let digits = port.trim_start().split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    match digits.trim_start_matches('0') {
        "" => String::new(),
        digits => format!(":{digits}"),
    }
}

/// A text in which every character is one that a URL may hold, or not ASCII.
pub(super) fn encoded(text: &str) -> String {
    let is_odd = |byte: u8| byte.is_ascii_control() || b" <>`".contains(&byte);
    let mut encoded = String::with_capacity(text.len());
    for character in text.chars() {
        let bytes = octet::bytes(character.encode_utf8(&mut [0; 4]));
        match bytes.as_slice() {
            [byte] if is_odd(*byte) || !byte.is_ascii() => encoded.push_str(&format!("%{byte:02X}")),
            _ => encoded.push(character),
        }
    }
    encoded
}

/// Any URL that is right, to look at a path alone.
const ANYWHERE: &str = "http://localhost/";

#[cfg(test)]
mod tests {
    use plugin_api::config::Source;

    use super::*;

    fn read(path: Option<&str>, url: &str) -> (Reverse, Vec<String>) {
        let at = |value: &str| At { value: value.to_owned(), span: 0..1 };
        let mut warnings = Warnings::new(Source::new("t.conf", "x"));
        let mut reverse = Reverse::default();
        reverse.add(0..1, path.map(at), at(url), &mut warnings);
        (reverse, warnings.lines().map(|(_, message)| message.to_owned()).collect())
    }

    #[test]
    fn every_url_leads_somewhere_or_says_why_not() {
        let latin1 = octet::text(b"http://h/caf\xe9");
        for (url, expected) in [
            ("http://h/p", "http://h/p"),
            ("HTTP://u:p@h:080/p#f", "HTTP://h:80/p"),
            ("http://h:/", "http://h/"),
            ("http://h:x/", "http://h/"),
            ("http://h:80x/", "http://h:80/"),
            ("http://h:0/", "http://h/"),
            ("http://[::1]/", "http://[::1]/"),
            ("http://[::1]:81/", "http://[::1]:81/"),
            ("http://h/a b<y>`\t", "http://h/a%20b%3Cy%3E%60%09"),
            ("http://h/café", "http://h/café"),
            (&latin1, "http://h/caf%E9"),
            ("https://h/", "https://h/"),
        ] {
            let (reverse, warnings) = read(None, url);
            assert_eq!(reverse.paths[0].value.way, Way::To(expected.to_owned()), "{url}");
            assert_eq!(warnings, [""; 0], "{url}");
        }
        for url in
            ["http:///x", "http://h:99999/", "http://::1/", "http://a b/", "http://<y>/", "http://", "http://h/.."]
        {
            let (reverse, warnings) = read(None, url);
            assert_eq!(reverse.paths[0].value.way, Way::Nobody, "{url}");
            assert!(warnings[0].ends_with(": requests for this path reach nobody"), "{url}: {warnings:?}");
        }
        for url in ["ftp://x/", "://", "x://h:1/"] {
            let (reverse, warnings) = read(None, url);
            assert_eq!(reverse.paths[0].value.way, Way::Unsupported, "{url}");
            assert!(warnings[0].ends_with("get 501"), "{url}: {warnings:?}");
        }
    }

    #[test]
    fn a_path_that_no_request_has_still_makes_a_reverse_proxy() {
        for path in ["/a?b", "/a#b", "/é", "/a b", "/<y>"] {
            let (reverse, warnings) = read(Some(path), "http://h/");
            assert_eq!((reverse.paths.len(), reverse.first), (0, Some(0..1)), "{path}");
            assert_eq!(warnings, ["no path holds such a character: the line is ignored"], "{path}");
        }
        for (path, url) in [("a", "http://h/"), ("/a", "h")] {
            let (reverse, _) = read(Some(path), url);
            assert_eq!((reverse.paths.len(), reverse.first), (0, None), "{path}");
        }
        assert_eq!(read(Some("/a"), "http://h/").0.paths[0].value.path, "/a/");
    }
}
