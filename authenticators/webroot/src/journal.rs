//! Journals: files in the state directory that say what their process was about to create.
//!
//! A process holds a lock ([flock(2)](https://man7.org/linux/man-pages/man2/flock.2.html)) on its journal for as long as
//! it lives, so one that can be locked belongs to a dead one. A journal exists only while there is something to remember.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use authenticator_api::Error;
use rustix::{
    fs::{FlockOperation, Mode, OFlags},
    io::Errno,
    rand::GetRandomFlags,
};

use crate::{
    TARGET,
    entry::{self, Entry, HEADER},
};

/// The journal of this process, locked.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    path: PathBuf,
    /// Up to here it is whole and on disk, in bytes.
    length: u64,
}

impl Journal {
    /// Makes an empty journal in `state`, and `state` where it is missing.
    pub(crate) fn create(state: &Path) -> Result<Self, Error> {
        let failed = |source| Error::File { action: "create a journal in", path: state.to_path_buf(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(state).map_err(failed)?;
        let mut journal = loop {
            if let Some(journal) = Self::lock_new(state).map_err(failed)? {
                break journal;
            }
        };
        journal.write(HEADER)?;
        // Its name must be as durable as its lines.
        let sync = |directory: &Path| File::open(directory).and_then(|directory| directory.sync_all());
        sync(state).map_err(failed)?;
        if let Some(parent) = state.parent() {
            // The directory may be new. A parent that we may not read was not made by us.
            let _ = sync(parent);
        }
        Ok(journal)
    }

    /// `None` when a collector of abandoned journals came between creation and lock; it takes the file away.
    fn lock_new(state: &Path) -> io::Result<Option<Self>> {
        let path = state.join(format!("{:016x}{EXTENSION}", random()?));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)?);
        Ok(try_lock(&file)?.then_some(Self { file, path, length: 0 }))
    }

    /// Adds `entry`; when this returns, it is on disk.
    pub(crate) fn append(&mut self, entry: &Entry) -> Result<(), Error> {
        self.write(&entry.encode())
    }

    /// Deletes it: nothing is left that it names.
    pub(crate) fn delete(self) {
        delete(&self.path);
    }

    fn write(&mut self, line: &str) -> Result<(), Error> {
        let write = || {
            // Cuts off what a failed attempt, on a full disk for example, has left of its line.
            self.file.set_len(self.length)?;
            self.file.write_all_at(line.as_bytes(), self.length)?;
            self.file.sync_data()
        };
        write().map_err(|source| Error::File { action: "write the journal", path: self.path.clone(), source })?;
        self.length += line.len() as u64;
        Ok(())
    }
}

/// The journal of a process that is gone, locked so that nobody else collects it meanwhile.
pub(crate) struct Abandoned {
    /// In the order in which things were created.
    pub(crate) entries: Vec<Entry>,
    path: PathBuf,
    _lock: File,
}

impl Abandoned {
    /// Deletes it: nothing is left that it names.
    pub(crate) fn delete(self) {
        delete(&self.path);
    }
}

/// The abandoned journals in `state`. What cannot be read or understood is logged and left alone.
pub(crate) fn abandoned(state: &Path) -> Vec<Abandoned> {
    let listing = match fs::read_dir(state) {
        Ok(listing) => listing,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(target: TARGET, state = %state.display(), %error, "cannot look for leftovers");
            }
            return Vec::new();
        }
    };
    let journals = listing.filter_map(Result::ok).filter(|file| file.file_name().as_encoded_bytes().ends_with(SUFFIX));
    journals
        .filter_map(|file| {
            let path = file.path();
            read(&path).unwrap_or_else(|error| {
                tracing::warn!(target: TARGET, journal = %path.display(), %error, "cannot read a journal");
                None
            })
        })
        .collect()
}

fn read(path: &Path) -> io::Result<Option<Abandoned>> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
    }
    if !try_lock(&file)? {
        return Ok(None);
    }
    let mut text = Vec::new();
    (&file).take(LONGEST + 1).read_to_end(&mut text)?;
    let entries = if text.len() as u64 > LONGEST { None } else { entry::decode(&text) };
    if entries.is_none() {
        tracing::warn!(
            target: TARGET,
            journal = %path.display(),
            "not a journal of this version: ignored, and nothing is deleted"
        );
    }
    Ok(entries.map(|entries| Abandoned { entries, path: path.to_path_buf(), _lock: file }))
}

/// Whether `file` is ours now: not when another process holds it or has deleted it.
fn try_lock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file.metadata()?.nlink() > 0),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn delete(journal: &Path) {
    if let Err(error) = fs::remove_file(journal) {
        // Harmless: everything that it names is gone.
        tracing::warn!(target: TARGET, journal = %journal.display(), %error, "cannot remove a finished journal");
    }
}

/// A number that nobody can guess or has used.
pub(crate) fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    // The kernel never gives less than asked for when that is at most 256 bytes.
    rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(u64::from_ne_bytes(bytes))
}

const EXTENSION: &str = ".journal";
const SUFFIX: &[u8] = EXTENSION.as_bytes();

/// In bytes: some ten thousand entries, where a process has a hundred at a time.
const LONGEST: u64 = 4 * 1024 * 1024;
