//! Going to the background.
//!
//! No process with threads may fork and go on, so nothing is forked: the program is started again, twice. The first time it
//! makes a session of its own and starts the second, which serves and, not being the session's leader, can never get a
//! controlling terminal. The process that the operator started stays until the last one says through a pipe that it
//! serves, or why it does not, and ends as that one would have.

use std::{
    env,
    fs::File,
    io::{self, Read as _, Write as _},
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
};

use rustix::{
    process::{chdir, setsid},
    stdio,
};

use crate::cli::{Exit, report};

/// Which of the three this process is.
pub(super) enum Stage {
    /// The one that was started by somebody else.
    First,
    /// The leader of the new session.
    Leader,
    /// The one that serves.
    Last(Readiness),
}

/// How the one that serves tells the first that it does. Dropped without a word, it says that it does not.
pub(super) struct Readiness(File);

impl Stage {
    /// Finds out.
    pub(super) fn find() -> io::Result<Self> {
        match env::var_os(STAGE) {
            Some(stage) if stage == LEADER => Ok(Self::Leader),
            Some(stage) if stage == LAST => Ok(Self::Last(Readiness::take_from_stdout()?)),
            _ => Ok(Self::First),
        }
    }
}

/// The first process: starts the others and waits. Whatever goes wrong has been printed by whom it happened to.
pub(super) fn detach() -> io::Result<Exit> {
    let (mut answer, pipe) = io::pipe()?;
    let status = start(LEADER, pipe.into())?.wait()?;
    let mut code = [0];
    // Without a word the pipe ends: it was killed.
    match answer.read(&mut code)? {
        1.. => Ok(Exit::from_code(code[0])),
        0 => Err(io::Error::other(format!("the daemon ended before it served; its session ended with {status}"))),
    }
}

/// The leader: makes the session, starts the one that serves, and ends.
pub(super) fn lead() -> Exit {
    match setsid().map_err(io::Error::from).and_then(|_| start(LAST, Stdio::inherit())) {
        Ok(_) => Exit::Success,
        Err(error) => {
            report::error(format!("cannot go to the background: {error}"));
            // The first process waits for a word.
            let _ = io::stdout().write_all(&[Exit::System.code()]).and_then(|()| io::stdout().flush());
            Exit::System
        }
    }
}

impl Readiness {
    /// The pipe has come as standard output, which is free for the void then.
    fn take_from_stdout() -> io::Result<Self> {
        let pipe = io::stdout().as_fd().try_clone_to_owned()?;
        stdio::dup2_stdout(void()?)?;
        // Started by the name of its file in /proc, which is no name to look for with pgrep(1).
        let name = env::args_os().next().unwrap_or_default();
        let name = Path::new(&name).file_name().unwrap_or_default().as_encoded_bytes().to_vec();
        if let Ok(name) = std::ffi::CString::new(name) {
            // A name is a convenience.
            let _ = rustix::thread::set_name(&name);
        }
        Ok(Self(pipe.into()))
    }

    /// Lets go of everything that belongs to whoever started us, and says that we serve.
    ///
    /// # Errors
    ///
    /// The first process is gone: nobody wants us.
    pub(super) fn serves(mut self) -> io::Result<()> {
        chdir("/")?;
        // Before the word: whoever reads our standard error until its end must find it when the first process is gone.
        stdio::dup2_stderr(void()?)?;
        self.0.write_all(&[Exit::Success.code()])
    }

    /// Says that we do not, and how we end.
    pub(super) fn fails(mut self, exit: Exit) {
        // Nobody may be left to hear it.
        let _ = self.0.write_all(&[exit.code()]);
    }
}

fn start(stage: &str, stdout: Stdio) -> io::Result<std::process::Child> {
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_default();
    // The program that runs, whatever its file is called by now.
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name).args(arguments).env(STAGE, stage).stdin(Stdio::null()).stdout(stdout);
    command.spawn()
}

fn void() -> io::Result<File> {
    File::options().read(true).write(true).open("/dev/null")
}

/// Tells a process which one it is. Arguments are left alone: they are what ps(1) shows.
const STAGE: &str = "LOCKGATE_DAEMON_STAGE";
const LEADER: &str = "leader";
const LAST: &str = "last";
