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

/// Host and port as the client wrote them. The engine puts those of a URL into `Host`.
fn authority<'r>(request: &Request<'r>) -> Option<&'r str> {
    match request.form {
        Form::Authority => request.uri.authority().map(Authority::as_str),
        Form::Absolute(_) | Form::Origin => request.header(&header::HOST),
    }
}

/// The host, with its brackets, and the port.
pub(crate) fn split(authority: &str) -> (&str, Option<&str>) {
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
        assert_eq!((bare("[::1]"), bare("a.example")), ("::1", "a.example"));
    }
}
