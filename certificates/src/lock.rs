//! One Lockgate or certbot at a time on a storage directory.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, fcntl_lock},
    process::{Flock, FlockType, fcntl_getlk},
};
use tokio::time::Instant;

/// The lock, held until dropped. POSIX record locks belong to the process: a second `acquire` within one process succeeds.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why the lock is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("{path} is locked by {holder}", path = path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// Process id and, where it is known, the command.
        holder: String,
    },
    /// The lock file cannot be used.
    #[error("cannot use the lock file {path}", path = path.display())]
    File {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Lock {
    /// Takes certbot's own lock file in `storage`, waiting for it at most this long; `waiting` is told once who has it.
    ///
    /// # Errors
    ///
    /// Somebody else keeps it, or it cannot be used.
    pub async fn acquire(storage: &Path, patience: Duration, waiting: impl Fn(&str)) -> Result<Self, LockError> {
        let path = storage.join(".certbot.lock");
        let deadline = Instant::now() + patience;
        let mut told = false;
        loop {
            if let Some(lock) = Self::attempt(&path).map_err(|source| LockError::File { path: path.clone(), source })? {
                return Ok(lock);
            }
            let holder = holder(&path);
            if Instant::now() >= deadline {
                return Err(LockError::Held { path, holder });
            }
            if !told {
                waiting(&holder);
                told = true;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn attempt(path: &Path) -> io::Result<Option<Self>> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // certbot deletes its lock file before it lets go of it: what we hold must still be what the name leads to.
        use std::os::unix::fs::MetadataExt as _;
        if std::fs::metadata(path).map(|now| now.ino()).ok() != Some(file.metadata()?.ino()) {
            return Ok(None);
        }
        let command: Vec<_> = std::env::args().collect();
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{} {}", std::process::id(), command.join(" "))?;
        Ok(Some(Self { _file: file }))
    }
}

fn holder(path: &Path) -> String {
    let Ok(mut file) = OpenOptions::new().read(true).write(true).open(path) else {
        return "another process".to_owned();
    };
    let held = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock)).ok().flatten().and_then(|lock| lock.pid);
    let mut said = String::new();
    let _ = file.read_to_string(&mut said);
    let pid = held.map(|pid| pid.as_raw_nonzero().to_string());
    match (pid, said.trim().split_once(' ')) {
        (Some(pid), Some((by, command))) if by == pid => format!("process {pid} ({command})"),
        (Some(pid), _) => format!("process {pid}"),
        (None, _) => "another process".to_owned(),
    }
}
