//! The file that holds the process id.

use std::{
    fs::{File, Permissions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use super::plain_file::{OpenError, replace};

/// A file with our process id in it, removed when this is dropped.
pub(super) struct PidFile {
    path: PathBuf,
    file: File,
}

/// Who may read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readers {
    /// Everybody, whatever the umask is and the earlier process was.
    All,
    /// Its owner; of a file that is there, those who could. That is how tinyproxy leaves it, and scripts read it.
    OwnerAtFirst,
}

impl PidFile {
    /// Writes it; one that an earlier process left is replaced. `path` is absolute, or relative to a directory that stays.
    pub(super) fn create(path: &Path, readers: Readers) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Open { path: path.to_owned(), source };
        let mut file = match readers {
            Readers::OwnerAtFirst => replace(path, 0o600)?,
            Readers::All => {
                let file = replace(path, 0o644)?;
                file.set_permissions(Permissions::from_mode(0o644)).map_err(failed)?;
                file
            }
        };
        file.write_all(format!("{}\n", std::process::id()).as_bytes()).map_err(failed)?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Removes it, unless its name is another file's by now.
    ///
    /// Where the directory does not let us, it is emptied: a process id that may soon be somebody else's must not stay.
    fn remove(&self) -> io::Result<()> {
        let (ours, there) = (self.file.metadata()?, std::fs::symlink_metadata(&self.path)?);
        if (ours.dev(), ours.ino()) != (there.dev(), there.ino()) {
            return Ok(());
        }
        std::fs::remove_file(&self.path).inspect_err(|_| {
            // The error that is told is the first one.
            let _ = self.file.set_len(0);
        })
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(target: "lockgate", "cannot remove the PID file {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn it_holds_the_id_and_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        fs::write(&path, "4194304 and more that is stale\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let file = PidFile::create(&path, Readers::All).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn who_could_read_an_earlier_one_still_can() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let new = PidFile::create(&path, Readers::OwnerAtFirst).unwrap();
        assert_eq!(mode(), 0o600);
        drop(new);
        fs::write(&path, "1\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let _file = PidFile::create(&path, Readers::OwnerAtFirst).unwrap();
        assert_eq!(mode(), 0o644);
    }

    #[test]
    fn another_process_keeps_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let file = PidFile::create(&path, Readers::All).unwrap();
        fs::write(directory.path().join("new"), "1\n").unwrap();
        fs::rename(directory.path().join("new"), &path).unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
    }
}
