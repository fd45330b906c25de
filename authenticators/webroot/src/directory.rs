//! A webroot and its challenge directory, used by handle only.
//!
//! Whoever may write to a webroot (the application, often) is not trusted: below the webroot no component is followed that
//! is a symbolic link, files are created without replacing any, and only regular files are read, without waiting.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use authenticator_api::{Error, KeyAuthorization, Token};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, RawDir, RenameFlags},
    io::Errno,
    process::{Gid, Uid},
};

use crate::{
    TARGET,
    entry::{Part, Temporary},
};

/// A webroot that exists.
pub(crate) struct Root {
    place: Place,
    owner: (Uid, Gid),
}

impl Root {
    /// The webroot at `path`. Its own path may have symbolic links: the operator wrote it.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |error: Errno| Error::File { action: "open the webroot", path: path.into(), source: error.into() };
        let handle = rustix::fs::open(path, DIRECTORY, Mode::empty()).map_err(failed)?;
        let status = rustix::fs::fstat(&handle).map_err(failed)?;
        let owner = (Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid));
        Ok(Self { place: Place { handle, path: path.to_path_buf() }, owner })
    }

    /// The challenge directory, or `None` when it or its parent does not exist.
    pub(crate) fn challenges(self) -> Result<Option<ChallengeDirectory>, Error> {
        let mut place = self.place;
        for part in Part::DOWN {
            match place.enter(part)? {
                Some(inner) => place = inner,
                None => return Ok(None),
            }
        }
        Ok(Some(ChallengeDirectory(place)))
    }

    /// The challenge directory; what is missing is created, after `announce` has been told.
    pub(crate) fn create_challenges(
        self,
        mut announce: impl FnMut(Part) -> Result<(), Error>,
    ) -> Result<ChallengeDirectory, Error> {
        let mut place = self.place;
        for part in Part::DOWN {
            place = match place.enter(part)? {
                Some(inner) => inner,
                None => {
                    announce(part)?;
                    place.create(part, self.owner)?
                }
            };
        }
        Ok(ChallengeDirectory(place))
    }

    /// Removes an empty directory. One that is in use, gone, or something else by now is left as it is.
    pub(crate) fn remove(self, part: Part) -> Result<(), Error> {
        let parent = match part {
            Part::WellKnown => Some(self.place),
            Part::AcmeChallenge => self.place.enter(Part::WellKnown)?,
        };
        let Some(parent) = parent else { return Ok(()) };
        match rustix::fs::unlinkat(&parent.handle, part.name(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => Ok(()),
            // A file system that became read-only says so before it says that there is nothing to remove.
            Err(_) if parent.has_no(part) => Ok(()),
            Err(error) => Err(parent.failed("remove", part.name(), error)),
        }
    }
}

/// The directory of the tokens.
pub(crate) struct ChallengeDirectory(Place);

/// What became of a file that was to be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Creation {
    /// It is there.
    Done,
    /// There is a file of that name, which is left as it is.
    Exists,
    /// The directory itself was removed meanwhile.
    DirectoryGone,
}

impl ChallengeDirectory {
    /// The content of a file, cut off where it is longer than any key authorization, or `None` when there is no file.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        // Without O_NONBLOCK, opening a named pipe waits for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.0.handle, name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(self.0.refused("read", name, "a symbolic link")),
            Err(error) => return Err(self.0.failed("read", name, error)),
        };
        let status = rustix::fs::fstat(&file).map_err(|error| self.0.failed("read", name, error))?;
        if !FileType::from_raw_mode(status.st_mode).is_file() {
            return Err(self.0.refused("read", name, "not a regular file"));
        }
        let mut content = Vec::new();
        let read = File::from(file).take(LONGEST).read_to_end(&mut content);
        read.map_err(|error| self.0.failed("read", name, error))?;
        Ok(Some(content))
    }

    /// Creates the file of `token` at once and whole, with mode 0644. On failure nothing stays.
    pub(crate) fn create(
        &self,
        token: &Token,
        temporary: &Temporary,
        key_authorization: &KeyAuthorization,
    ) -> Result<Creation, Error> {
        let (directory, temporary) = (&self.0.handle, temporary.as_str());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(directory, temporary, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(Creation::DirectoryGone),
            Err(error) => return Err(self.0.failed("create", temporary, error)),
        };
        let created = fill(file, key_authorization)
            .map_err(|error| self.0.failed("write", temporary, error))
            .and_then(|()| self.publish(temporary, token));
        if !matches!(created, Ok(Creation::Done)) {
            self.unlink(temporary)?;
        }
        created
    }

    /// Gives a whole file its name, unless the name is taken.
    fn publish(&self, temporary: &str, token: &Token) -> Result<Creation, Error> {
        let (directory, token) = (&self.0.handle, token.as_str());
        let mut renamed = rustix::fs::renameat_with(directory, temporary, directory, token, RenameFlags::NOREPLACE);
        if matches!(renamed, Err(Errno::INVAL | Errno::NOSYS)) {
            // Some file systems, NFS among them, cannot refuse to replace; all of those have links.
            let unlink = |name| rustix::fs::unlinkat(directory, name, AtFlags::empty());
            renamed = rustix::fs::linkat(directory, temporary, directory, token, AtFlags::empty())
                // With two names it would be half cleaned up later.
                .and_then(|()| unlink(temporary).or_else(|error| unlink(token).and(Err(error))));
        }
        match renamed {
            Ok(()) => Ok(Creation::Done),
            Err(Errno::EXIST) => Ok(Creation::Exists),
            Err(error) => Err(self.0.failed("create", token, error)),
        }
    }

    /// Removes a file whose content `is_ours`; anything else of that name is left as it is.
    pub(crate) fn remove(&self, name: &str, is_ours: impl FnOnce(&[u8]) -> bool) -> Result<(), Error> {
        match self.read(name) {
            Ok(Some(content)) if is_ours(&content) => self.unlink(name),
            Ok(None) => Ok(()),
            Ok(Some(_)) => {
                self.leave(name, &"its content changed");
                Ok(())
            }
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::InvalidInput => {
                self.leave(name, &source);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn unlink(&self, name: &str) -> Result<(), Error> {
        match rustix::fs::unlinkat(&self.0.handle, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(self.0.failed("remove", name, error)),
        }
    }

    fn leave(&self, name: &str, reason: &dyn std::fmt::Display) {
        let path = self.0.path.join(name);
        tracing::warn!(target: TARGET, path = %path.display(), %reason, "not the file that was written, left alone");
    }
}

/// A directory by handle, and the path that a person knows it by.
struct Place {
    handle: OwnedFd,
    path: PathBuf,
}

impl Place {
    fn enter(&self, part: Part) -> Result<Option<Self>, Error> {
        match rustix::fs::openat(&self.handle, part.name(), DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(handle) => Ok(Some(Self { handle, path: self.path.join(part.name()) })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(self.refused("enter", part.name(), self.kind(part))),
            Err(error) => Err(self.failed("enter", part.name(), error)),
        }
    }

    fn has_no(&self, part: Part) -> bool {
        rustix::fs::statat(&self.handle, part.name(), AtFlags::SYMLINK_NOFOLLOW).err() == Some(Errno::NOENT)
    }

    /// What stands in the place of a directory, for the message only.
    fn kind(&self, part: Part) -> &'static str {
        match rustix::fs::statat(&self.handle, part.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(status) if FileType::from_raw_mode(status.st_mode).is_symlink() => "a symbolic link",
            _ => "not a directory",
        }
    }

    /// Makes a directory with `owner` and mode 0755, or enters it when somebody was faster.
    fn create(&self, part: Part, owner: (Uid, Gid)) -> Result<Self, Error> {
        let made = rustix::fs::mkdirat(&self.handle, part.name(), OPEN_TO_ALL);
        if let Err(error) = made
            && error != Errno::EXIST
        {
            return Err(self.failed("create", part.name(), error));
        }
        if made.is_ok() {
            self.hand_over(part, owner).map_err(|error| self.failed("hand over", part.name(), error))?;
        }
        self.enter(part)?.ok_or_else(|| self.failed("enter", part.name(), Errno::NOENT))
    }

    fn hand_over(&self, part: Part, (user, group): (Uid, Gid)) -> rustix::io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let new = rustix::fs::openat(&self.handle, part.name(), flags, Mode::empty())?;
        let status = rustix::fs::fstat(&new)?;
        // Who may write to the webroot may have put another directory of ours in its place, to be given that.
        if status.st_uid != rustix::process::geteuid().as_raw() || !is_empty(&new)? {
            let path = self.path.join(part.name());
            tracing::warn!(target: TARGET, path = %path.display(), "somebody else uses the new directory, left as it is");
            return Ok(());
        }
        if (status.st_uid, status.st_gid) != (user.as_raw(), group.as_raw())
            && let Err(error) = rustix::fs::fchown(&new, Some(user), Some(group))
        {
            // Only root may give away; for others a directory of their own serves as well.
            let path = self.path.join(part.name());
            tracing::info!(target: TARGET, path = %path.display(), %error, "cannot copy the webroot's owner");
        }
        // The umask must not matter.
        rustix::fs::fchmod(&new, OPEN_TO_ALL)
    }

    fn failed(&self, action: &'static str, name: &str, error: impl Into<io::Error>) -> Error {
        Error::File { action, path: self.path.join(name), source: error.into() }
    }

    fn refused(&self, action: &'static str, name: &str, what: &str) -> Error {
        let message = format!("it is {what}; below a webroot only plain directories and files are used, no links");
        self.failed(action, name, io::Error::new(io::ErrorKind::InvalidInput, message))
    }
}

fn fill(mut file: File, key_authorization: &KeyAuthorization) -> io::Result<()> {
    file.write_all(key_authorization.as_str().as_bytes())?;
    rustix::fs::fchmod(&file, Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH)?;
    // A file system that writes late reports a full disk here, and a crash must not leave an empty file under its name.
    file.sync_all()
}

fn is_empty(directory: &OwnedFd) -> rustix::io::Result<bool> {
    let mut buffer = Vec::with_capacity(512);
    let mut entries = RawDir::new(directory, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// O_PATH: passing through a directory must not need permission to list it.
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The mode of new directories: the web server has to get through.
const OPEN_TO_ALL: Mode = Mode::RWXU.union(Mode::RGRP).union(Mode::XGRP).union(Mode::ROTH).union(Mode::XOTH);

/// In bytes: the longest key authorization and some white space after it. What is longer cannot parse.
const LONGEST: u64 = KeyAuthorization::MAX_LEN as u64 + 64;
