//! The peers that challenges are forwarded to.

use std::{net::IpAddr, time::Duration};

use plugin_api::{
    Address, BuildCx, ConfigError, FallThrough, Health, Peer, Timeouts,
    http::{StatusCode, Uri},
};

/// What these URLs name, to be asked in their order. All of them together must answer soon: the certificate authority does not
/// wait for long, and behind them the application still has to be asked.
pub(crate) fn peer(urls: &[String], cx: &BuildCx<'_>) -> Result<Peer, ConfigError> {
    if urls.is_empty() {
        return Err(ConfigError::key("forward", "there must be at least one URL").with_hint(HINT));
    }
    let mut addresses = Vec::with_capacity(urls.len());
    for (index, url) in urls.iter().enumerate() {
        let wrong = |message| ConfigError::key("forward", message).index(index).with_hint(HINT);
        let address = address(url).map_err(wrong)?;
        if addresses.contains(&address) {
            let error = ConfigError::key("forward", "this one is there twice").index(index);
            return Err(error.with_hint("take one of them away"));
        }
        addresses.push(address);
    }
    // The application may be at the same address, and what is known of its port is of no use here.
    let health = Health::new(&addresses, "acme-challenge", AVOIDED, cx);
    let timeouts =
        Timeouts { connect: CONNECT, read: READ, write: READ, idle: Duration::ZERO, upgraded_idle: Some(READ) };
    let peer = Peer::builder(addresses).timeouts(timeouts).patience(PATIENCE).health(health);
    Ok(peer.fall_through(FallThrough::UnreachableOr(StatusCode::NOT_FOUND)).build())
}

/// Where a URL leads, or what is wrong with it.
fn address(url: &str) -> Result<Address, &'static str> {
    let uri: Uri = url.parse().map_err(|_error: plugin_api::http::uri::InvalidUri| "this is not a URL")?;
    if uri.scheme_str() != Some("http") {
        return Err("HTTP-01 challenges are plain HTTP: the URL must start with `http://`");
    }
    if uri.path() != "/" || uri.query().is_some() || url.contains('@') {
        return Err("the URL has a host and a port, nothing else");
    }
    let host = uri.host().ok_or("the URL has no host")?;
    let port = uri.port_u16().unwrap_or(80);
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Ok(match bare.parse::<IpAddr>() {
        Ok(ip) => Address::Socket((ip, port).into()),
        Err(_) => Address::Host { name: host.into(), port },
    })
}

const HINT: &str = "write \"http://127.0.0.1:12346\", or several in a list";
const CONNECT: Duration = Duration::from_secs(2);
const READ: Duration = Duration::from_secs(3);
/// For all of them: authorities give a whole visit ten seconds or so, and the application gets the rest.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one that could not be connected comes last.
const AVOIDED: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use plugin_api::{Named, SharedStore};

    use super::*;

    #[test]
    fn only_plain_origins_are_forwarded_to() {
        assert_eq!(address("http://127.0.0.1:12346"), Ok(Address::Socket("127.0.0.1:12346".parse().unwrap())));
        assert_eq!(address("http://[::1]:1/"), Ok(Address::Socket("[::1]:1".parse().unwrap())));
        assert_eq!(address("http://master"), Ok(Address::Host { name: "master".into(), port: 80 }));
        for wrong in ["https://a", "http://a/b", "http://a?b", "http://u@a", "a:80", "", "http://"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn masters_keep_their_order() {
        let (named, store) = (Named::default(), SharedStore::default());
        let urls = ["http://b", "http://192.0.2.1", "http://a:81"].map(str::to_owned);
        let peer = peer(&urls, &BuildCx::new(&named, &store)).unwrap();
        let told: Vec<_> = peer.addresses().cloned().collect();
        let host = |name: &str, port| Address::Host { name: name.into(), port };
        assert_eq!(told, [host("b", 80), Address::Socket(([192, 0, 2, 1], 80).into()), host("a", 81)]);
    }
}
