//! The edge to `nft`: the child that holds the table, and listings by processes of their own.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nftables::schema::Nftables;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::privileges::with_net_admin_for_children;
use crate::rules::{self, TABLE};

/// A step on the gate's table that did not end as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// The program could not be started.
    #[error("cannot start {}", .nft.display())]
    Start {
        /// The nft program.
        nft: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The process that holds the table has ended, and with it the kernel has dropped the table.
    #[error("the nft process that held the table has ended{}", ended(*.status))]
    Ended {
        /// How it ended, once known.
        status: Option<ExitStatus>,
    },
    /// The process that holds the table did not answer in time.
    #[error("nft did not answer within {} s", .limit.as_secs())]
    Silent {
        /// How long it had.
        limit: Duration,
    },
    /// The kernel, or nft on its behalf, refused.
    #[error("nft refused: {message}")]
    Refused {
        /// What nft printed.
        message: String,
    },
    /// The table could not be listed.
    #[error("nft could not list ({status}): {message}")]
    List {
        /// How the process ended.
        status: ExitStatus,
        /// What nft printed.
        message: String,
    },
    /// A document could not be written or a listing could not be understood.
    #[error("nft's JSON was not understood")]
    Json {
        /// Where.
        #[from]
        source: serde_json::Error,
    },
    /// nft was content, but the kernel's table is not what was asked for.
    #[error("the table is not as asked for; expected {expected}; found {found}")]
    Differs {
        /// What was asked.
        expected: String,
        /// What the listing shows.
        found: String,
    },
}

/// What there is under the name of the gate's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Nothing.
    Absent,
    /// A table that belongs to a process, and goes with it.
    Held,
    /// A table that belongs to nobody.
    Unheld,
}

/// The child `nft -j -i` whose netlink socket owns the table. The table lives exactly as long as this process.
///
/// Dropping it closes the pipe and kills the child, without waiting.
#[derive(Debug)]
pub(crate) struct Holder {
    input: ChildStdin,
    output: mpsc::Receiver<String>,
    exit: watch::Receiver<Option<ExitStatus>>,
    _keeper: Keeper,
    pid: Option<u32>,
    /// Barriers written whose answers have not come: more than one after a step was cancelled.
    barriers: u32,
}

impl Holder {
    /// Starts the child.
    ///
    /// It ignores INT, TERM and HUP and has its own process group: Ctrl-C reaches every process of the terminal, and
    /// the gate must outlive it until the drain is over. A shell sets that up, because ignored signals stay ignored
    /// across exec; it also joins both outputs, so that what nft complains of comes before the answer to the barrier.
    pub(crate) fn start(nft: &Path) -> Result<Self, TableError> {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(r#"trap "" INT TERM HUP; exec "$0" -j -i 2>&1"#).arg(nft);
        // `nft -i` writes a history file into the home directory.
        command.env("HOME", "/nonexistent").env("LC_ALL", "C").process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let started = with_net_admin_for_children(|| command.spawn());
        let mut child = started.map_err(|source| TableError::Start { nft: nft.to_owned(), source })?;
        let pid = child.id();
        let input = child.stdin.take().expect("stdin was asked to be a pipe");
        let stdout = child.stdout.take().expect("stdout was asked to be a pipe");
        let (lines, output) = mpsc::channel(MAX_LINES);
        let (ended, exit) = watch::channel(None);
        let _keeper = Keeper(tokio::spawn(keep(child, stdout, lines, ended)));
        Ok(Self { input, output, exit, _keeper, pid, barriers: 0 })
    }

    /// Has the child carry out one line, and waits until it has. An error means that the kernel did none of it.
    ///
    /// Success is silent, so a listing that always answers with one line follows each command as a barrier.
    pub(crate) async fn run(&mut self, line: &str) -> Result<(), TableError> {
        match timeout(STEP_LIMIT, self.run_and_wait(line)).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(TableError::Silent { limit: STEP_LIMIT }),
        }
    }

    /// Resolves when the child has ended; also usable after the holder is gone.
    pub(crate) fn ended(&self) -> impl Future<Output = Option<ExitStatus>> + Send + use<> {
        let mut exit = self.exit.clone();
        async move {
            match exit.wait_for(Option::is_some).await {
                Ok(status) => *status,
                Err(_keeper_gone) => None,
            }
        }
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Closes the pipe, upon which nft leaves; kills it if it does not. Returns whether it has been seen to end.
    pub(crate) async fn end(self) -> bool {
        let ended = self.ended();
        drop(self.input);
        // The keeper, dropped after this, kills a child that has not left.
        timeout(END_LIMIT, ended).await.is_ok()
    }

    async fn run_and_wait(&mut self, line: &str) -> Result<(), TableError> {
        let written = self.input.write_all(format!("{line}\n{BARRIER}\n").as_bytes()).await;
        if written.is_err() {
            return Err(TableError::Ended { status: self.ended().await });
        }
        // Not before: a step that is given up while it waits for the pipe has no answer to come.
        self.barriers += 1;
        let mut said = VecDeque::new();
        while self.barriers > 0 {
            let Some(line) = self.output.recv().await else {
                return Err(TableError::Ended { status: self.ended().await });
            };
            if line.contains(BARRIER_ANSWER) {
                self.barriers -= 1;
                // What came before an earlier barrier belongs to a step that was given up.
                if self.barriers > 0 {
                    said.clear();
                }
            } else {
                said.push_back(line);
            }
        }
        let message = said.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
        if message.contains("Error") { Err(TableError::Refused { message }) } else { Ok(()) }
    }
}

/// The task that watches the child; without it there is no child.
#[derive(Debug)]
struct Keeper(JoinHandle<()>);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The program's path: the one given, or the first `nft` on `PATH`, then in the directories where distributions put it
/// (which are not on the `PATH` of every user). `None` if there is none.
pub(crate) fn find(given: Option<&Path>, path: Option<&OsStr>) -> Option<PathBuf> {
    if let Some(given) = given {
        return given.is_file().then(|| given.to_owned());
    }
    let on_path = path.map(std::env::split_paths).into_iter().flatten();
    // A relative entry of PATH would let the current directory choose what runs with our privileges.
    let absolute = on_path.filter(|directory| directory.is_absolute());
    absolute
        .chain(SYSTEM_DIRECTORIES.map(PathBuf::from))
        .map(|directory| directory.join("nft"))
        .find(|nft| nft.is_file())
}

/// The gate's table as the kernel has it.
pub(crate) async fn list(nft: &Path) -> Result<Nftables<'static>, TableError> {
    let text = query(nft, &["-j", "list", "table", "inet", TABLE]).await?;
    Ok(serde_json::from_str(&text)?)
}

/// Looks for a table of our name.
pub(crate) async fn presence(nft: &Path) -> Result<Presence, TableError> {
    let tables = query(nft, &["-j", "list", "tables"]).await?;
    if !rules::holds_table(&serde_json::from_str(&tables)?) {
        return Ok(Presence::Absent);
    }
    // The native listing tells whether it is held; JSON of nft 1.0.6 does not.
    match query(nft, &["list", "table", "inet", TABLE]).await {
        Ok(text) if text.lines().any(is_owner_flag) => Ok(Presence::Held),
        Ok(_) => Ok(Presence::Unheld),
        // Its holder has let it go in between.
        Err(TableError::List { message, .. }) if message.contains("No such file") => Ok(Presence::Absent),
        Err(error) => Err(error),
    }
}

fn is_owner_flag(line: &str) -> bool {
    line.trim_start().starts_with("flags ") && line.contains("owner")
}

/// Runs `nft` once. It is another socket than the holder's, which may look but not change.
async fn query(nft: &Path, arguments: &[&str]) -> Result<String, TableError> {
    let mut command = Command::new(nft);
    command.args(arguments).env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let failed = |source| TableError::Start { nft: nft.to_owned(), source };
    let child = with_net_admin_for_children(|| command.spawn()).map_err(failed)?;
    let Ok(output) = timeout(STEP_LIMIT, child.wait_with_output()).await else {
        return Err(TableError::Silent { limit: STEP_LIMIT });
    };
    let output = output.map_err(failed)?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        return Err(TableError::List { status: output.status, message });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Reads all that the child says, so that it never blocks, and tells when it ended. Aborting this kills the child.
async fn keep(
    mut child: Child,
    stdout: ChildStdout,
    lines: mpsc::Sender<String>,
    ended: watch::Sender<Option<ExitStatus>>,
) {
    let read = async {
        let mut reader = BufReader::new(stdout);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).await.is_ok_and(|length| length > 0) {
            // Full means that nobody waits for an answer: the line is about nothing that was asked.
            let _ = lines.try_send(String::from_utf8_lossy(&line).into_owned());
            line.clear();
        }
        drop(lines);
    };
    let wait = async {
        let status = child.wait().await;
        ended.send_replace(status.ok());
    };
    tokio::join!(read, wait);
}

fn ended(status: Option<ExitStatus>) -> String {
    status.map_or_else(String::new, |status| format!(" ({status})"))
}

/// A command without effect that prints one line: named counters of the bridge family, of which only the head of the
/// document matters.
const BARRIER: &str = "list counters bridge";

const BARRIER_ANSWER: &str = "\"metainfo\"";

/// A transaction on a busy machine takes milliseconds; a child that takes this long is stuck.
const STEP_LIMIT: Duration = Duration::from_secs(10);

/// nft leaves at once when its input ends.
const END_LIMIT: Duration = Duration::from_secs(2);

const MAX_LINES: usize = 256;

const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explicit_path_is_not_searched_for() {
        assert_eq!(find(Some(Path::new("/nonexistent/nft")), Some(OsStr::new("/usr/sbin"))), None);
    }

    #[test]
    fn the_search_path_comes_first_and_relative_entries_are_ignored() {
        let directory = tempfile::tempdir().unwrap();
        let nft = directory.path().join("nft");
        std::fs::write(&nft, "").unwrap();
        let path = std::env::join_paths([Path::new("."), directory.path()]).unwrap();
        assert_eq!(find(None, Some(&path)), Some(nft));
    }
}
