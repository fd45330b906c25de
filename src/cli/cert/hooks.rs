//! The operator's commands beside renewals, as certbot runs them: from options, from a certificate's configuration, and from the
//! directories `renewal-hooks/{pre,deploy,post}` of the storage.

use std::{
    os::{fd::AsFd as _, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

use crate::cli::report;

/// When a command is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// Before the first certificate is renewed.
    Pre,
    /// After each one that was renewed.
    Deploy,
    /// After the last one, whatever became of them.
    Post,
}

/// The commands of one run.
pub(super) struct Hooks {
    /// Where `renewal-hooks` is; `None` when what is in there is not to be run.
    directory: Option<PathBuf>,
    timeout: Duration,
    quiet: bool,
    /// Commands that are not run a second time.
    begun: Vec<String>,
    /// Those that are run at the end.
    last: Vec<String>,
}

impl Hooks {
    pub(super) fn new(directory: Option<PathBuf>, timeout: Duration, quiet: bool) -> Self {
        Self { directory, timeout, quiet, begun: Vec::new(), last: Vec::new() }
    }

    /// A certificate is about to be renewed: runs what was not run before, and remembers what is to be run at the end.
    pub(super) async fn before(&mut self, pre: Option<&str>, post: Option<&str>) {
        // First: whatever ends us in the middle, what a command has stopped is started again.
        for command in self.commands(Moment::Post, post) {
            if !self.last.contains(&command) {
                self.last.push(command);
            }
        }
        for command in self.commands(Moment::Pre, pre) {
            if !self.begun.contains(&command) {
                self.begun.push(command.clone());
                self.run(Moment::Pre, &command, &[]).await;
            }
        }
    }

    /// A certificate was renewed. Returns whether every command took notice of it.
    pub(super) async fn after(&self, deploy: Option<&str>, lineage: &Path, names: &[String]) -> bool {
        let about = [
            ("RENEWED_LINEAGE", lineage.display().to_string()),
            // What is longer no program could be given.
            ("RENEWED_DOMAINS", shortened(names)),
        ];
        let mut is_done = true;
        for command in self.commands(Moment::Deploy, deploy) {
            is_done &= self.run(Moment::Deploy, &command, &about).await;
        }
        is_done
    }

    /// Nothing more is renewed.
    pub(super) async fn end(&mut self, renewed: &[String], failed: &[String]) {
        let about = [("RENEWED_DOMAINS", shortened(renewed)), ("FAILED_DOMAINS", shortened(failed))];
        for command in std::mem::take(&mut self.last) {
            self.run(Moment::Post, &command, &about).await;
        }
    }

    /// What is in the directory, in order of the names, and then the one that was given, unless it is one of these.
    fn commands(&self, moment: Moment, given: Option<&str>) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        if let Some(directory) = &self.directory {
            let entries = std::fs::read_dir(directory.join(moment.word())).into_iter().flatten().flatten();
            found.extend(entries.map(|entry| entry.path()).filter(|path| is_program(path)).map(|path| quoted(&path)));
        }
        found.sort();
        let given = given.filter(|given| !given.is_empty()).map(str::to_owned);
        found.extend(given.filter(|given| !self.is_in_directory(moment, given)));
        found
    }

    fn is_in_directory(&self, moment: Moment, given: &str) -> bool {
        let directory = self.directory.as_ref().map(|directory| directory.join(moment.word()));
        directory
            .is_some_and(|directory| Path::new(given).parent() == Some(&*directory) && is_program(Path::new(given)))
    }

    /// Whether the command did what it was asked. What went wrong has been told.
    async fn run(&self, moment: Moment, command: &str, about: &[(&str, String)]) -> bool {
        let trouble = match self.wait(command, about).await {
            Ok(status) if status.success() => return true,
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        report::error(format!("the {} hook `{command}` failed: {trouble}", moment.word()));
        false
    }

    async fn wait(&self, command: &str, about: &[(&str, String)]) -> std::io::Result<std::process::ExitStatus> {
        // Standard output is for our own results.
        let output = match self.quiet {
            true => Stdio::null(),
            false => std::io::stderr().as_fd().try_clone_to_owned()?.into(),
        };
        let child = Command::new("/bin/sh")
            .args(["-c", command])
            .envs(about.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(output)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let mut child = Group { child };
        let ended = tokio::time::timeout(self.timeout, child.child.wait()).await;
        ended.unwrap_or_else(|_| {
            Err(std::io::Error::other(format!("it did not end within {:?} and was killed", self.timeout)))
        })
    }
}

/// A command with whatever it started, all of which ends with this.
struct Group {
    child: Child,
}

impl Drop for Group {
    fn drop(&mut self) {
        // Without an id it has ended, and what it left in the background is meant to stay.
        if let Some(group) = self.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Moment {
    fn word(self) -> &'static str {
        match self {
            Self::Pre => "pre",
            Self::Deploy => "deploy",
            Self::Post => "post",
        }
    }
}

/// Whether it is a file that may be executed. Editors leave copies whose names end in `~`.
fn is_program(path: &Path) -> bool {
    let is_copy = path.as_os_str().as_encoded_bytes().ends_with(b"~");
    !is_copy && path.metadata().is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

/// For the shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// Names with blanks between them, as many as an environment has room for.
fn shortened(names: &[String]) -> String {
    let mut text = String::new();
    for name in names {
        if text.len() + name.len() >= MOST {
            break;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(name);
    }
    text
}

const MOST: usize = 16 * 1024;
