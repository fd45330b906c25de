//! What a command works with that obtains certificates: the storage, or one that is thrown away after a rehearsal, and the
//! operator's hooks.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use authenticator_api::{Authenticator, BoxFuture, Challenge};
use certificates::{BoxError, Client, Hooks as Commands, Lineage, Lock, Observer, Progress, Store, StoreError};

use super::{
    attempt::{Failure, open_store},
    hooks::Hooks,
    options::{Common, HookArguments},
    watch::Watch,
};
use crate::cli::report;

/// What a command works with.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) store: Store,
    pub(super) hooks: tokio::sync::Mutex<Hooks>,
    /// Of the real storage, during a rehearsal: another renewal would want to listen in the same place.
    _lock: Option<Lock>,
    /// The storage of a rehearsal, which has the accounts of the real one and nothing else.
    scratch: Option<PathBuf>,
}

impl Session {
    pub(super) async fn open(common: &Common, hooks: &HookArguments, is_rehearsal: bool) -> Result<Self, Failure> {
        let client = Client::new(common.ca_file.as_deref()).map_err(|error| Failure::new(&error))?;
        let store = open_store(common.storage.clone()).await?;
        let directory = (!hooks.no_directory_hooks).then(|| store.root().join("renewal-hooks"));
        let hooks = tokio::sync::Mutex::new(Hooks::new(directory, hooks.hook_timeout.0, common.quiet));
        if !is_rehearsal {
            return Ok(Self { client, store, hooks, _lock: None, scratch: None });
        }
        let _lock = Some(lock(&store, common).await?);
        let scratch = scratch(&store).map_err(|error| Failure::new(&error))?;
        let store = open_store(scratch.clone()).await;
        // From here on it is removed when the session ends.
        let mut session = Self { client, store: Store::at(&scratch), hooks, _lock, scratch: Some(scratch) };
        session.store = store?;
        Ok(session)
    }
}

/// The storage for this process alone.
pub(in crate::cli) async fn lock(store: &Store, common: &Common) -> Result<Lock, Failure> {
    let waiting = |holder: &str| report::error(format!("waiting for {holder}"));
    Lock::acquire(store.root(), common.lock_timeout.0, waiting).await.map_err(|error| Failure::new(&error))
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(scratch) = &self.scratch else { return };
        if let Err(error) = std::fs::remove_dir_all(scratch) {
            report::error(format!("cannot remove {}: {error}", scratch.display()));
        }
    }
}

/// A directory of nobody else's with the accounts of a storage.
fn scratch(store: &Store) -> std::io::Result<PathBuf> {
    use std::os::unix::fs::{DirBuilderExt as _, symlink};
    let mut number = 0_u32;
    let path = loop {
        let path = std::env::temp_dir().join(format!("lockgate-rehearsal-{}-{number}", std::process::id()));
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => break path,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && number < 1000 => number += 1,
            Err(error) => return Err(error),
        }
    };
    symlink(store.root().join("accounts"), path.join("accounts"))?;
    Ok(path)
}

/// What happens beside an attempt: hooks, and the authenticator that listens only when it is needed.
pub(super) struct Beside<'a> {
    pub(super) session: &'a Session,
    pub(super) watch: &'a Watch,
    pub(super) authenticator: &'a dyn Authenticator,
    pub(super) commands: &'a Commands,
    /// The certificate whose place the new one takes.
    lineage: Option<Lineage>,
    is_listening: AtomicBool,
}

impl<'a> Beside<'a> {
    pub(super) fn new(
        session: &'a Session,
        watch: &'a Watch,
        authenticator: &'a dyn Authenticator,
        commands: &'a Commands,
    ) -> Self {
        Self { session, watch, authenticator, commands, lineage: None, is_listening: AtomicBool::default() }
    }

    /// Programs know of this certificate, and are to be told of the next one.
    pub(super) fn replacing(self, lineage: Option<Lineage>) -> Self {
        Self { lineage, ..self }
    }

    /// Lets go of what the attempt took.
    pub(super) async fn end(&self) {
        if self.is_listening.swap(false, Ordering::SeqCst) {
            self.authenticator.stop().await;
        }
    }

    /// Runs the deploy hooks, and remembers whether they took notice.
    pub(super) async fn deploy(&self, lineage: &Lineage) -> Result<bool, Failure> {
        let store = &self.session.store;
        let names: Vec<_> = lineage.names.iter().map(ToString::to_string).collect();
        let command = self.commands.deploy.as_deref();
        let (name, version) = (lineage.name.clone(), lineage.version);
        // The first one is no news yet, either, until they know of it.
        on_disk(store, move |store| store.presume_deployed(&name, version.saturating_sub(1))).await?;
        let is_deployed = self.session.hooks.lock().await.after(command, &store.live(&lineage.name), &names).await;
        if is_deployed {
            let (name, version) = (lineage.name.clone(), lineage.version);
            on_disk(store, move |store| store.deployed(&name, version)).await?;
        }
        Ok(is_deployed)
    }
}

/// Work on files, beside the runtime's threads.
async fn on_disk(
    store: &Store,
    work: impl FnOnce(&Store) -> Result<(), StoreError> + Send + 'static,
) -> Result<(), Failure> {
    let store = store.clone();
    let done = tokio::task::spawn_blocking(move || work(&store)).await;
    done.map_err(|error| Failure::new(&error))?.map_err(|error| Failure::new(&error))
}

impl Observer for Beside<'_> {
    fn progress(&self, progress: Progress) {
        self.watch.progress(progress);
    }

    fn before_attempt(&self) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            if let Some(lineage) = self.lineage.clone() {
                let store = self.session.store.clone();
                let presume = move || store.presume_deployed(&lineage.name, lineage.version);
                tokio::task::spawn_blocking(presume).await??;
            }
            let (pre, post) = (self.commands.pre.as_deref(), self.commands.post.as_deref());
            self.session.hooks.lock().await.before(pre, post).await;
            self.authenticator.start().await?;
            self.is_listening.store(true, Ordering::SeqCst);
            Ok(())
        })
    }

    fn before_validation<'a>(&'a self, challenges: &'a [Challenge]) -> BoxFuture<'a, Result<(), BoxError>> {
        self.watch.before_validation(challenges)
    }

    fn after_validation(&self) -> BoxFuture<'_, Result<(), BoxError>> {
        self.watch.after_validation()
    }
}
