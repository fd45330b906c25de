//! What pingora is told about a destination.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use pingora::upstreams::peer::{HttpPeer, PeerOptions};
use plugin_api::{Bind, Connection, Protocol, Timeouts, Tls};

use super::{Attempts, Destination};
use crate::dial::{self, NoSource, ThroughParent, tls};

impl Attempts {
    /// What pingora needs to connect to `destination`. `None` when the path of a socket cannot be used, or no
    /// address is there to come from.
    pub(crate) fn http_peer(
        &self,
        destination: &Destination,
        connection: &Connection,
        host: Option<&str>,
        upgrade: bool,
    ) -> Option<HttpPeer> {
        let settings = self.peer.settings();
        let handshake = self.handshake();
        let mut secure = self.secure(host);
        if let (Some((tls, name)), Destination::Inet(address)) = (&mut secure, destination)
            && !tls.verify
            && name.is_empty()
        {
            // TLS wants a name; one that is an address is not sent.
            *name = address.ip().to_string();
        }
        let name = secure.as_ref().map(|(_, name)| name.clone()).unwrap_or_default();
        let mut peer = match destination {
            Destination::Inet(address) => HttpPeer::new(*address, secure.is_some(), name),
            Destination::Unix(path) => HttpPeer::new_uds(path.to_str()?, secure.is_some(), name).ok()?,
        };
        peer.group_key = self.peer.pool_key();
        let source = source_towards(&settings.bind, connection, destination).inspect_err(tell).ok()?;
        let timeouts = self.timeouts();
        set_options(&mut peer.options, settings.protocol, timeouts, upgrade);
        if let Some((tls, name)) = secure {
            set_tls(&mut peer, tls, &name)?;
        }
        if let Some(handshake) = handshake {
            // Such a connection leads to one host for good.
            let mut hasher = DefaultHasher::new();
            (peer.group_key, handshake.authority()).hash(&mut hasher);
            peer.group_key = hasher.finish();
            let tls = self.parents_tls();
            // It has no descriptor, by which pingora would know it again.
            peer.options.idle_timeout = peer.options.idle_timeout.filter(|_| tls.is_none()).or(Some(Duration::ZERO));
            // The proxy has its time, and what it does for us has too.
            peer.options.total_connection_timeout = Some(timeouts.connect.saturating_mul(2));
            peer.options.custom_l4 = Some(Arc::new(ThroughParent {
                handshake: handshake.clone(),
                tls: tls.map(|(tls, name)| (tls.clone(), name)),
                source,
                timeout: timeouts.connect,
            }));
        }
        set_source(&mut peer, &settings.bind, source);
        Some(peer)
    }

    /// TLS that pingora speaks, and with whom: the server, or a proxy on the way that plain requests are passed to.
    fn secure(&self, host: Option<&str>) -> Option<(&Tls, String)> {
        if self.beyond.is_some() && self.handshake().is_none() {
            return self.parents_tls();
        }
        let tls = self.peer.settings().tls.as_ref()?;
        let name = tls.server_name.as_deref().or(host).unwrap_or_default();
        Some((tls, name.trim_matches(['[', ']']).to_owned()))
    }

    /// TLS with the proxy on the way, and the name that its certificate must have.
    fn parents_tls(&self) -> Option<(&Tls, String)> {
        let tls = self.peer.settings().parent.as_ref()?.tls.as_ref()?;
        let name = match &tls.server_name {
            Some(name) => name.to_string(),
            None => dial::host(self.watched()?.address),
        };
        Some((tls, name))
    }
}

/// `None` when the certificate is to be checked and cannot be.
fn set_tls(peer: &mut HttpPeer, tls: &Tls, name: &str) -> Option<()> {
    if tls.verify && name.is_empty() {
        tracing::warn!(target: "lockgate::upstream", "there is no name that the server's certificate must have");
        return None;
    }
    peer.options.verify_cert = tls.verify;
    peer.options.verify_hostname = tls.verify;
    if let Some(roots) = &tls.roots {
        peer.options.ca = Some(tls::authorities(roots)?);
    }
    if let Some(identity) = &tls.identity {
        peer.client_cert_key = Some(tls::certificate(identity)?);
    }
    Some(())
}

/// Every timeout is set: pingora's own defaults wait for ever.
fn set_options(options: &mut PeerOptions, protocol: Protocol, timeouts: Timeouts, upgrade: bool) {
    if protocol == Protocol::Http2 && !upgrade {
        options.set_http_version(2, 2);
        options.max_h2_streams = STREAMS;
    }
    options.connection_timeout = Some(timeouts.connect);
    options.total_connection_timeout = Some(timeouts.connect);
    // An upgraded connection may be silent; the client's side of it watches the clock (see `Watch`).
    options.read_timeout = (!upgrade).then_some(timeouts.read);
    options.write_timeout = Some(timeouts.write);
    options.idle_timeout = Some(timeouts.idle);
    options.tcp_keepalive = Some(pingora::protocols::TcpKeepalive {
        idle: Duration::from_secs(60),
        interval: Duration::from_secs(15),
        count: 4,
        user_timeout: Duration::ZERO,
    });
}

fn set_source(peer: &mut HttpPeer, bind: &Bind, source: Option<IpAddr>) {
    if let Some(source) = source {
        let mut bind_to = pingora::connectors::l4::BindTo::default();
        bind_to.addr = Some(SocketAddr::new(source, 0));
        peer.options.bind_to = Some(bind_to);
        if matches!(bind, Bind::Same | Bind::InTurn(_)) {
            // The source differs from request to request, and pingora's key does not have it.
            peer.group_key ^= match source {
                IpAddr::V4(source) => u64::from(source.to_bits()).rotate_left(17),
                IpAddr::V6(source) => (source.to_bits() as u64) ^ ((source.to_bits() >> 64) as u64),
            };
        }
    }
}

fn source_towards(bind: &Bind, connection: &Connection, destination: &Destination) -> Result<Option<IpAddr>, NoSource> {
    match destination {
        Destination::Inet(to) => dial::source(bind, connection, *to),
        Destination::Unix(_) => Ok(None),
    }
}

fn tell(error: &NoSource) {
    tracing::debug!(target: "lockgate::upstream", %error, "cannot connect");
}

/// Requests that share a connection over HTTP/2.
const STREAMS: usize = 100;
