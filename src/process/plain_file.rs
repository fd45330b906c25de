//! Opening files as root in directories that others may write to: what is opened is what its name says, or nothing is.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use super::identity::Owner;

/// Why a file was not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("cannot open {path}")]
    Open { path: PathBuf, source: io::Error },
    #[error("{path} is {what}; whoever made it could have us write elsewhere")]
    Unsafe { path: PathBuf, what: &'static str },
}

/// Opens a regular file for a new content, or creates it. What was in it is gone.
pub(super) fn replace(path: &Path, mode: u32) -> Result<File, OpenError> {
    let failed = |source| OpenError::Open { path: path.to_owned(), source };
    let file = options(mode).create(true).truncate(false).open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(OpenError::Unsafe { path: path.to_owned(), what: "no regular file" });
    }
    refuse_links(path, &about)?;
    // Only now: a file that is refused keeps its content.
    file.set_len(0).map_err(failed)?;
    Ok(file)
}

/// Opens a file, a named pipe or a device to append to. A file that is created belongs to `owner`.
pub(super) fn append(path: &Path, mode: u32, owner: Option<Owner>) -> Result<File, OpenError> {
    let failed = |source| OpenError::Open { path: path.to_owned(), source };
    match options(mode).append(true).create_new(true).open(path) {
        Ok(file) => {
            if let Some(Owner { user, group }) = owner {
                std::os::unix::fs::fchown(&file, Some(user), Some(group)).map_err(failed)?;
            }
            return Ok(file);
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    // A pipe that is opened for reading too is there at once, and stays without a reader (fifo(7)).
    let is_pipe = std::fs::symlink_metadata(path).is_ok_and(|about| about.file_type().is_fifo());
    let file = options(mode).append(true).read(is_pipe).open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if about.is_file() {
        refuse_links(path, &about)?;
    }
    Ok(file)
}

/// Never through a symbolic link, never waiting for the other end of a pipe, never as a controlling terminal.
fn options(mode: u32) -> OpenOptions {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.write(true).mode(mode).custom_flags(i32::try_from(flags.bits()).unwrap_or_default());
    options
}

fn refuse_links(path: &Path, about: &Metadata) -> Result<(), OpenError> {
    match about.nlink() {
        0 | 1 => Ok(()),
        _ => Err(OpenError::Unsafe { path: path.to_owned(), what: "a file with other names too (hard links)" }),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn links_are_refused_and_their_targets_untouched() {
        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        let (soft, hard) = (directory.path().join("soft"), directory.path().join("hard"));
        symlink(&victim, &soft).unwrap();
        fs::hard_link(&victim, &hard).unwrap();
        assert!(matches!(replace(&soft, 0o644), Err(OpenError::Open { .. })));
        assert!(matches!(append(&soft, 0o644, None), Err(OpenError::Open { .. })));
        assert!(matches!(replace(&hard, 0o644), Err(OpenError::Unsafe { .. })));
        assert!(matches!(append(&hard, 0o644, None), Err(OpenError::Unsafe { .. })));
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        let dangling = directory.path().join("dangling");
        symlink(directory.path().join("nowhere"), &dangling).unwrap();
        assert!(replace(&dangling, 0o644).is_err() && append(&dangling, 0o644, None).is_err());
        assert!(!directory.path().join("nowhere").exists());
    }

    #[test]
    fn only_a_regular_file_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(replace(&pipe, 0o644).is_err());
        assert!(replace(directory.path(), 0o644).is_err());
        assert!(append(&pipe, 0o640, None).is_ok(), "a pipe may be logged to");
        let file = directory.path().join("file");
        fs::write(&file, "a longer old text").unwrap();
        drop(replace(&file, 0o644).unwrap());
        assert_eq!(fs::read_to_string(&file).unwrap(), "");
    }
}
