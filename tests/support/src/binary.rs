//! The program under test.

use std::{
    ffi::OsStr,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use tempfile::TempDir;

use crate::{Place, Process, Signal, StartError, scratch_dir};

/// A running `lockgate run`.
#[derive(Debug)]
pub struct Lockgate {
    process: Process,
    addresses: Vec<SocketAddr>,
    directory: TempDir,
}

impl Lockgate {
    /// Runs `program` with this configuration on the loopback addresses, and waits until it says where it listens.
    ///
    /// # Errors
    /// It ended, or did not say so in time; its output is in the error.
    pub fn run(program: impl AsRef<OsStr>, config: &str) -> Result<Self, StartError> {
        Self::run_at(&Place::Loopback, program, config)
    }

    /// The same in another place.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_at(place: &Place, program: impl AsRef<OsStr>, config: &str) -> Result<Self, StartError> {
        Self::run_by(place.command(program), config)
    }

    /// The same by a command that is given what `lockgate` needs to run: one with an environment, or in a cage.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_by(mut command: Command, config: &str) -> Result<Self, StartError> {
        let prepare = StartError::prepare("a configuration file");
        let directory = scratch_dir().map_err(StartError::prepare("a directory"))?;
        let file = directory.path().join("lockgate.toml");
        fs::write(&file, config).map_err(prepare)?;
        command.args(["run", "--config"]).arg(&file).current_dir(directory.path());
        let mut process = Process::spawn(&command)?;
        let expected = config.matches("127.0.0.1:0").count() + config.matches("[::1]:0").count();
        process.wait_for_line("a listener", Self::DEADLINE, |line| line.contains(LISTENING))?;
        let mut this = Self { process, addresses: Vec::new(), directory };
        let output = crate::poll(Self::DEADLINE, || {
            let output = this.process.output();
            (output.matches(LISTENING).count() >= expected.max(1)).then_some(output)
        });
        this.addresses = output.unwrap_or_default().lines().filter_map(address_in).collect();
        Ok(this)
    }

    /// How long it may take to start.
    pub const DEADLINE: Duration = Duration::from_secs(20);

    /// Where it listens, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The first address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Its working directory, removed at the end.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A file in its working directory.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Everything it wrote.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It is still running after `within`.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus, StartError> {
        self.process.wait(within)
    }

    /// Whether it is running.
    pub fn is_running(&mut self) -> bool {
        self.process.exit_status().is_none()
    }
}

const LISTENING: &str = "lockgate: listening";

fn address_in(line: &str) -> Option<SocketAddr> {
    let line = line.split_once(LISTENING)?.1;
    line.split_once("address=")?.1.split_whitespace().next()?.parse().ok()
}
