//! The peer that challenges are forwarded to.

use std::{net::IpAddr, time::Duration};

use plugin_api::{
    Address, ConfigError, FallThrough, Peer, Timeouts,
    http::{StatusCode, Uri},
};

/// The peer that a URL names. It must answer soon: the certificate authority does not wait for long, and behind it the
/// application still has to be asked.
pub(crate) fn peer(url: &str) -> Result<Peer, ConfigError> {
    let wrong = |message: &str| ConfigError::key("forward", message).with_hint("write \"http://127.0.0.1:12346\"");
    let uri: Uri = url.parse().map_err(|_error: plugin_api::http::uri::InvalidUri| wrong("this is not a URL"))?;
    if uri.scheme_str() != Some("http") {
        return Err(wrong("HTTP-01 challenges are plain HTTP: the URL must start with `http://`"));
    }
    if uri.path() != "/" || uri.query().is_some() || url.contains('@') {
        return Err(wrong("the URL has a host and a port, nothing else"));
    }
    let host = uri.host().ok_or_else(|| wrong("the URL has no host"))?;
    let port = uri.port_u16().unwrap_or(80);
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let address = match bare.parse::<IpAddr>() {
        Ok(ip) => Address::Socket((ip, port).into()),
        Err(_) => Address::Host { name: host.into(), port },
    };
    let timeouts =
        Timeouts { connect: CONNECT, read: READ, write: READ, idle: Duration::ZERO, upgraded_idle: Some(READ) };
    let fall_through = FallThrough::UnreachableOr(StatusCode::NOT_FOUND);
    Ok(Peer::builder(vec![address]).timeouts(timeouts).fall_through(fall_through).build())
}

const CONNECT: Duration = Duration::from_secs(2);
const READ: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_origins_are_forwarded_to() {
        let first = |url| peer(url).map(|peer| peer.addresses().next().cloned());
        assert_eq!(first("http://127.0.0.1:12346"), Ok(Some(Address::Socket("127.0.0.1:12346".parse().unwrap()))));
        assert_eq!(first("http://[::1]:1/"), Ok(Some(Address::Socket("[::1]:1".parse().unwrap()))));
        assert_eq!(first("http://master"), Ok(Some(Address::Host { name: "master".into(), port: 80 })));
        for wrong in ["https://a", "http://a/b", "http://a?b", "http://u@a", "a:80", "", "http://"] {
            assert!(first(wrong).is_err(), "{wrong}");
        }
    }
}
