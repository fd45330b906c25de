//! The authenticator itself.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use authenticator_api::{Authenticator, BoxFuture, BuildError, Challenge, DomainName, Error, Kind, Lookup, Token};

use crate::{Config, server::Server, tokens::Tokens};

/// Answers from memory. Cheap to ask from many threads; nothing of it survives the process.
#[derive(Debug, Default)]
pub struct Standalone {
    listen: Vec<SocketAddr>,
    tokens: Arc<Tokens>,
    servers: Mutex<Vec<Server>>,
}

impl Standalone {
    /// Answers on these addresses once started, beside in-process look-ups. Port 0 takes a free one.
    pub fn new(listen: Vec<SocketAddr>) -> Self {
        Self { listen, ..Self::default() }
    }

    /// The addresses that it answers on now.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner).iter().map(Server::address).collect()
    }
}

impl Kind for Standalone {
    const NAME: &'static str = "standalone";
    type Config = Config;

    fn build(config: Config) -> Result<Self, BuildError> {
        Ok(Self::new(config.listen))
    }
}

impl Authenticator for Standalone {
    fn start(&self) -> BoxFuture<'_, Result<(), Error>> {
        let started = || {
            let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
            if servers.is_empty() {
                let bind = |address| Server::start(address, Arc::clone(&self.tokens));
                // When one address fails, those before it are closed by being dropped.
                *servers = self.listen.iter().copied().map(bind).collect::<Result<_, _>>()?;
            }
            Ok(())
        };
        Box::pin(async move { started() })
    }

    fn present<'a>(&'a self, challenge: &'a Challenge) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async { self.tokens.insert(challenge) })
    }

    fn lookup<'a>(&'a self, _: Option<&'a DomainName>, token: &'a Token) -> Lookup<'a> {
        Lookup::Ready(self.tokens.get(token))
    }

    fn cleanup<'a>(&'a self, challenge: &'a Challenge) -> BoxFuture<'a, Result<(), Error>> {
        self.tokens.remove(challenge);
        Box::pin(std::future::ready(Ok(())))
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        let servers = std::mem::take(&mut *self.servers.lock().unwrap_or_else(PoisonError::into_inner));
        Box::pin(async {
            for server in servers {
                server.stop().await;
            }
        })
    }
}
