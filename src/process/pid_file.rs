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

impl PidFile {
    /// Writes it; one that an earlier process left is replaced. `path` is absolute, or relative to a directory that stays.
    pub(super) fn create(path: &Path, mode: u32) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Open { path: path.to_owned(), source };
        let mut file = replace(path, mode)?;
        // Whatever the umask is, and the earlier process was.
        file.set_permissions(Permissions::from_mode(mode)).map_err(failed)?;
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
        let file = PidFile::create(&path, 0o644).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn another_process_keeps_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pid");
        let file = PidFile::create(&path, 0o644).unwrap();
        fs::write(directory.path().join("new"), "1\n").unwrap();
        fs::rename(directory.path().join("new"), &path).unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
    }
}
