//! Where a path leads: a URL, taken apart.

use std::net::{IpAddr, SocketAddr};

use plugin_api::{
    Address, Tls,
    http::{HeaderValue, Uri, header::InvalidHeaderValue, uri::InvalidUri},
};

use crate::segment;

/// A URL to which the rest of a request's target is appended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) address: Address,
    pub(crate) tls: Option<Tls>,
    /// The value of `Host`: without the port when it is the scheme's own.
    pub(crate) host: HeaderValue,
    /// What the target of the request begins with: at least `/`.
    pub(crate) prefix: String,
    /// The URL as an application may write it, for the `Location` of its responses: with the port as configured, and as the
    /// application learns it from `Host`.
    pub(crate) urls: [String; 2],
}

/// Why a text leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("this is not a URL")]
    NotAUrl,
    #[error("the URL must start with `http://` or `https://`")]
    Scheme,
    #[error("the URL must not have a user or a fragment")]
    Extra,
    #[error("the host is malformed")]
    Host,
    #[error("the port must be a number from 1 to 65535")]
    Port,
    #[error("the path of the URL must not end in a dot segment")]
    Dots,
}

impl Target {
    pub(crate) fn parse(text: &str) -> Result<Self, TargetError> {
        if text.contains('#') {
            return Err(TargetError::Extra);
        }
        let uri: Uri = text.parse().map_err(|_error: InvalidUri| TargetError::NotAUrl)?;
        let (scheme, own_port) = match uri.scheme_str() {
            Some("http") => ("http", 80),
            Some("https") => ("https", 443),
            Some(_) => return Err(TargetError::Scheme),
            None => return Err(TargetError::NotAUrl),
        };
        let authority = uri.authority().ok_or(TargetError::NotAUrl)?.as_str();
        let (host, port) = host_and_port(authority, own_port)?;
        let address = address(host, port)?;
        let tls = (scheme == "https").then(|| Tls::default().server_name(bare(host)));
        let rest = uri.path_and_query().map_or("/", |rest| rest.as_str());
        // A URL without a path means `/` (RFC 9110 §4.2.3).
        let prefix = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
        if segment::ends_in_dots(uri.path()) {
            return Err(TargetError::Dots);
        }
        let known_as = if port == own_port { host.to_owned() } else { format!("{host}:{port}") };
        Ok(Self {
            address,
            tls,
            host: HeaderValue::from_str(&known_as).map_err(|_error: InvalidHeaderValue| TargetError::Host)?,
            urls: [authority, &known_as].map(|authority| format!("{scheme}://{authority}{prefix}")),
            prefix,
        })
    }
}

fn host_and_port(authority: &str, own_port: u16) -> Result<(&str, u16), TargetError> {
    if authority.contains('@') {
        return Err(TargetError::Extra);
    }
    match authority.rsplit_once(':') {
        // A colon within the brackets of an IPv6 address.
        Some((_, port)) if port.ends_with(']') => Ok((authority, own_port)),
        Some((host, "")) => Ok((host, own_port)),
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            let port = port.parse().ok().filter(|port| *port != 0).ok_or(TargetError::Port)?;
            Ok((host, port))
        }
        Some(_) => Err(TargetError::Port),
        None => Ok((authority, own_port)),
    }
}

fn address(host: &str, port: u16) -> Result<Address, TargetError> {
    if let Ok(ip) = bare(host).parse::<IpAddr>()
        && ip.is_ipv6() == host.starts_with('[')
    {
        return Ok(Address::Socket(SocketAddr::new(ip, port)));
    }
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if host.is_empty() || host.len() > 253 || !host.bytes().all(is_allowed) {
        return Err(TargetError::Host);
    }
    Ok(Address::Host { name: host.into(), port })
}

/// The host without the brackets of an IPv6 address.
fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_an_address_a_host_and_a_prefix() {
        let name = |name: &str, port| Address::Host { name: name.into(), port };
        let ip = |text: &str| Address::Socket(text.parse().unwrap());
        for (text, address, host, prefix) in [
            ("http://127.0.0.1:80/", ip("127.0.0.1:80"), "127.0.0.1", "/"),
            ("http://127.0.0.1:8080/app/", ip("127.0.0.1:8080"), "127.0.0.1:8080", "/app/"),
            ("HTTP://App.Internal/p", name("App.Internal", 80), "App.Internal", "/p"),
            ("http://app", name("app", 80), "app", "/"),
            ("http://app:/", name("app", 80), "app", "/"),
            ("http://app:443/", name("app", 443), "app:443", "/"),
            ("https://app:443/", name("app", 443), "app", "/"),
            ("http://[::1]:81/", ip("[::1]:81"), "[::1]:81", "/"),
            ("http://[::1]/", ip("[::1]:80"), "[::1]", "/"),
            ("http://app/search?q=", name("app", 80), "app", "/search?q="),
            ("http://app?q=", name("app", 80), "app", "/?q="),
        ] {
            let target = Target::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((target.address, target.host.to_str().unwrap(), &*target.prefix), (address, host, prefix));
        }
    }

    #[test]
    fn a_certificate_must_have_the_name_in_the_url() {
        let name = |text: &str| Target::parse(text).unwrap().tls.map(|tls| (tls.server_name.unwrap(), tls.verify));
        assert_eq!(name("http://app/"), None);
        assert_eq!(name("https://app:8443/"), Some(("app".into(), true)));
        assert_eq!(name("https://[::1]/"), Some(("::1".into(), true)));
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        for (text, error) in [
            ("", TargetError::NotAUrl),
            ("/path", TargetError::NotAUrl),
            ("app:80", TargetError::NotAUrl),
            ("http://", TargetError::NotAUrl),
            ("http://a b/", TargetError::NotAUrl),
            ("ftp://app/", TargetError::Scheme),
            ("http://u:p@app/", TargetError::Extra),
            ("http://app/#x", TargetError::Extra),
            ("http://app:0/", TargetError::Port),
            ("http://app:65536/", TargetError::Port),
            ("http://app:x/", TargetError::Port),
            ("http://a~b/", TargetError::Host),
            ("http://app/.", TargetError::Dots),
            ("http://app/a/%2E.", TargetError::Dots),
        ] {
            assert_eq!(Target::parse(text).unwrap_err(), error, "{text}");
        }
    }
}
