//! The engine: binds, starts the shards, takes new configurations, drains, stops.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::{
    Config, Counters, ListenAddress, LogConfig, Snapshot, StartError,
    access_log::{AccessLog, Opened, Writer},
    admission::Admission,
    generation::Generation,
    listeners::{Change, Entrance, Listeners, Socket},
    shard::{Orders, Phase, Shard},
};

/// A running proxy: one thread per shard, each with its own sockets.
///
/// `run` and `cert obtain` both use it. Dropping it stops it at once; [`drain`](Self::drain) lets requests finish.
pub struct Engine {
    phase: watch::Sender<Phase>,
    shards: Vec<Running>,
    listeners: Listeners,
    admission: Arc<Admission>,
    counters: Arc<Counters>,
    /// One change at a time; and the writer of the access log, once there is one.
    writer: Mutex<Option<(AccessLog, Writer)>>,
    /// Plugins' background tasks run here, apart from the shards.
    background: Option<tokio::runtime::Runtime>,
}

/// An engine that listens and does not serve yet: the moment to give up privileges.
pub struct Bound {
    config: Config,
    listeners: Listeners,
    change: Change,
    log: Option<Opened>,
}

/// How an engine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut at the deadline.
    pub cut: u64,
    /// Access-log records that were not written, because nobody took them or the disk was full.
    pub unlogged: u64,
}

/// A shard that serves.
struct Running {
    thread: JoinHandle<u64>,
    shard: Arc<Shard>,
    sockets: mpsc::UnboundedSender<Socket>,
}

impl Bound {
    /// Starts every plugin, and serves.
    ///
    /// Must be called outside any tokio runtime's threads, or within `spawn_blocking`: it waits for plugins to start.
    ///
    /// # Errors
    ///
    /// Nothing serves, and everything that was bound is closed again.
    pub fn start(self) -> Result<Engine, StartError> {
        let Self { config, listeners, change, log } = self;
        let thread = |source| StartError::Thread { source };
        let background = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("background")
            .enable_all()
            .build()
            .map_err(thread)?;
        let log = log.map(Opened::start).transpose().map_err(thread)?;
        let admission = Admission::new(config.max_clients);
        let counters = Arc::clone(&config.counters);
        let shards = config.shards.get();
        let sender = log.as_ref().map(|(log, _)| log.clone());
        let generation = Generation::start(config, sender, background.handle())?;
        let mut engine = Engine {
            phase: watch::Sender::new(Phase::Serve),
            shards: Vec::new(),
            listeners,
            admission,
            counters,
            writer: Mutex::new(log),
            background: Some(background),
        };
        for index in 0..shards {
            engine.spawn(index, Arc::clone(&generation)).map_err(thread)?;
        }
        engine.commit(change);
        Ok(engine)
    }

    /// Makes the listening sockets somebody else's, who is to serve in our place: the kernel lets only their owner listen beside
    /// them (`SO_REUSEPORT`, socket(7)), as a reload does that turns `127.0.0.1:80` into `0.0.0.0:80`. Files of unix sockets, too,
    /// as far as the configuration does not say whose they are.
    ///
    /// # Errors
    ///
    /// Only root may do this.
    pub fn give_to(&self, user: u32, group: u32) -> io::Result<()> {
        self.change.give_to(user, group)
    }

    /// Where it listens: listener names and addresses, with the ports that the system chose.
    pub fn addresses(&self) -> Vec<(Arc<str>, ListenAddress)> {
        self.change.addresses()
    }
}

impl Engine {
    /// Opens the listeners and the access log, which may need privileges that serving does not.
    ///
    /// # Errors
    ///
    /// Everything that was opened is closed again.
    pub fn bind(config: Config) -> Result<Bound, StartError> {
        let listeners = Listeners::default();
        let change = listeners.prepare(&config.listeners, config.shards.get())?;
        let log = open_log(config.log.as_ref())?;
        Ok(Bound { config, listeners, change, log })
    }

    /// Binds and starts.
    ///
    /// # Errors
    ///
    /// See [`bind`](Self::bind) and [`Bound::start`].
    pub fn start(config: Config) -> Result<Self, StartError> {
        Self::bind(config)?.start()
    }

    /// Takes a new configuration: new listeners are bound, new plugins started, the access log is opened again by its name,
    /// and then all of it replaces what was there. Requests finish on the generation that they started on; connections stay,
    /// and their next request is served by the new one. A listener that is gone empties its queue before it closes. The
    /// number of shards cannot change.
    ///
    /// Must be called outside any tokio runtime's threads, or within `spawn_blocking`: it waits for plugins to start.
    ///
    /// # Errors
    ///
    /// Nothing has changed.
    pub fn reload(&self, config: Config) -> Result<(), StartError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let background = self.background.as_ref().expect("only the end of the engine takes it");
        let change = self.listeners.prepare(&config.listeners, self.shards.len())?;
        let opened = open_log(config.log.as_ref())?;
        let max_clients = config.max_clients;
        let has_log = config.log.is_some();
        if let (None, true) = (&*writer, has_log) {
            let started = opened.map(Opened::start).transpose().map_err(|source| StartError::Thread { source })?;
            *writer = started;
        } else if let (Some((_, writer)), Some(opened)) = (&*writer, opened) {
            // A later failure leaves it written to by a new name for the same place: no line is lost by that.
            writer.switch(opened);
        }
        let log = writer.as_ref().filter(|_| has_log).map(|(log, _)| log.clone());
        let generation = Generation::start(config, log, background.handle())?;
        for running in &self.shards {
            running.shard.renew(Arc::clone(&generation));
        }
        self.admission.set_limit(max_clients);
        self.commit(change);
        Ok(())
    }

    /// Where it listens: listener names and addresses, with the ports that the system chose.
    pub fn addresses(&self) -> Vec<(Arc<str>, ListenAddress)> {
        self.listeners.addresses()
    }

    /// A listener, as it is now.
    pub fn entrance(&self, listener: &str) -> Entrance {
        self.listeners.entrance(listener)
    }

    /// The counters of all shards, added up.
    pub fn metrics(&self) -> Snapshot {
        self.counters.snapshot()
    }

    /// Takes no new connections (those that are complete are still accepted), lets requests finish, and returns when
    /// they have or the deadline is over. Blocks.
    pub fn drain(mut self, deadline: Duration) -> Drained {
        self.listeners.hide();
        self.phase.send_replace(Phase::Drain(Instant::now() + deadline));
        self.join()
    }

    /// The same, but tunnels, which know no end of their own, are cut at once.
    pub fn drain_requests(mut self, deadline: Duration) -> Drained {
        self.listeners.hide();
        self.phase.send_replace(Phase::DrainRequests(Instant::now() + deadline));
        self.join()
    }

    /// Cuts everything. Blocks for as long as a hook that is running now takes.
    pub fn stop(mut self) -> Drained {
        self.listeners.hide();
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

    fn spawn(&mut self, index: usize, generation: Arc<Generation>) -> io::Result<()> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(LOOK_UPS).build()?;
        let shard = Shard::new(generation, Arc::clone(&self.admission), self.phase.subscribe());
        let (sockets, orders) = mpsc::unbounded_channel();
        self.counters.add(&shard.metrics);
        let runs = Arc::clone(&shard);
        let thread = std::thread::Builder::new().name(format!("shard-{index}")).spawn(move || {
            let cut = runtime.block_on(runs.run(Orders { sockets: orders }));
            // A look-up of a name may hang in the system; it must not hold us.
            runtime.shutdown_timeout(Duration::ZERO);
            cut
        })?;
        self.shards.push(Running { thread, shard, sockets });
        Ok(())
    }

    fn commit(&self, mut change: Change) {
        for (running, sockets) in self.shards.iter().zip(std::mem::take(&mut change.sockets)) {
            for socket in sockets {
                // A shard whose thread is gone serves nobody; the others do.
                let _ = running.sockets.send(socket);
            }
        }
        self.listeners.commit(change);
    }

    fn join(&mut self) -> Drained {
        let mut cut = 0;
        for Running { thread, shard, sockets } in self.shards.drain(..) {
            cut += thread.join().unwrap_or(0);
            // Generations hold the access log's sender.
            drop((shard, sockets));
        }
        if let Some(background) = self.background.take() {
            // Not waited for: an engine may be dropped where blocking is not allowed, and the tasks end with their plugins.
            background.shutdown_background();
        }
        let mut unlogged = 0;
        if let Some((log, mut writer)) = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            drop(log);
            writer.finish(LOG_TIME);
            unlogged = writer.lost();
        }
        Drained { cut, unlogged }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.listeners.hide();
        self.listeners.hide();
        self.phase.send_replace(Phase::Stop);
        self.join();
    }
}

fn open_log(config: Option<&LogConfig>) -> Result<Option<Opened>, StartError> {
    let Some(config) = config else { return Ok(None) };
    let failed = |source| StartError::Log { path: config.sink.to_string(), source };
    AccessLog::open(config).map(Some).map_err(failed)
}

/// Threads of a shard that may wait for the name service at once.
const LOOK_UPS: usize = 1024;
/// How long the last lines of the access log may take.
const LOG_TIME: Duration = Duration::from_secs(2);
