//! A process that serves, until a signal ends it.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use authenticator_api::Authenticator;
use proxy_core::Engine;
use tokio::{
    runtime::{Handle, Runtime},
    sync::oneshot,
};

use super::{
    identity::Owner,
    notify::Notifier,
    pid_file::PidFile,
    program_log::ProgramLog,
    reload::Kept,
    service::{LOG_TIME, Manner, Service},
    signals::{Signals, Wish},
};
use crate::{
    cli::Exit,
    lasting::Lasting,
    upkeep::{Patience, Upkeep},
};

/// Everything that serves or that must be put away at the end.
pub(super) struct Running {
    pub(super) service: Service,
    pub(super) engine: Engine,
    pub(super) authenticators: Mutex<Vec<Arc<dyn Authenticator>>>,
    pub(super) log: Arc<ProgramLog>,
    pub(super) pid_file: Mutex<Option<PidFile>>,
    pub(super) notifier: Notifier,
    /// What a reload cannot change.
    pub(super) kept: Kept,
    /// Who must be able to write files that a reload creates.
    pub(super) owner: Option<Owner>,
    /// Where relative paths of the configuration start, when that is not where the process is.
    pub(super) directory: Option<PathBuf>,
    pub(super) drain: Mutex<Duration>,
    pub(super) runtime: Handle,
    /// What it reads from and writes to across reloads.
    pub(super) lasting: Arc<Lasting>,
    pub(super) upkeep: Mutex<Upkeep>,
}

impl Running {
    /// Obeys signals, and ends.
    pub(super) fn until_ended(self, runtime: &Runtime, mut signals: Signals) -> Exit {
        for (listener, address) in self.engine.addresses() {
            tracing::info!(target: "lockgate", listener = &*listener, %address, "listening");
        }
        if self.service.manner != Manner::Lockgate {
            tracing::info!(target: "lockgate::narrative", "Starting main loop. Accepting connections.");
        }
        self.notifier.ready("serving");
        let running = Arc::new(self);
        let (wish, reload) = runtime.block_on(running.obey(&mut signals));
        let patience = running.service.manner.patience(*running.drain.lock().unwrap_or_else(PoisonError::into_inner));
        running.notifier.stopping("letting requests finish");
        if let Some(reload) = reload {
            // It holds the engine. Its end is what matters, not its result.
            let _ = runtime.block_on(async { tokio::time::timeout(patience, reload).await });
        }
        let log = Arc::clone(&running.log);
        let exit = match Arc::try_unwrap(running) {
            Ok(running) => {
                running.end(runtime, wish, patience, signals);
                Exit::Success
            }
            Err(running) => {
                tracing::error!(target: "lockgate", "a reload does not end: what it holds is left to the system");
                running.pid_file.lock().unwrap_or_else(PoisonError::into_inner).take();
                // The thread that reloads has it to the end of the process.
                running.engine.stopper()();
                Exit::Failure
            }
        };
        log.finish(LOG_TIME);
        exit
    }

    /// Reloads as often as is asked for, on a thread apart, until an end is wished for. A reload may be running then.
    async fn obey(self: &Arc<Self>, signals: &mut Signals) -> (Wish, Option<oneshot::Receiver<()>>) {
        loop {
            let wish = signals.next().await;
            if wish != Wish::Reload {
                return (wish, None);
            }
            let (ended, mut end) = oneshot::channel();
            let running = Arc::clone(self);
            let spawned = std::thread::Builder::new().name("reload".into()).spawn(move || {
                running.reload();
                drop(running);
                // Nobody waits when the process is ending.
                let _ = ended.send(());
            });
            if let Err(error) = spawned {
                tracing::error!(target: "lockgate", %error, "cannot start a thread to reload");
                continue;
            }
            tokio::select! {
                _ = &mut end => {}
                wish = signals.end() => return (wish, Some(end)),
            }
        }
    }

    fn end(self, runtime: &Runtime, wish: Wish, patience: Duration, mut signals: Signals) {
        let Self { service, engine, authenticators, pid_file, upkeep, .. } = self;
        let order = if wish == Wish::Stop { Patience::STOP } else { Patience::DRAIN };
        // An authority that is on its way is still answered: authenticators and listeners are there.
        upkeep.into_inner().unwrap_or_else(PoisonError::into_inner).stop(order, runtime.handle());
        let drained = if wish == Wish::Stop && service.manner == Manner::Lockgate {
            engine.stop()
        } else {
            if service.manner == Manner::Lockgate {
                tracing::info!(target: "lockgate", deadline = ?patience, "draining: no new connections, requests may finish");
            }
            let stop = engine.stopper();
            let impatient = runtime.spawn(async move {
                signals.interrupted().await;
                stop();
            });
            let drained = match service.manner {
                Manner::Lockgate => engine.drain(patience),
                Manner::Tinyproxy { .. } => engine.drain_requests(patience),
            };
            impatient.abort();
            drained
        };
        for authenticator in authenticators.into_inner().unwrap_or_else(PoisonError::into_inner) {
            runtime.block_on(authenticator.stop());
        }
        drop(pid_file);
        match service.manner {
            Manner::Lockgate => {
                tracing::info!(target: "lockgate", cut = drained.cut, unlogged = drained.unlogged, "stopped");
            }
            Manner::Tinyproxy { .. } => tracing::info!(target: "lockgate", "Shutting down."),
        }
    }
}
