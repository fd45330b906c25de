//! The authenticator: moves the work with files off the threads of the runtime.

use std::{io, path::PathBuf, sync::Arc};

use authenticator_api::{Authenticator, BoxFuture, BuildError, Challenge, DomainName, Error, Kind, Lookup, Token};
use tokio::{
    sync::{Mutex, Semaphore},
    task,
};

use crate::{
    Config, Paths, TARGET,
    ledger::{self, Ledger},
};

/// Answers challenges from files below webroots.
///
/// `lookup` reads the file each time, so what another ACME client has written is answered too; `cleanup` removes only what
/// this process has made. Changes happen one after the other, whoever asks for them. Tokens outlive
/// [`stop`](Authenticator::stop) and the value itself: what was not cleaned up when the value is dropped is collected by
/// the next [`start`](Authenticator::start) of any authenticator with the same state directory.
#[derive(Debug)]
pub struct Webroot {
    paths: Paths,
    ledger: Arc<Mutex<Ledger>>,
    readers: Arc<Semaphore>,
}

impl Webroot {
    /// An authenticator for `paths` that keeps its journal in the directory `state`. Touches neither yet.
    ///
    /// Relative paths are taken from the working directory of this moment.
    pub fn new(paths: Paths, state: impl Into<PathBuf>) -> Self {
        let state = state.into();
        let state = std::path::absolute(&state).unwrap_or(state);
        Self {
            paths: paths.absolute(),
            ledger: Arc::new(Mutex::new(Ledger::new(state))),
            readers: Arc::new(Semaphore::new(MOST_READERS)),
        }
    }

    /// Runs `work` on a thread that may block, alone.
    ///
    /// The lock is taken here, where a dropped future leaves no trace, and released by the thread that does the work:
    /// what was begun for a dropped future is finished before anything else begins.
    async fn alone<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Ledger) -> T + Send + 'static,
    ) -> Result<T, task::JoinError> {
        let mut ledger = Arc::clone(&self.ledger).lock_owned().await;
        task::spawn_blocking(move || work(&mut ledger)).await
    }
}

impl Authenticator for Webroot {
    fn start(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            if let Err(error) = self.alone(Ledger::collect).await {
                tracing::warn!(target: TARGET, %error, "looking for leftovers was cut short");
            }
            Ok(())
        })
    }

    fn present<'a>(&'a self, challenge: &'a Challenge) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let Some(root) = self.paths.of(&challenge.domain) else {
                return Err(Error::UnknownDomain { domain: challenge.domain.clone() });
            };
            let (path, root, challenge) = (root, root.to_path_buf(), challenge.clone());
            let done = self.alone(move |ledger| ledger.present(&root, &challenge)).await;
            done.unwrap_or_else(|error| Err(cut_short("write a challenge in", path.into(), error)))
        })
    }

    fn lookup<'a>(&'a self, host: Option<&'a DomainName>, token: &'a Token) -> Lookup<'a> {
        let roots = self.paths.seen_by(host);
        if roots.is_empty() {
            return Lookup::Ready(None);
        }
        Lookup::Wait(Box::pin(async move {
            // Never closed, so always acquired. Dropped visitors wait here, not in the queue of blocking work.
            let turn = Arc::clone(&self.readers).acquire_owned().await.ok()?;
            let token = token.clone();
            let answer = task::spawn_blocking(move || {
                let answer = ledger::lookup(&roots, &token);
                drop(turn);
                answer
            });
            answer.await.unwrap_or_else(|error| {
                tracing::warn!(target: TARGET, %error, "looking for a token was cut short");
                None
            })
        }))
    }

    fn cleanup<'a>(&'a self, challenge: &'a Challenge) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let Some(root) = self.paths.of(&challenge.domain) else { return Ok(()) };
            let (path, root, challenge) = (root, root.to_path_buf(), challenge.clone());
            let done = self.alone(move |ledger| ledger.cleanup(&root, &challenge)).await;
            done.unwrap_or_else(|error| Err(cut_short("remove a challenge from", path.into(), error)))
        })
    }
}

impl Kind for Webroot {
    const NAME: &'static str = "webroot";

    type Config = Config;

    fn build(config: Config) -> Result<Self, BuildError> {
        if let Some(relative) = config.path.all().find(|path| !path.is_absolute()) {
            return Err(BuildError { key: "path", message: not_absolute(relative) });
        }
        if config.path.all().next().is_none() {
            return Err(BuildError { key: "path", message: "the table names no domain".to_owned() });
        }
        if !config.state.is_absolute() {
            return Err(BuildError { key: "state", message: not_absolute(&config.state) });
        }
        Ok(Self::new(config.path, config.state))
    }
}

fn not_absolute(path: &std::path::Path) -> String {
    format!("`{}` is not an absolute path", path.display())
}

/// The runtime ended before the work did.
fn cut_short(action: &'static str, path: PathBuf, error: task::JoinError) -> Error {
    Error::File { action, path, source: io::Error::other(error) }
}

/// Files that are read at once: a file system that hangs must not take every thread for blocking work.
const MOST_READERS: usize = 32;
