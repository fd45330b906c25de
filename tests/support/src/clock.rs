//! A wall clock that a test sets, by libfaketime.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tempfile::TempDir;

use crate::{StartError, scratch_dir};

/// The wall clock of the programs that are given it, which runs on from wherever it is set. The clock by which they measure time
/// is the world's, as when somebody sets the clock of a machine; and so are the times of files.
#[derive(Debug)]
pub struct Clock {
    directory: TempDir,
    library: PathBuf,
    ahead: Mutex<Duration>,
}

impl Clock {
    /// One that is right.
    ///
    /// # Errors
    /// libfaketime is missing.
    pub fn new() -> Result<Self, StartError> {
        let library = library().ok_or_else(|| StartError::Missing { program: "faketime".to_owned() })?;
        let directory = scratch_dir().map_err(StartError::prepare("a directory"))?;
        let this = Self { directory, library, ahead: Mutex::default() };
        this.set(Duration::ZERO).map_err(StartError::prepare("a clock"))?;
        Ok(this)
    }

    /// Gives it to a program.
    pub fn give(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("FAKETIME_TIMESTAMP_FILE", self.file());
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
    }

    /// Sets it so far ahead of the world's.
    ///
    /// # Errors
    /// What the system says.
    pub fn set(&self, ahead: Duration) -> io::Result<()> {
        let mut known = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        // It is read at every look at the clock: never half of it.
        let draft = self.directory.path().join("draft");
        fs::write(&draft, format!("+{}\n", ahead.as_secs()))?;
        fs::rename(&draft, self.file())?;
        *known = ahead;
        Ok(())
    }

    /// Sets it forward.
    ///
    /// # Errors
    /// What the system says.
    pub fn advance(&self, by: Duration) -> io::Result<()> {
        self.set(self.ahead() + by)
    }

    /// How far it is ahead of the world's.
    #[must_use]
    pub fn ahead(&self) -> Duration {
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("ahead")
    }
}

/// Debian has it in a directory for each architecture.
fn library() -> Option<PathBuf> {
    let directories = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    directories.map(|entry| entry.path().join(Path::new("faketime/libfaketimeMT.so.1"))).find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_has_the_clock_that_it_is_given() {
        let clock = Clock::new().unwrap();
        let seconds = || {
            let mut date = Command::new("date");
            clock.give(date.arg("+%s"));
            String::from_utf8(date.output().unwrap().stdout).unwrap().trim().parse::<u64>().unwrap()
        };
        let before = seconds();
        clock.advance(Duration::from_secs(86_400)).unwrap();
        clock.advance(Duration::from_secs(10)).unwrap();
        let ahead = seconds() - before;
        assert!((86_410..86_430).contains(&ahead), "{ahead}");
        clock.set(Duration::ZERO).unwrap();
        assert!(seconds() < before + 20);
    }
}
