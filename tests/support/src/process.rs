//! Child processes that end with the run that started them, and whose output is kept.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::Place;

/// A running program in a process group of its own. Dropping it kills the group and waits for the program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    output: Arc<Output>,
}

/// Why a peer could not be started, or did not do what was waited for. `Debug` prints like `Display`, because an `unwrap`
/// in a test is where these are read.
#[derive(thiserror::Error)]
pub enum StartError {
    /// The program is not on this machine.
    #[error("{program} is not installed: run `cargo xtask setup`")]
    Missing {
        /// Name that was looked up in `PATH`.
        program: String,
    },
    /// Something the peer needs (a file, a port, a namespace) could not be made.
    #[error("cannot prepare {what}: {source}")]
    Prepare {
        /// What was being made.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The program ended although it should go on.
    #[error("{program} ended with {status} while waiting for {awaited}; its output:\n{output}")]
    Exited {
        /// The program.
        program: String,
        /// What was waited for.
        awaited: String,
        /// How it ended.
        status: ExitStatus,
        /// Everything it wrote.
        output: String,
    },
    /// The program lives, but what was waited for did not happen.
    #[error("{program}: {awaited} did not happen within {within:?}; its output:\n{output}")]
    Deadline {
        /// The program.
        program: String,
        /// What was waited for.
        awaited: String,
        /// How long it was waited for.
        within: Duration,
        /// Everything it wrote so far.
        output: String,
    },
}

/// What a child wrote to both of its streams, in the order in which it arrived.
#[derive(Debug, Default)]
struct Output {
    written: Mutex<Written>,
    grown: Condvar,
}

/// What a program has written and will write, for somebody who does not have its [`Process`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Output>);

#[derive(Debug, Default)]
struct Written {
    bytes: Vec<u8>,
    open_streams: u8,
}

impl Process {
    /// Starts `command` (program, arguments, environment and directory are taken; its streams are replaced).
    ///
    /// The child gets `SIGKILL` from the kernel when this process ends, by whatever means.
    ///
    /// # Errors
    /// [`StartError::Missing`] and [`StartError::Prepare`].
    pub fn spawn(command: &Command) -> Result<Self, StartError> {
        let name = command.get_program().to_string_lossy().into_owned();
        require(&name)?;
        require("setpriv")?;
        let mut launch = Command::new("setpriv");
        launch.args(["--pdeathsig", "KILL", "--"]).arg(command.get_program()).args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => launch.env(key, value),
                None => launch.env_remove(key),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            launch.current_dir(directory);
        }
        // Ctrl-C on a terminal must reach the run alone, which then ends its peers in order.
        launch.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            spawn_from_lasting_thread(launch).map_err(StartError::prepare(format!("the process {name}")))?;
        let output = Arc::new(Output::default());
        if let Some(stream) = child.stdout.take() {
            output.follow(stream);
        }
        if let Some(stream) = child.stderr.take() {
            output.follow(stream);
        }
        Ok(Self { name, child, output })
    }

    /// Process id, which is also the id of its group.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything written to standard output and standard error so far.
    #[must_use]
    pub fn output(&self) -> String {
        self.log().text()
    }

    /// The same, to look at later.
    pub(crate) fn log(&self) -> Log {
        Log(Arc::clone(&self.output))
    }

    /// Waits until the program has written a whole line that `matches`, and returns it.
    ///
    /// # Errors
    /// [`StartError::Exited`] and [`StartError::Deadline`].
    pub fn wait_for_line(
        &mut self,
        awaited: &str,
        within: Duration,
        matches: impl Fn(&str) -> bool,
    ) -> Result<String, StartError> {
        let output = Arc::clone(&self.output);
        self.wait_until(awaited, within, || output.find_line(&matches))
    }

    /// Waits until a TCP connection from `place` to `address` is accepted.
    ///
    /// # Errors
    /// [`StartError::Exited`] and [`StartError::Deadline`].
    pub fn wait_for_port(&mut self, place: &Place, address: SocketAddr, within: Duration) -> Result<(), StartError> {
        self.wait_until(&format!("a listener on {address}"), within, || place.connect(address).ok().map(drop))
    }

    /// Polls `condition` until it yields a value.
    ///
    /// # Errors
    /// [`StartError::Exited`] when the program ends first, [`StartError::Deadline`] after `within`.
    pub fn wait_until<T>(
        &mut self,
        awaited: &str,
        within: Duration,
        mut condition: impl FnMut() -> Option<T>,
    ) -> Result<T, StartError> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(value) = condition() {
                return Ok(value);
            }
            if let Some(status) = self.child.try_wait().map_err(StartError::prepare(self.name.clone()))? {
                self.output.wait_for_end(Duration::from_secs(1));
                // The last words may be what was waited for.
                return condition().ok_or_else(|| StartError::Exited {
                    program: self.name.clone(),
                    awaited: awaited.to_owned(),
                    status,
                    output: self.output(),
                });
            }
            if Instant::now() >= deadline {
                return Err(self.too_late(awaited, within));
            }
            self.output.wait_for_growth(POLL_INTERVAL);
        }
    }

    /// Waits for the program to end by itself.
    ///
    /// # Errors
    /// [`StartError::Deadline`] when it is still running after `within`.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus, StartError> {
        match poll(within, || self.child.try_wait().transpose()) {
            Some(status) => {
                self.output.wait_for_end(Duration::from_secs(1));
                status.map_err(StartError::prepare(self.name.clone()))
            }
            None => Err(self.too_late("its end", within)),
        }
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends `signal` to the program itself. Nothing happens when it has ended.
    pub fn signal(&mut self, signal: Signal) {
        // Not yet waited for, so the id cannot have been given to another process.
        if self.exit_status().is_none() {
            let _ = kill_process(Pid::from_child(&self.child), signal);
        }
    }

    /// Kills the whole group and waits for the program.
    pub fn kill(&mut self) {
        // The group may outlive its leader, and its id stays taken as long as a member lives or the leader is a zombie.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
        self.output.wait_for_end(Duration::from_millis(200));
    }

    fn too_late(&self, awaited: &str, within: Duration) -> StartError {
        StartError::Deadline { program: self.name.clone(), awaited: awaited.to_owned(), within, output: self.output() }
    }
}

impl Log {
    /// Everything so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().bytes).into_owned()
    }

    #[cfg(test)]
    pub(crate) fn of(text: &str) -> Self {
        let log = Self::default();
        log.0.lock().bytes.extend_from_slice(text.as_bytes());
        log
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl StartError {
    /// For `map_err`: the system refused to make `what`.
    pub(crate) fn prepare(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Prepare { what: what.into(), source }
    }
}

impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Output {
    fn follow(self: &Arc<Self>, mut stream: impl Read + Send + 'static) {
        self.lock().open_streams += 1;
        let output = Arc::clone(self);
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut chunk) {
                output.lock().bytes.extend(chunk.iter().take(read));
                output.grown.notify_all();
            }
            output.lock().open_streams -= 1;
            output.grown.notify_all();
        });
    }

    fn find_line(&self, matches: impl Fn(&str) -> bool) -> Option<String> {
        let written = self.lock();
        let mut lines = written.bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n"));
        lines.find_map(|line| {
            let line = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
            matches(&line).then_some(line)
        })
    }

    fn wait_for_growth(&self, at_most: Duration) {
        drop(self.grown.wait_timeout(self.lock(), at_most).unwrap_or_else(PoisonError::into_inner));
    }

    /// Bounded, because a grandchild may keep a stream open for ever.
    fn wait_for_end(&self, at_most: Duration) {
        drop(
            self.grown
                .wait_timeout_while(self.lock(), at_most, |written| written.open_streams > 0)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Polls `condition` every few milliseconds until it yields a value; `None` after `within`.
pub fn poll<T>(within: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = condition() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(POLL_INTERVAL);
    }
}

/// Checks that `program` (a name, or a path) is on this machine.
///
/// # Errors
/// [`StartError::Missing`].
pub fn require(program: &str) -> Result<(), StartError> {
    let path = env::var_os("PATH").unwrap_or_else(|| OsStr::new("/usr/sbin:/usr/bin:/sbin:/bin").to_owned());
    // `join` keeps an absolute program as it is.
    if env::split_paths(&path).any(|directory| directory.join(program).is_file()) {
        Ok(())
    } else {
        Err(StartError::Missing { program: program.to_owned() })
    }
}

const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// `PR_SET_PDEATHSIG` fires at the end of the *thread* that made the child, and a guard may outlive the thread of the test
/// that made it (one shared by several tests, or made inside a namespace). So one thread that never ends makes them all.
fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    type Order = (Command, Sender<io::Result<Child>>);
    static LAUNCHER: LazyLock<Mutex<Sender<Order>>> = LazyLock::new(|| {
        let (orders, inbox) = channel::<Order>();
        thread::spawn(move || {
            for (mut command, reply) in inbox {
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (reply, answer) = channel();
    let gone = || io::Error::other("the launcher thread is gone");
    let sent = LAUNCHER.lock().unwrap_or_else(PoisonError::into_inner).send((command, reply));
    sent.map_err(|_closed| gone())?;
    answer.recv().map_err(|_closed| gone())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        Process::spawn(Command::new("sh").args(["-c", script])).unwrap()
    }

    #[test]
    fn waits_for_a_line() {
        let mut process = shell("echo one; echo two >&2; exec sleep 60");
        let line = process.wait_for_line("two", Duration::from_secs(10), |line| line.contains("tw")).unwrap();
        assert_eq!(line, "two");
    }

    #[test]
    fn an_early_end_carries_the_output() {
        let mut process = shell("echo no such luck; exit 3");
        let error = process.wait_for_line("luck", Duration::from_secs(10), |line| line == "luck").unwrap_err();
        assert!(matches!(error, StartError::Exited { status, .. } if status.code() == Some(3)), "{error}");
        assert!(error.to_string().contains("no such luck"), "{error}");
    }

    #[test]
    fn a_missed_deadline_carries_the_output() {
        let mut process = shell("echo still thinking; exec sleep 60");
        process.wait_for_line("start", Duration::from_secs(10), |line| line == "still thinking").unwrap();
        let error = process.wait_for_line("an end", Duration::from_millis(20), |line| line == "end").unwrap_err();
        assert!(matches!(&error, StartError::Deadline { .. }), "{error}");
        assert!(error.to_string().contains("still thinking"), "{error}");
    }

    #[test]
    fn dropping_kills_the_whole_group() {
        let mut process = shell("sleep 60 & echo $!; wait");
        let line = process.wait_for_line("a pid", Duration::from_secs(10), |line| !line.is_empty()).unwrap();
        let grandchild = std::path::PathBuf::from(format!("/proc/{line}/stat"));
        assert!(grandchild.exists());
        drop(process);
        let ended = || std::fs::read_to_string(&grandchild).map_or(Some(()), |stat| stat.contains(" Z ").then_some(()));
        poll(Duration::from_secs(10), ended).expect("the grandchild is still running");
    }

    #[test]
    fn a_child_outlives_the_thread_that_started_it() {
        let mut process = thread::spawn(|| shell("echo up; read line; exec sleep 60")).join().unwrap();
        let mut process2 = thread::spawn(|| shell("trap '' TERM; echo up; exec sleep 60")).join().unwrap();
        process2.wait_for_line("up", Duration::from_secs(10), |line| line == "up").unwrap();
        assert!(process2.exit_status().is_none());
        process.wait_for_line("up", Duration::from_secs(10), |line| line == "up").unwrap();
    }

    #[test]
    fn a_missing_program_says_what_to_install() {
        let error = Process::spawn(&Command::new("no-such-peer")).unwrap_err();
        assert_eq!(error.to_string(), "no-such-peer is not installed: run `cargo xtask setup`");
    }
}
