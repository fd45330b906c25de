//! One attempt at a certificate from the command line: with its lock, its authenticator and its gate, all of which are put away
//! again however it ends.

use std::{path::PathBuf, sync::Arc, time::Duration};

use authenticator_api::{Authenticator, DomainName};
use certificates::{Authenticators, Blame, Hooks, Lock, ObtainError, Obtained, Presented, Request, Store, obtain};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    options::{Common, HookArguments},
    session::{Beside, Session},
    watch::Watch,
};
use crate::{
    cli::{Exit, report},
    intercept::Intercept,
};

/// What an attempt takes beside the request.
pub(in crate::cli) struct Means<'a> {
    pub(in crate::cli) common: &'a Common,
    pub(in crate::cli) hooks: &'a HookArguments,
    /// What is run: what the options say.
    pub(in crate::cli) commands: Hooks,
    pub(in crate::cli) is_rehearsal: bool,
    pub(in crate::cli) authenticator: Arc<dyn Authenticator>,
    pub(in crate::cli) intercept: Option<Intercept>,
}

/// Why there is no certificate, for people.
pub(in crate::cli) struct Failure {
    pub(in crate::cli) message: String,
    pub(in crate::cli) hint: Option<&'static str>,
    pub(in crate::cli) usage: bool,
}

impl Failure {
    pub(in crate::cli) fn new(error: &dyn std::error::Error) -> Self {
        Self::of(report::sentence(error))
    }

    pub(in crate::cli) fn of(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, usage: false }
    }

    /// It was asked wrongly.
    pub(in crate::cli) fn usage(message: impl Into<String>, hint: Option<&'static str>) -> Self {
        Self { message: message.into(), hint, usage: true }
    }

    /// Says so, and how the command ends.
    pub(in crate::cli) fn told(&self) -> Exit {
        report::error(&self.message);
        if let Some(hint) = self.hint {
            report::hint(hint);
        }
        if self.usage { Exit::Usage } else { Exit::Failure }
    }
}

/// Runs something that takes a runtime, to its end.
pub(in crate::cli) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    // One thread for files: they are written one after the other anyway, and tests can kill it at each write.
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).max_blocking_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(&error))?;
    let result = runtime.block_on(work);
    // After a second Ctrl-C a drain may still be going on: it is not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// The signals that end a command.
pub(in crate::cli) struct Stopped {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    is_stopped: bool,
}

impl Stopped {
    pub(in crate::cli) fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::new(&error));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
            is_stopped: false,
        })
    }

    /// Whether one has come.
    pub(in crate::cli) fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Ready when one comes, with a word for it.
    async fn signal(&mut self) -> &'static str {
        let what = tokio::select! {
            _ = self.interrupt.recv() => "interrupted",
            _ = self.terminate.recv() => "terminated",
            _ = self.hang_up.recv() => "hung up",
        };
        self.is_stopped = true;
        what
    }

    /// Goes on with the operator's deploy hooks until they end. One that is running when a signal comes is killed.
    pub(super) async fn deploying<T>(&mut self, hooks: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            done = hooks => Ok(done),
            what = self.signal() => Err(Failure::of(format!("{what} while a hook was running, which was killed"))),
        }
    }

    /// Goes on with this until it ends, or until one of them comes.
    pub(super) async fn unless<T>(&mut self, work: impl Future<Output = T>, watch: &Watch) -> Result<T, Failure> {
        let what = tokio::select! {
            done = work => return Ok(done),
            what = self.signal() => what,
            () = watch.lost() => "the gate closed by itself: the process that held it ended;",
        };
        self.is_stopped = true;
        Err(Failure::of(format!("{what} after {}; everything is undone", watch.stage())))
    }
}

/// Everything that is started is stopped again before this returns, however it ends.
pub(in crate::cli) async fn run(request: &Request, means: Means<'_>) -> Result<Obtained, Failure> {
    let mut stopped = Stopped::listen()?;
    let session = Session::open(means.common, means.hooks, means.is_rehearsal).await?;
    let watch = Watch::new(means.common.quiet, means.intercept);
    let beside = Beside::new(&session, &watch, &*means.authenticator, &means.commands);
    let current = request.name.as_ref().and_then(|name| session.store.load(name));
    let beside = beside.replacing(current);
    let presented = Presented::default();
    let authenticators = Authenticators::from(Arc::clone(&means.authenticator));

    // Held until everything is put away: who gets it next may want to listen where we do.
    let mut held = None;
    let order = async {
        let waiting = |holder: &str| watch.say("waiting", &format!("waiting for {holder}"));
        let lock = Lock::acquire(session.store.root(), means.common.lock_timeout.0, waiting).await;
        held = Some(lock.map_err(|error| Failure::new(&error))?);
        let Session { client, store, .. } = &session;
        obtain(request, client, store, &authenticators, &presented, &beside).await.map_err(explained)
    };
    let result = stopped.unless(order, &watch).await.flatten();
    // A second signal means "at once": the gate falls with us, whatever we are doing.
    let undo = async {
        presented.cleanup().await;
        let closed = watch.close().await;
        beside.end().await;
        closed
    };
    let closed = tokio::select! {
        closed = undo => closed,
        _ = stopped.interrupt.recv() => Err("interrupted again: visitors who were still being served are cut".into()),
    };
    drop(held);
    let names = |domains: &[DomainName]| domains.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (renewed, failed) = match &result {
        Ok(Obtained::Issued { saved, .. }) => (saved.lineage.names.iter().cloned().collect(), Vec::new()),
        Ok(Obtained::Unchanged { .. }) => (Vec::new(), Vec::new()),
        Err(_) => (Vec::new(), request.domains.clone()),
    };
    // A certificate that nobody keeps is no news.
    let deployed = match &result {
        Ok(Obtained::Issued { saved, .. }) if !means.is_rehearsal => {
            stopped.deploying(beside.deploy(&saved.lineage)).await.flatten()
        }
        _ => Ok(true),
    };
    // Not ended by a signal: whatever the first hooks stopped is started again.
    session.hooks.lock().await.end(&names(&renewed), &names(&failed)).await;
    match (result, closed) {
        (Ok(_), Err(error)) => Err(Failure::of(format!("the certificate is saved, but: {error}"))),
        (Ok(obtained), Ok(())) => match deployed? {
            true => Ok(obtained),
            false => Err(Failure::of("the certificate is saved, and a deploy hook failed: `cert renew` runs it again")),
        },
        (Err(failure), _) => Err(failure),
    }
}

pub(in crate::cli) async fn open_store(path: PathBuf) -> Result<Store, Failure> {
    let opened = tokio::task::spawn_blocking(move || Store::open(&path)).await;
    let opened = opened.map_err(|error| Failure::new(&error))?;
    opened.map_err(|error| Failure {
        hint: Some("nothing was asked of the certificate authority; choose another place with --storage"),
        ..Failure::new(&error)
    })
}

pub(in crate::cli) fn explained(error: ObtainError) -> Failure {
    let hint = match (&error, error.blame()) {
        (ObtainError::Terms { .. }, _) => Some("read them and run again with --agree-tos"),
        (ObtainError::Validation { .. }, _) => {
            Some("does the name lead to this machine, by IPv4 and IPv6, and does port 80 get through its firewall?")
        }
        (ObtainError::Key { .. }, _) => Some("RSA keys are used again (--reuse-key) where there is one, and not made"),
        (ObtainError::Prepare { .. }, _) => {
            Some("is another server there? with one, use --intercept or --authenticator webroot")
        }
        (_, Blame::Network) => Some("check --server and --ca-file, and that this machine may connect there"),
        (_, Blame::Storage) => Some("check --storage: the space left, and who may write there"),
        _ => None,
    };
    Failure { hint, usage: matches!(error, ObtainError::Terms { .. }), ..Failure::new(&error) }
}

/// How long the authority may take to validate.
pub(in crate::cli) const PATIENCE: Duration = Duration::from_secs(90);
