//! The life of a serving process, from the file to its end.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use proxy_core::{Engine, Sink, StartError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;

use super::{
    daemon::{self, Readiness, Stage},
    identity::{Identity, IdentityError},
    notify::Notifier,
    pid_file::{PidFile, Readers},
    plain_file::{self, OpenError},
    program_log::ProgramLog,
    reload::Kept,
    running::Running,
    signals::Signals,
};
use crate::{
    cli::{Exit, report},
    config::{Destination, LoadError, Loaded, Program},
    lasting::Lasting,
    tinyproxy,
    upkeep::Upkeep,
};

/// A proxy to run.
pub(crate) struct Service {
    /// Whose habits it has.
    pub(crate) manner: Manner,
    /// What its configuration is called in messages.
    pub(crate) name: String,
    /// Reads the configuration: at the start, and for every reload.
    pub(crate) load: Box<dyn Fn() -> Result<Loaded, LoadError> + Send + Sync>,
    /// What that finds again each time.
    pub(crate) lasting: Arc<Lasting>,
}

/// Whose habits a process has: exit codes, signals, and what it does when nothing is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Our own.
    Lockgate,
    /// tinyproxy's.
    Tinyproxy {
        /// Whether it was told to stay in the foreground.
        foreground: bool,
    },
}

/// Why it does not serve.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("cannot start the runtime")]
    Runtime(#[source] io::Error),
    #[error("cannot catch signals")]
    Signals(#[source] io::Error),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("an authenticator does not start")]
    Authenticator(#[source] authenticator_api::Error),
    #[error(transparent)]
    Engine(#[from] StartError),
    #[error("no PID file")]
    PidFile(#[source] OpenError),
    #[error("no log")]
    Log(#[source] OpenError),
    #[error("nobody waits for this daemon any more")]
    Unwanted(#[source] io::Error),
}

impl Service {
    /// Runs it until a signal ends it. What goes wrong is printed.
    pub(crate) fn run(self) -> Exit {
        let detached = match Stage::find() {
            Ok(Stage::Leader) => return daemon::lead(),
            Ok(Stage::First) => match self.load() {
                Ok(loaded) if !self.manner.is_daemon(&loaded) => return self.serve(loaded, None),
                Ok(_) => daemon::detach(),
                Err(exit) => return exit,
            },
            Ok(Stage::Last(readiness)) => match self.load_again() {
                Ok(loaded) => return self.serve(loaded, Some(readiness)),
                Err(exit) => {
                    readiness.fails(exit);
                    return exit;
                }
            },
            Err(error) => Err(error),
        };
        detached.unwrap_or_else(|error| {
            report::error(format!("cannot go to the background: {error}"));
            self.manner.exit(Exit::System)
        })
    }

    /// Reads the configuration for the first time, with everything that is to be said about it.
    fn load(&self) -> Result<Loaded, Exit> {
        let loaded = (self.load)().map_err(|error| self.refuse(&error))?;
        let as_daemon = self.manner.is_daemon(&loaded);
        // They are in the log, too; whoever starts this may not be looking there.
        if as_daemon || self.manner.destination(&loaded.log, as_daemon) != Destination::Stderr {
            for remark in &loaded.remarks {
                report::plain(format!("{remark}\n"));
            }
        }
        self.manner.remark(&loaded.remarks);
        if as_daemon && self.manner.destination(&loaded.log, as_daemon) == Destination::Off {
            report::plain(match self.manner {
                Manner::Lockgate => {
                    "warning: a daemon has no standard output: what it says about itself is lost without a log file or syslog\n"
                }
                Manner::Tinyproxy { .. } => "WARNING: logging deactivated (can't log to stdout when daemonized)\n",
            });
        }
        Ok(loaded)
    }

    /// Reads what the first process has read and remarked upon.
    fn load_again(&self) -> Result<Loaded, Exit> {
        (self.load)().map_err(|error| self.refuse(&error))
    }

    fn refuse(&self, error: &LoadError) -> Exit {
        report::load_error(error);
        match (self.manner, error) {
            (Manner::Lockgate, _) => Exit::Usage,
            (Manner::Tinyproxy { .. }, error) => {
                // Those who look for tinyproxy's own words find them behind ours.
                for line in tinyproxy::complaint(error) {
                    report::plain(format!("{line}\n"));
                }
                match error {
                    LoadError::Filter(_) => Exit::Data,
                    LoadError::Listen(_) => Exit::System,
                    _ => Exit::Software,
                }
            }
        }
    }

    fn serve(self, loaded: Loaded, readiness: Option<Readiness>) -> Exit {
        let manner = self.manner;
        let destination = manner.destination(&loaded.log, readiness.is_some());
        let log = Arc::new(ProgramLog::start(&loaded.log, &destination));
        let opened = self.open(loaded, &log, &destination, readiness.is_some());
        let failed = match (opened, readiness) {
            (Ok((runtime, running, signals)), None) => return running.until_ended(&runtime, signals),
            (Ok((runtime, running, signals)), Some(readiness)) => match readiness.serves() {
                Ok(()) => return running.until_ended(&runtime, signals),
                Err(error) => {
                    let error = ServeError::Unwanted(error);
                    tracing::error!(target: "lockgate", "{}", report::sentence(&error));
                    error
                }
            },
            (Err(error), readiness) => {
                let exit = manner.exit(error.exit());
                error.print();
                if manner != Manner::Lockgate && matches!(error, ServeError::Engine(_)) && exit == Exit::System {
                    report::plain("tinyproxy: Could not create listening sockets.\n");
                }
                if let Some(readiness) = readiness {
                    readiness.fails(exit);
                }
                log.last_words(LOG_TIME);
                return exit;
            }
        };
        failed.print();
        log.last_words(LOG_TIME);
        manner.exit(failed.exit())
    }

    /// Opens everything, gives up root, and serves.
    fn open(
        self,
        loaded: Loaded,
        log: &Arc<ProgramLog>,
        destination: &Destination,
        as_daemon: bool,
    ) -> Result<(Runtime, Running, Signals), ServeError> {
        let Loaded { engine: config, authenticators, certificates, drain, log: program, process, remarks } = loaded;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(ServeError::Runtime)?;
        // Before anything serves: a signal that comes early must not kill us without a drain.
        let signals = runtime.block_on(async { Signals::catch(self.manner != Manner::Lockgate) });
        let signals = signals.map_err(ServeError::Signals)?;
        raise_descriptor_limit();
        if as_daemon {
            let usual = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                // Its standard error is nobody's.
                tracing::error!(target: "lockgate", critical = true, "{panic}");
                usual(panic);
            }));
        }
        for remark in &remarks {
            tracing::warn!(target: "lockgate", "{remark}");
        }
        let identity = Identity::resolve(process.user.as_deref(), process.group.as_deref())?;
        let owner = identity.as_ref().map(Identity::owner);
        for authenticator in &authenticators {
            runtime.block_on(authenticator.start()).map_err(ServeError::Authenticator)?;
        }
        if let (Some(_), Some(Sink::File(path))) = (owner, config.log.as_ref().map(|log| &log.sink)) {
            // The engine says it better when that does not work; here the file only gets an owner who can open it again.
            let _ = plain_file::append(path, 0o640, owner);
        }
        // While private keys can be read that only root may read.
        let mut upkeep = Upkeep::prepare(certificates, &self.lasting);
        upkeep.show(&authenticators, None, &self.lasting);
        let kept = Kept { process: process.clone(), shards: config.shards };
        let bound = Engine::bind(config)?;
        if let Some(Err(error)) = owner.map(|owner| bound.give_to(owner.user, owner.group)) {
            tracing::warn!(target: "lockgate::process", %error, "a reload will not be able to listen on other addresses of these ports");
        }
        let path = process.pid_file.as_deref().map(std::path::absolute).transpose();
        let path = path.map_err(|source| ServeError::PidFile(OpenError::Open { path: PathBuf::new(), source }))?;
        let pid_file = path
            .as_deref()
            .map(|path| PidFile::create(path, self.manner.pid_file_readers()))
            .transpose()
            .map_err(ServeError::PidFile)?;
        self.open_log(log, &program, destination, owner)?;
        if self.manner != Manner::Lockgate {
            tracing::info!(target: "lockgate", "Initializing tinyproxy ...");
        }
        match &identity {
            Some(identity) => {
                identity.assume()?;
                tracing::info!(target: "lockgate::process", "now running as {}", identity.name());
            }
            None if process.user.is_some() || process.group.is_some() => {
                tracing::info!(target: "lockgate::process", "not started as root: user and group are left as they are");
            }
            None => {}
        }
        let engine = bound.start()?;
        upkeep.start(&engine, &self.lasting, runtime.handle());
        let directory = if as_daemon { std::env::current_dir().ok() } else { None };
        let running = Running {
            lasting: Arc::clone(&self.lasting),
            upkeep: upkeep.into(),
            service: self,
            engine,
            authenticators: authenticators.into(),
            log: Arc::clone(log),
            pid_file: pid_file.into(),
            notifier: Notifier::from_environment(),
            kept,
            owner,
            directory,
            drain: drain.into(),
            runtime: runtime.handle().clone(),
        };
        Ok((runtime, running, signals))
    }

    /// Opens the place of the program's own lines. tinyproxy serves on without one, and tells the syslog.
    fn open_log(
        &self,
        log: &ProgramLog,
        program: &Program,
        destination: &Destination,
        owner: Option<super::identity::Owner>,
    ) -> Result<(), ServeError> {
        let Err(error) = log.open(program, destination, owner) else { return Ok(()) };
        if self.manner == Manner::Lockgate {
            return Err(ServeError::Log(error));
        }
        let what = report::sentence(&error);
        report::error(format!("{what}; logging to the syslog instead"));
        log.open(program, &Destination::Syslog, None).map_err(ServeError::Log)?;
        tracing::error!(target: "lockgate", critical = true, "{what}; logging to the syslog instead");
        Ok(())
    }
}

impl Manner {
    fn is_daemon(self, loaded: &Loaded) -> bool {
        match self {
            Self::Lockgate => loaded.process.daemon,
            Self::Tinyproxy { foreground } => !foreground,
        }
    }

    /// What tinyproxy has to say about a file that it takes, on standard error.
    pub(super) fn remark(self, remarks: &[String]) {
        if self != Self::Lockgate {
            let lines = remarks.iter().filter_map(|remark| tinyproxy::remark(remark));
            lines.for_each(|line| report::plain(format!("{line}\n")));
        }
    }

    /// Where the program's own lines go. A daemon has no standard streams.
    pub(super) fn destination(self, program: &Program, as_daemon: bool) -> Destination {
        match (&program.destination, self) {
            (None | Some(Destination::Stdout | Destination::Stderr), _) if as_daemon => Destination::Off,
            (Some(destination), _) => destination.clone(),
            (None, Self::Lockgate) => Destination::Stderr,
            (None, Self::Tinyproxy { .. }) => Destination::Stdout,
        }
    }

    /// How long requests may take to finish: tinyproxy cuts them, and its users expect it to be gone within a second. Tunnels it
    /// cuts here, too.
    pub(super) fn patience(self, configured: Duration) -> Duration {
        match self {
            Self::Lockgate => configured,
            Self::Tinyproxy { .. } => configured.min(Duration::from_millis(900)),
        }
    }

    /// Who may read the process id: tinyproxy keeps its files to itself.
    fn pid_file_readers(self) -> Readers {
        match self {
            Self::Lockgate => Readers::All,
            Self::Tinyproxy { .. } => Readers::OwnerAtFirst,
        }
    }

    /// Our own exit codes tell a bad identity from the rest, and no more.
    pub(super) fn exit(self, exit: Exit) -> Exit {
        match (self, exit) {
            (Self::Lockgate, Exit::System | Exit::Software | Exit::Data) => Exit::Failure,
            _ => exit,
        }
    }
}

impl ServeError {
    fn exit(&self) -> Exit {
        match self {
            Self::Identity(error) if error.is_unknown() => Exit::NoUser,
            Self::Identity(_) => Exit::NoPermission,
            Self::Engine(StartError::Plugin { plugin: "filter", .. }) => Exit::Data,
            Self::Engine(StartError::Plugin { .. } | StartError::Log { .. })
            | Self::Authenticator(_)
            | Self::Log(_) => Exit::Software,
            _ => Exit::System,
        }
    }

    fn print(&self) {
        let hint = match self {
            Self::Engine(error) => error.hint(),
            Self::Log(_) => Some("its directory must exist; `[log] program` names it".into()),
            _ => None,
        };
        report::chain(self, hint.as_deref());
    }
}

/// A connection needs two descriptors, and the usual soft limit of 1024 is for programs that call select(2). Only a limit that
/// is in the way is worth a word, and then it is the one who runs out that says it.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// How long the last lines of the log may take.
pub(super) const LOG_TIME: Duration = Duration::from_secs(1);
