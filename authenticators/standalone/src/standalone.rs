//! The authenticator: tokens in memory, and the listeners while it runs.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use authenticator_api::{Authenticator, BoxFuture, BuildError, Challenge, DomainName, Error, Kind, Lookup, Token};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    Config, TARGET,
    listener::{self, Listener},
    tokens::Tokens,
};

/// Answers challenges from memory.
///
/// `lookup` never waits. Listeners, where some are wanted, are open between `start` and `stop`; when the authenticator
/// is dropped without `stop`, they close as soon as the runtime gets to it. Tokens outlive `stop`: only `cleanup`
/// removes them.
#[derive(Debug)]
pub struct Standalone {
    listen: Vec<SocketAddr>,
    tokens: Arc<Tokens>,
    running: Mutex<Option<Running>>,
}

/// What `start` made and `stop` ends.
#[derive(Debug)]
struct Running {
    addresses: Vec<SocketAddr>,
    /// Its drop tells the listeners to close.
    stop: watch::Sender<()>,
    listeners: Vec<JoinHandle<()>>,
}

impl Standalone {
    /// An authenticator that will listen on each of `listen`, or on nothing when it is empty. Opens nothing yet.
    pub fn new(listen: Vec<SocketAddr>) -> Self {
        Self { listen, tokens: Arc::default(), running: Mutex::default() }
    }

    /// The addresses it listens on, in the order in which they were given, with the ports that the system chose where
    /// port 0 was asked for. Empty before `start` and after `stop`.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.running().as_ref().map(|running| running.addresses.clone()).unwrap_or_default()
    }

    fn open(&self) -> Result<(), Error> {
        let mut running = self.running();
        if running.is_some() {
            return Ok(());
        }
        // All or none: the sockets bound before a failure close with the vector.
        let listeners = self.listen.iter().map(|address| Listener::bind(*address)).collect::<Result<Vec<_>, _>>()?;
        let addresses = listeners.iter().map(Listener::address).collect();
        let (stop, stopped) = watch::channel(());
        let listeners = listeners
            .into_iter()
            .map(|listener| tokio::spawn(listener::serve(listener, Arc::clone(&self.tokens), stopped.clone())))
            .collect();
        *running = Some(Running { addresses, stop, listeners });
        Ok(())
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        // The value is replaced whole, so a panic elsewhere cannot have left it half changed.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Authenticator for Standalone {
    fn start(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move { self.open() })
    }

    fn present<'a>(&'a self, challenge: &'a Challenge) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move { self.tokens.insert(challenge) })
    }

    fn lookup<'a>(&'a self, _host: Option<&'a DomainName>, token: &'a Token) -> Lookup<'a> {
        Lookup::Ready(self.tokens.get(token))
    }

    fn cleanup<'a>(&'a self, challenge: &'a Challenge) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.tokens.remove(challenge);
            Ok(())
        })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let Some(Running { stop, listeners, .. }) = self.running().take() else { return };
            drop(stop);
            for listener in listeners {
                if let Err(failure) = listener.await {
                    tracing::error!(target: TARGET, error = %failure, "listener of the standalone authenticator failed");
                }
            }
        })
    }
}

impl Kind for Standalone {
    const NAME: &'static str = "standalone";

    type Config = Config;

    fn build(config: Config) -> Result<Self, BuildError> {
        Ok(Self::new(config.listen))
    }
}
