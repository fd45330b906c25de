//! What a pattern is held against.

use plugin_api::{
    Connection, Form, Request, Scheme,
    http::{header, uri::Authority},
};

/// The host that a request is for, as its client wrote it: without port and brackets.
pub(crate) fn host(request: &Request<'_>, connection: &Connection) -> String {
    match authority(request) {
        Some(authority) => bare(split(authority).0).to_owned(),
        // An HTTP/1.0 client that names no host means the one that it connected to.
        None => connection.original_destination.ip().to_canonical().to_string(),
    }
}

/// The URL that a request is for: as its client wrote it, or put together with its port from what an origin is told, or host
/// and port of a tunnel.
pub(crate) fn url(request: &Request<'_>, connection: &Connection) -> String {
    let path = request.uri.path_and_query().map_or("", |path| path.as_str());
    match (request.form, authority(request)) {
        (Form::Authority, authority) => authority.unwrap_or_default().to_owned(),
        (Form::Absolute(scheme), authority) => format!("{}://{}{path}", scheme.as_str(), authority.unwrap_or_default()),
        (Form::Origin, Some(authority)) => {
            let scheme = connection.scheme;
            let (host, port) = split(authority);
            let port = port.unwrap_or(if scheme == Scheme::Https { "443" } else { "80" });
            format!("{}://{host}:{port}{path}", scheme.as_str())
        }
        (Form::Origin, None) => format!("{}://{}{path}", connection.scheme.as_str(), connection.original_destination),
    }
}

/// The other ways to write the same host.
pub(crate) fn spellings_of_host(host: &str) -> Vec<String> {
    host.strip_suffix('.').filter(|name| !name.is_empty()).map(str::to_owned).into_iter().collect()
}

/// The other ways to write the same URL, or host and port of a tunnel: without the zeros in front of a port, without the port that
/// the scheme has anyway, without the dot at the end of the host, and without the slash of a path that is nothing else
/// (RFC 9110 §4.2.3). Whoever could get past a pattern with another of them would not be filtered.
pub(crate) fn spellings_of_url(url: &str) -> Vec<String> {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, url),
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (host, port) = split(authority);
    let host = host.strip_suffix('.').unwrap_or(host);
    let front = scheme.map_or(String::new(), |scheme| format!("{scheme}://"));
    let port = port.map(|port| port.trim_start_matches('0')).filter(|port| !port.is_empty());
    let mut starts = vec![port.map_or(format!("{front}{host}"), |port| format!("{front}{host}:{port}"))];
    if matches!((scheme, port), (Some("http"), Some("80")) | (Some("https"), Some("443"))) {
        starts.push(format!("{front}{host}"));
    }
    let mut spellings: Vec<_> = starts.iter().map(|start| format!("{start}{path}")).collect();
    if let Some(rest) = path.strip_prefix('/').filter(|rest| rest.is_empty() || rest.starts_with('?')) {
        spellings.extend(starts.iter().map(|start| format!("{start}{rest}")));
    }
    spellings.retain(|spelling| spelling != url);
    spellings
}

/// Host and port as the client wrote them. The engine puts those of a URL into `Host`.
fn authority<'r>(request: &Request<'r>) -> Option<&'r str> {
    match request.form {
        Form::Authority => request.uri.authority().map(Authority::as_str),
        Form::Absolute(_) | Form::Origin => request.header(&header::HOST),
    }
}

/// The host, with its brackets, and the port.
fn split(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            (host, Some(port).filter(|port| !port.is_empty()))
        }
        _ => (authority, None),
    }
}

/// A host without the brackets of an IPv6 address.
pub(crate) fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lose_their_port_and_brackets() {
        for (authority, expected) in [
            ("a.example", ("a.example", None)),
            ("a.example:8080", ("a.example", Some("8080"))),
            ("a.example:", ("a.example", None)),
            ("[::1]", ("[::1]", None)),
            ("[::1]:80", ("[::1]", Some("80"))),
        ] {
            assert_eq!(split(authority), expected);
        }
        assert_eq!(spellings_of_host("a.example."), ["a.example"]);
        assert_eq!(spellings_of_host("a.example"), [""; 0]);
        assert_eq!((bare("[::1]"), bare("a.example")), ("::1", "a.example"));
    }

    #[test]
    fn a_url_has_few_other_spellings() {
        for (url, expected) in [
            ("http://a.example/x", &[][..]),
            ("http://a.example/", &["http://a.example"]),
            ("http://a.example/?q", &["http://a.example?q"]),
            ("http://a.example:80/x", &["http://a.example/x"]),
            ("https://a.example:443/", &["https://a.example/", "https://a.example:443", "https://a.example"]),
            ("http://a.example.:0081/x", &["http://a.example:81/x"]),
            ("http://[::1]:080/x", &["http://[::1]:80/x", "http://[::1]/x"]),
            ("http://a.example:443/x?http://b:80/", &[]),
            ("a.example:0443", &["a.example:443"]),
            ("a.example:443", &[]),
        ] {
            assert_eq!(spellings_of_url(url), expected, "{url}");
        }
    }
}
