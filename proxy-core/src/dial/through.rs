//! How pingora's connections to servers behind another proxy are made.

use std::{net::IpAddr, time::Duration};

use async_trait::async_trait;
use pingora::{
    Error, ErrorType,
    connectors::l4::Connect,
    protocols::l4::{socket::SocketAddr, stream::Stream as PingoraStream, virt::VirtualSocketStream},
};
use plugin_api::{Bind, Connection, Tls};

use super::{Handshake, Stream, parent};

/// Connects a parent proxy, and shakes hands with it.
#[derive(Debug)]
pub(crate) struct ThroughParent {
    pub(crate) handshake: Handshake,
    /// TLS towards it, and the name that its certificate must have.
    pub(crate) tls: Option<(Tls, String)>,
    pub(crate) source: Option<IpAddr>,
    /// For connecting it, TLS included. The handshake takes part in pingora's own timeout.
    pub(crate) timeout: Duration,
}

/// The error for a parent that cannot be connected, in contrast to one that does not connect the server.
pub(crate) const UNREACHABLE: ErrorType = ErrorType::Custom("ParentUnreachable");

#[async_trait]
impl Connect for ThroughParent {
    async fn connect(&self, parent: &SocketAddr) -> pingora::Result<PingoraStream> {
        let to = parent
            .as_inet()
            .ok_or_else(|| Error::explain(ErrorType::InternalError, "a parent proxy has an IP address"))?;
        let bind = self.source.map_or(Bind::Any, |source| Bind::Addresses(vec![source]));
        let nobody = Connection::new((*to).into(), "".into(), *to);
        let tls = self.tls.as_ref().map(|(tls, name)| (tls, &**name));
        let stream = parent::connect(&[*to], tls, &bind, &nobody, self.timeout).await;
        let stream = stream.map_err(|failure| Error::explain(UNREACHABLE, format!("{failure:?}")))?;
        let shaken = self.handshake.perform(stream).await.map_err(|error| {
            tracing::info!(target: "lockgate::upstream", %error, "a parent proxy did not connect");
            Error::because(ErrorType::ConnectProxyFailure, "a parent proxy did not connect", error)
        })?;
        Ok(match shaken.stream {
            Stream::Tcp(stream) => stream.into(),
            secure => VirtualSocketStream::new(Box::new(secure)).into(),
        })
    }
}
