//! How pingora's connections to servers behind another proxy are made.

use std::{net::IpAddr, time::Duration};

use async_trait::async_trait;
use pingora::{
    Error, ErrorType,
    connectors::l4::Connect,
    protocols::l4::{socket::SocketAddr, stream::Stream},
};
use plugin_api::{Bind, Connection};

use super::{DialError, Handshake, race};

/// Connects a parent proxy, and shakes hands with it.
#[derive(Debug)]
pub(crate) struct ThroughParent {
    pub(crate) handshake: Handshake,
    pub(crate) source: Option<IpAddr>,
    pub(crate) timeout: Duration,
}

#[async_trait]
impl Connect for ThroughParent {
    async fn connect(&self, parent: &SocketAddr) -> pingora::Result<Stream> {
        let parent = parent
            .as_inet()
            .ok_or_else(|| Error::explain(ErrorType::InternalError, "a parent proxy has an IP address"))?;
        let connected = tokio::time::timeout(self.timeout, async {
            let bind = self.source.map_or(Bind::Any, |source| Bind::Addresses(vec![source]));
            let nobody = Connection::new(*parent, "".into(), *parent);
            let stream = race(&[*parent], &bind, &nobody, self.timeout).await.map_err(|error| match error {
                DialError::Failed(failure) => Error::explain(ErrorType::ConnectError, format!("{failure:?}")),
                DialError::Declined { .. } => Error::new(ErrorType::ConnectError),
            })?;
            self.handshake.perform(stream).await.map_err(|error| {
                tracing::info!(target: "lockgate::upstream", %error, "a parent proxy did not connect");
                Error::because(ErrorType::ConnectProxyFailure, "a parent proxy did not connect", error)
            })
        });
        match connected.await {
            Ok(connected) => connected.map(|(stream, _)| stream.into()),
            Err(_) => Err(Error::new(ErrorType::ConnectTimedout)),
        }
    }
}
