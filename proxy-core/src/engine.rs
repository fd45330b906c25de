//! The engine: binds, starts the shards, drains, stops.

use std::{io, net::SocketAddr, sync::Arc, thread::JoinHandle, time::Duration};

use plugin_api::{PluginError, StartCx};
use tokio::{sync::watch, time::Instant};

use crate::{
    Config, Snapshot,
    access_log::{AccessLog, Writer},
    listener,
    metrics::Metrics,
    shard::{Phase, Shard, Socket},
};

/// A running proxy: one thread per shard, each with its own sockets.
///
/// `run` and `cert obtain` both use it. Dropping it stops it at once; [`drain`](Self::drain) lets requests finish.
pub struct Engine {
    phase: watch::Sender<Phase>,
    shards: Vec<JoinHandle<u64>>,
    metrics: Vec<Arc<Metrics>>,
    addresses: Vec<(Arc<str>, SocketAddr)>,
    writer: Option<Writer>,
    /// Plugins' background tasks run here, apart from the shards.
    background: Option<tokio::runtime::Runtime>,
}

/// How an engine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut at the deadline.
    pub cut: u64,
    /// Access-log records that were not written, because nobody took them or the disk was full.
    pub unlogged: u64,
}

/// Why an engine did not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("listener `{listener}` cannot listen on {address}")]
    Listen {
        /// The listener's name.
        listener: Arc<str>,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The access log cannot be opened.
    #[error("cannot open the access log {path}")]
    Log {
        /// Its place.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
    /// A plugin did not start.
    #[error("plugin `{plugin}` of route `{route}` did not start")]
    Plugin {
        /// The plugin's name.
        plugin: &'static str,
        /// The route's name.
        route: Arc<str>,
        /// What the plugin said.
        source: PluginError,
    },
}

impl StartError {
    /// What the operator can do about it.
    pub fn hint(&self) -> Option<String> {
        if let Self::Log { .. } = self {
            return Some("its directory must exist and be writable; `[log] access` names it".into());
        }
        let Self::Listen { address, source, .. } = self else { return None };
        match source.kind() {
            io::ErrorKind::AddrInUse => Some(format!(
                "another program listens there; `ss -ltnp 'sport = :{}'` shows which",
                address.port()
            )),
            io::ErrorKind::PermissionDenied if address.port() < 1024 => Some(
                "ports below 1024 need root or CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE)".into(),
            ),
            io::ErrorKind::PermissionDenied => Some("a transparent listener needs root or CAP_NET_ADMIN".into()),
            io::ErrorKind::AddrNotAvailable => Some("this machine does not have that address".into()),
            _ => None,
        }
    }
}

impl Engine {
    /// Binds every listener, starts every plugin, and serves.
    ///
    /// Must be called outside any tokio runtime's threads, or within `spawn_blocking`: it waits for plugins to start.
    ///
    /// # Errors
    ///
    /// Nothing serves, and everything that was bound is closed again.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let config = Arc::new(config);
        let (sockets, addresses) = bind(&config)?;
        let (log, writer) = match &config.log {
            Some(log) => AccessLog::open(log).map(|(log, writer)| (Some(log), Some(writer))),
            None => Ok((None, None)),
        }
        .map_err(|source| {
            let path = config.log.as_ref().map(|log| log.sink.to_string()).unwrap_or_default();
            StartError::Log { path, source }
        })?;
        let (phase, phases) = watch::channel(Phase::Serve);
        let background = start_plugins(&config)?;
        let mut engine =
            Self { phase, shards: Vec::new(), metrics: Vec::new(), addresses, writer, background: Some(background) };
        let ports: Vec<_> = engine.addresses.iter().map(|(name, address)| (Arc::clone(name), address.port())).collect();
        for (index, sockets) in sockets.into_iter().enumerate() {
            let metrics = Arc::new(Metrics::default());
            engine.metrics.push(Arc::clone(&metrics));
            let shard = Shard::new(Arc::clone(&config), metrics, log.clone(), ports.clone(), phases.clone());
            let thread = spawn(index, shard, sockets).map_err(|source| StartError::Thread { source })?;
            engine.shards.push(thread);
        }
        Ok(engine)
    }

    /// Where it listens: listener names and addresses, with the ports that the system chose.
    pub fn addresses(&self) -> &[(Arc<str>, SocketAddr)] {
        &self.addresses
    }

    /// The counters of all shards, added up.
    pub fn metrics(&self) -> Snapshot {
        Snapshot::gather(self.metrics.iter().map(|metrics| &**metrics))
    }

    /// Takes no new connections (those that are complete are still accepted), lets requests finish, and returns when
    /// they have or the deadline is over. Blocks.
    pub fn drain(mut self, deadline: Duration) -> Drained {
        self.phase.send_replace(Phase::Drain(Instant::now() + deadline));
        self.join()
    }

    /// Cuts everything. Blocks for as long as a hook that is running now takes.
    pub fn stop(mut self) -> Drained {
        self.phase.send_replace(Phase::Stop);
        self.join()
    }

    /// A handle that turns a drain into a stop.
    pub fn stopper(&self) -> impl Fn() + Send + Sync + 'static {
        let phase = self.phase.clone();
        move || {
            phase.send_replace(Phase::Stop);
        }
    }

    fn join(&mut self) -> Drained {
        let cut = self.shards.drain(..).map(|shard| shard.join().unwrap_or(0)).sum();
        if let Some(background) = self.background.take() {
            // Not waited for: an engine may be dropped where blocking is not allowed, and the tasks end with their plugins.
            background.shutdown_background();
        }
        let mut unlogged = 0;
        if let Some(writer) = self.writer.take() {
            writer.finish(LOG_TIME);
            unlogged = writer.lost();
        }
        Drained { cut, unlogged }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Stop);
        self.join();
    }
}

type ShardSockets = Vec<Vec<Socket>>;
type Addresses = Vec<(Arc<str>, SocketAddr)>;

/// Binds every address for every shard.
fn bind(config: &Config) -> Result<(ShardSockets, Addresses), StartError> {
    let mut shards: ShardSockets = (0..config.shards.get()).map(|_| Vec::new()).collect();
    let mut addresses = Addresses::new();
    for listener in &config.listeners {
        let listener = Arc::new(listener.clone());
        for &address in &listener.addresses {
            let failed = |source| StartError::Listen { listener: Arc::clone(&listener.name), address, source };
            let bound = listener::bind(&listener, address, config.shards.get()).map_err(failed)?;
            addresses.push((Arc::clone(&listener.name), bound.address));
            for (shard, socket) in shards.iter_mut().zip(bound.sockets) {
                shard.push(Socket { listener: Arc::clone(&listener), socket });
            }
        }
    }
    Ok((shards, addresses))
}

/// Starts every plugin once, on a runtime of its own.
fn start_plugins(config: &Config) -> Result<tokio::runtime::Runtime, StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("background")
        .enable_all()
        .build()
        .map_err(|source| StartError::Thread { source })?;
    let handle = runtime.handle().clone();
    let cx = StartCx::new(move |task| {
        handle.spawn(task);
    });
    for route in &config.routes {
        for link in route.chain.links() {
            runtime.block_on(link.start(&cx)).map_err(|source| StartError::Plugin {
                plugin: link.name(),
                route: Arc::clone(route.chain.name()),
                source,
            })?;
        }
    }
    Ok(runtime)
}

fn spawn(index: usize, shard: Arc<Shard>, sockets: Vec<Socket>) -> io::Result<JoinHandle<u64>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(format!("shard-{index}")).spawn(move || {
        let cut = runtime.block_on(shard.run(sockets));
        // A look-up of a name may hang in the system; it must not hold us.
        runtime.shutdown_timeout(Duration::ZERO);
        cut
    })
}

/// How long the last lines of the access log may take.
const LOG_TIME: Duration = Duration::from_secs(2);
