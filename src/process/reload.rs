//! Taking a new configuration while serving: all of it, or nothing.

use std::{
    io,
    num::NonZeroUsize,
    path::Path,
    sync::{Arc, PoisonError},
};

use authenticator_api::Authenticator;
use nix::sched::{CloneFlags, unshare};
use proxy_core::StartError;

use super::{running::Running, service::Manner};
use crate::{
    cli::report,
    config::{LoadError, Loaded, Process, Program},
    tinyproxy,
    upkeep::{Patience, Upkeep},
};

/// What stays as it was at the start, whatever the file says by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) process: Process,
    pub(super) shards: NonZeroUsize,
}

/// Why a new configuration was not taken.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error("cannot go where relative paths start")]
    Directory(#[source] io::Error),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("an authenticator does not start")]
    Authenticator(#[source] authenticator_api::Error),
    #[error(transparent)]
    Engine(#[from] StartError),
}

impl Running {
    /// Reads the configuration again and serves by it. Opens the logs again in any case: that may be all that was wanted.
    ///
    /// For a thread of its own: it blocks, and goes to the directory in which the process was started.
    pub(super) fn reload(&self) {
        tracing::info!(target: "lockgate", "Reloading config file ({})", self.service.name);
        self.notifier.reloading();
        let result = self.renew();
        match &result {
            Ok(()) => tracing::info!(target: "lockgate", "Reloading config file finished"),
            Err(error) => {
                if let (ReloadError::Load(error), true) = (error, self.service.manner != Manner::Lockgate) {
                    tinyproxy::complaint(error).into_iter().for_each(|line| report::plain(format!("{line}\n")));
                }
                tracing::warn!(target: "lockgate", "Reloading config file failed!");
                for line in error.sentences() {
                    tracing::error!(target: "lockgate::reload", "{line}");
                }
            }
        }
        self.notifier.ready(if result.is_ok() { "serving" } else { "serving; the new configuration was refused" });
    }

    fn renew(&self) -> Result<(), ReloadError> {
        if let Some(directory) = &self.directory {
            enter(directory).map_err(ReloadError::Directory)?;
        }
        let taken = (self.service.load)().map_err(ReloadError::from).and_then(|loaded| self.take(loaded));
        let (program, result) = match taken {
            Ok(program) => (program, Ok(())),
            Err(error) => (self.log.program(), Err(error)),
        };
        let destination = self.service.manner.destination(&program, self.directory.is_some());
        if let Err(error) = self.log.open(&program, &destination, self.owner) {
            tracing::error!(target: "lockgate", "{}; logging where it was", report::sentence(&error));
        }
        result
    }

    /// Serves by this configuration, or changes nothing.
    fn take(&self, loaded: Loaded) -> Result<Program, ReloadError> {
        let Loaded { engine: config, authenticators, certificates, drain, log, process, remarks } = loaded;
        for remark in &remarks {
            tracing::warn!(target: "lockgate", "{remark}");
        }
        self.service.manner.remark(&remarks);
        for key in self.kept.differences(&process, config.shards) {
            tracing::warn!(target: "lockgate", "`{key}` can only change with a restart");
        }
        let before = self.engine.addresses();
        let mut current = self.authenticators.lock().unwrap_or_else(PoisonError::into_inner);
        // One that the new configuration has too is the same object, and goes on.
        let fresh: Vec<_> = authenticators.iter().filter(|one| !has(&current, one)).cloned().collect();
        let mut started = Vec::new();
        let begun = fresh.into_iter().try_for_each(|authenticator| {
            self.runtime.block_on(authenticator.start()).map_err(ReloadError::Authenticator)?;
            started.push(authenticator);
            Ok(())
        });
        let gone: Vec<_> = current.iter().filter(|one| !has(&authenticators, one)).cloned().collect();
        let mut upkeep = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = Upkeep::prepare(certificates, &self.lasting);
        next.inherit(&upkeep);
        // A listener that is new has something to show from its first client on.
        upkeep.show(&current, Some(&next), &self.lasting);
        if begun.is_ok() && !gone.is_empty() {
            // An order that is under way ends before its authenticators do, and before the routes by which they answer.
            upkeep.stop(Patience::RELOAD, &self.runtime);
        }
        if let Err(error) = begun.and_then(|()| self.engine.reload(config).map_err(ReloadError::from)) {
            upkeep.show(&current, None, &self.lasting);
            upkeep.start(&self.engine, &self.lasting, &self.runtime);
            self.stop(started);
            return Err(error);
        }
        upkeep.stop(Patience::RELOAD, &self.runtime);
        next.show(&authenticators, None, &self.lasting);
        next.start(&self.engine, &self.lasting, &self.runtime);
        *upkeep = next;
        drop(upkeep);
        *current = authenticators;
        drop(current);
        self.stop(gone);
        *self.drain.lock().unwrap_or_else(PoisonError::into_inner) = drain;
        for (listener, address) in self.engine.addresses().into_iter().filter(|one| !before.contains(one)) {
            tracing::info!(target: "lockgate", listener = &*listener, %address, "listening");
        }
        Ok(log)
    }

    fn stop(&self, authenticators: Vec<Arc<dyn Authenticator>>) {
        for authenticator in authenticators {
            self.runtime.block_on(authenticator.stop());
        }
    }
}

impl Kept {
    /// The keys whose values are others now.
    fn differences(&self, process: &Process, shards: NonZeroUsize) -> Vec<&'static str> {
        let Self { process: old, shards: old_shards } = self;
        let all = [
            ("user", old.user == process.user),
            ("group", old.group == process.group),
            ("pid_file", old.pid_file == process.pid_file),
            ("daemon", old.daemon == process.daemon),
            ("shards", *old_shards == shards),
        ];
        all.into_iter().filter(|(_, same)| !same).map(|(key, _)| key).collect()
    }
}

impl ReloadError {
    /// Everything that there is to say: lines for a log.
    fn sentences(&self) -> Vec<String> {
        match self {
            Self::Load(LoadError::Problems(problems) | LoadError::Filter(problems) | LoadError::Listen(problems)) => {
                problems.to_string().lines().map(str::to_owned).collect()
            }
            other => vec![report::sentence(other)],
        }
    }
}

fn has(list: &[Arc<dyn Authenticator>], one: &Arc<dyn Authenticator>) -> bool {
    list.iter().any(|other| Arc::ptr_eq(other, one))
}

/// Moves the calling thread alone: the rest of a daemon stays in `/`, so that no file system is kept busy.
fn enter(directory: &Path) -> io::Result<()> {
    unshare(CloneFlags::CLONE_FS)?;
    Ok(rustix::process::chdir(directory)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_change_is_named() {
        let kept =
            Kept { process: Process { user: Some("a".into()), ..Process::default() }, shards: NonZeroUsize::MIN };
        let other = Process { group: Some("b".into()), daemon: true, ..Process::default() };
        assert_eq!(kept.differences(&other, NonZeroUsize::MIN), ["user", "group", "daemon"]);
        assert!(kept.differences(&kept.process, NonZeroUsize::MIN).is_empty());
        assert_eq!(kept.differences(&kept.process, NonZeroUsize::MAX), ["shards"]);
    }

    #[test]
    fn only_the_thread_that_reloads_moves() {
        let here = std::env::current_dir().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        let there = std::thread::spawn(move || {
            enter(directory.path()).unwrap();
            std::env::current_dir().unwrap()
        });
        assert_eq!(there.join().unwrap(), path);
        assert_eq!(std::env::current_dir().unwrap(), here);
    }
}
