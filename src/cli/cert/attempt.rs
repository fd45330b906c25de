//! One attempt at a certificate from the command line: with its lock, its authenticator and its gate, all of which are put away
//! again however it ends.

use std::{path::PathBuf, sync::Arc, time::Duration};

use authenticator_api::Authenticator;
use certificates::{Authenticators, Blame, Client, Lock, ObtainError, Obtained, Presented, Request, Store, obtain};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::watch::Watch;
use crate::{
    cli::{Exit, report},
    intercept::Intercept,
};

/// What an attempt takes beside the request.
pub(in crate::cli) struct Means {
    pub(in crate::cli) storage: PathBuf,
    /// Certificates to trust instead of the system's when talking to the authority.
    pub(in crate::cli) ca_file: Option<PathBuf>,
    pub(in crate::cli) authenticator: Arc<dyn Authenticator>,
    pub(in crate::cli) intercept: Option<Intercept>,
    pub(in crate::cli) lock_timeout: Duration,
    pub(in crate::cli) quiet: bool,
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
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
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

    /// Goes on with this until it ends, or until one of them comes.
    pub(super) async fn unless<T>(&mut self, work: impl Future<Output = T>, watch: &Watch) -> Result<T, Failure> {
        let what = tokio::select! {
            done = work => return Ok(done),
            _ = self.interrupt.recv() => "interrupted",
            _ = self.terminate.recv() => "terminated",
            _ = self.hang_up.recv() => "hung up",
            () = watch.lost() => "the gate closed by itself: the process that held it ended;",
        };
        self.is_stopped = true;
        Err(Failure::of(format!("{what} after {}; everything is undone", watch.stage())))
    }
}

/// Everything that is started is stopped again before this returns, however it ends.
pub(in crate::cli) async fn run(request: &Request, means: Means) -> Result<Obtained, Failure> {
    let mut stopped = Stopped::listen()?;
    let client = Client::new(means.ca_file.as_deref()).map_err(|error| Failure::new(&error))?;
    let store = open_store(means.storage.clone()).await?;
    let authenticator = &means.authenticator;
    let watch = Watch::new(means.quiet, means.intercept);
    let presented = Presented::default();
    let authenticators = Authenticators::from(Arc::clone(authenticator));

    // Held until everything is put away: who gets it next may want to listen where we do.
    let mut held = None;
    let order = async {
        let waiting = |holder: &str| watch.say("waiting", &format!("waiting for {holder}"));
        let lock = Lock::acquire(&means.storage, means.lock_timeout, waiting).await;
        held = Some(lock.map_err(|error| Failure::new(&error))?);
        authenticator.start().await.map_err(|error| Failure {
            hint: Some("is another server there? with one, use --intercept or --authenticator webroot"),
            ..Failure::new(&error)
        })?;
        obtain(request, &client, &store, &authenticators, &presented, &watch).await.map_err(explained)
    };
    let result = stopped.unless(order, &watch).await.flatten();
    // A second signal means "at once": the gate falls with us, whatever we are doing.
    let undo = async {
        presented.cleanup().await;
        let closed = watch.close().await;
        authenticator.stop().await;
        closed
    };
    let closed = tokio::select! {
        closed = undo => closed,
        _ = stopped.interrupt.recv() => Err("interrupted again: visitors who were still being served are cut".into()),
    };
    drop(held);
    match (result, closed) {
        (Ok(_), Err(error)) => Err(Failure::of(format!("the certificate is saved, but: {error}"))),
        (result, _) => result,
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
        (_, Blame::Network) => Some("check --server and --ca-file, and that this machine may connect there"),
        (_, Blame::Storage) => Some("check --storage: the space left, and who may write there"),
        _ => None,
    };
    Failure { hint, usage: matches!(error, ObtainError::Terms { .. }), ..Failure::new(&error) }
}

/// For another Lockgate or certbot to finish.
pub(in crate::cli) const LOCK_PATIENCE: Duration = Duration::from_secs(60);
/// How long the authority may take to validate.
pub(in crate::cli) const PATIENCE: Duration = Duration::from_secs(90);
