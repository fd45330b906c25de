//! How servers are written.

use std::net::SocketAddr;

use plugin_api::Address;

/// A server as configured.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) address: Address,
    pub(crate) tls: bool,
}

/// Why a text is no server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ServerError {
    #[error("a server has no path, query or user")]
    NotAnOrigin,
    #[error("the port is missing")]
    NoPort,
    #[error("the port must be a number from 1 to 65535")]
    Port,
    #[error("the host is malformed")]
    Host,
    #[error("the path of a Unix socket must be absolute")]
    RelativePath,
}

impl Server {
    pub(crate) fn parse(text: &str) -> Result<Self, ServerError> {
        if text == "original-destination" {
            return Ok(Self { address: Address::OriginalDestination, tls: false });
        }
        if let Some(path) = text.strip_prefix("unix:") {
            let absolute = path.starts_with('/');
            return absolute
                .then(|| Self { address: Address::Unix(path.into()), tls: false })
                .ok_or(ServerError::RelativePath);
        }
        let (authority, tls, default_port) = match text.split_once("://") {
            Some(("http", rest)) => (rest, false, Some(80)),
            Some(("https", rest)) => (rest, true, Some(443)),
            Some(_) => return Err(ServerError::NotAnOrigin),
            None => (text, false, None),
        };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.contains(['/', '?', '#', '@']) {
            return Err(ServerError::NotAnOrigin);
        }
        let address = address(authority, default_port)?;
        Ok(Self { address, tls })
    }
}

fn address(authority: &str, default_port: Option<u16>) -> Result<Address, ServerError> {
    if let Ok(address) = authority.parse::<SocketAddr>() {
        return if address.port() == 0 { Err(ServerError::Port) } else { Ok(Address::Socket(address)) };
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port = match (port, default_port) {
        (Some(port), _) => port.parse().ok().filter(|port| *port != 0).ok_or(ServerError::Port)?,
        (None, Some(port)) => port,
        (None, None) => return Err(ServerError::NoPort),
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if let Ok(ip) = bare.unwrap_or(host).parse() {
        return Ok(Address::Socket(SocketAddr::new(ip, port)));
    }
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if bare.is_some() || host.is_empty() || host.len() > 253 || !host.bytes().all(is_allowed) {
        return Err(ServerError::Host);
    }
    Ok(Address::Host { name: host.into(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_written_in_many_ways() {
        let host = |name: &str, port| Address::Host { name: name.into(), port };
        let cases = [
            ("127.0.0.1:8080", Address::Socket("127.0.0.1:8080".parse().unwrap()), false),
            ("[::1]:8080", Address::Socket("[::1]:8080".parse().unwrap()), false),
            ("http://[::1]", Address::Socket("[::1]:80".parse().unwrap()), false),
            ("app.internal:81", host("app.internal", 81), false),
            ("http://app/", host("app", 80), false),
            ("https://app", host("app", 443), true),
            ("unix:/run/app.sock", Address::Unix("/run/app.sock".into()), false),
            ("original-destination", Address::OriginalDestination, false),
        ];
        for (text, address, tls) in cases {
            assert_eq!(Server::parse(text), Ok(Server { address, tls }), "{text}");
        }
        for (text, error) in [
            ("app", ServerError::NoPort),
            ("app:0", ServerError::Port),
            ("app:65536", ServerError::Port),
            ("127.0.0.1:0", ServerError::Port),
            ("http://app/path", ServerError::NotAnOrigin),
            ("http://u@app", ServerError::NotAnOrigin),
            ("ftp://app", ServerError::NotAnOrigin),
            ("unix:app.sock", ServerError::RelativePath),
            ("a b:80", ServerError::Host),
            (":80", ServerError::Host),
        ] {
            assert_eq!(Server::parse(text), Err(error), "{text}");
        }
    }
}
