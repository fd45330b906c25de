//! A unix socket's file: put in place without a moment in which it has other permissions than it should, and taken away only
//! while it is ours.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, lchown},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};
use socket2::{Domain, SockAddr, Socket, Type};

use super::BACKLOG;
use crate::SocketAccess;

/// The file of a socket that is listened on. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode. The kernel keeps the inode while the socket is open, so no other file can have the same.
    identity: (u64, u64),
    removed: AtomicBool,
}

/// Listens on `path`. The file of a process that is gone is replaced.
pub(super) fn listen(path: &Path, access: &SocketAccess) -> io::Result<(UnixListener, SocketFile)> {
    // Two that start at once must not take each other's file for one that nobody listens on.
    let _alone = lock(path.parent().unwrap_or(Path::new("/")))?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let address = SockAddr::unix(path)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            make_way(path)?;
            socket.bind(&address)?;
        }
        bound => bound?,
    }
    let metadata = fs::symlink_metadata(path)?;
    let identity = (metadata.dev(), metadata.ino());
    let file = SocketFile { path: path.to_owned(), identity, removed: AtomicBool::new(false) };
    // Nobody can connect before it listens, so nobody sees the permissions that the umask gave.
    fs::set_permissions(path, Permissions::from_mode(access.mode))?;
    lchown(path, access.owner, access.group)?;
    socket.listen(BACKLOG)?;
    Ok((socket.into(), file))
}

/// Removes a socket that nobody listens on. Anything else is somebody's.
fn make_way(path: &Path) -> io::Result<()> {
    let occupied = |message: &str| Err(io::Error::new(io::ErrorKind::AddrInUse, message.to_owned()));
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file, and it is not a socket"));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Ok(()) => occupied("another process accepts connections there"),
        // Its queue is full, so it has one.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => occupied("another process listens there"),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Keeps other starting processes of this program away from a directory. Where that is impossible it is done without.
fn lock(directory: &Path) -> io::Result<Option<File>> {
    let directory = match File::open(directory) {
        Ok(directory) => directory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
        Err(_) => return Ok(None),
    };
    let deadline = Instant::now() + LOCK_TIME;
    while let Err(error) = flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK || Instant::now() >= deadline {
            return Ok(None);
        }
        sleep(LOCK_PAUSE);
    }
    Ok(Some(directory))
}

impl SocketFile {
    /// Makes the file somebody else's, who is to serve in our place, as far as `access` does not say whose it is.
    pub(crate) fn give_to(&self, user: u32, group: u32, access: &SocketAccess) -> io::Result<()> {
        lchown(&self.path, access.owner.or(Some(user)), access.group.or(Some(group)))
    }

    /// Removes the file, unless somebody has put another in its place: nobody can connect any more. Must come before the socket
    /// is closed.
    pub(crate) fn remove(&self) {
        if self.removed.swap(true, Ordering::SeqCst) {
            return;
        }
        let removed = match fs::symlink_metadata(&self.path) {
            Ok(metadata) if (metadata.dev(), metadata.ino()) == self.identity => fs::remove_file(&self.path),
            _ => return,
        };
        if let Err(error) = removed {
            // The next start replaces it.
            tracing::info!(target: "lockgate::listener", %error, path = %self.path.display(), "a socket file stays behind");
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// How long another process may keep a directory to itself.
const LOCK_TIME: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn kind(path: &Path) -> Option<io::ErrorKind> {
        listen(path, &SocketAccess::default()).err().map(|error| error.kind())
    }

    #[test]
    fn a_dead_socket_is_replaced_and_everything_else_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        let access = SocketAccess { mode: 0o600, ..SocketAccess::default() };
        let (socket, file) = listen(&path, &access).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        UnixStream::connect(&path).unwrap();
        assert_eq!(kind(&path), Some(io::ErrorKind::AddrInUse), "somebody listens");
        drop(file);
        assert!(!path.exists(), "dropping removes the file");
        drop(socket);

        fs::write(&path, "precious").unwrap();
        assert_eq!(kind(&path), Some(io::ErrorKind::AlreadyExists));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(directory.path().join("nothing"), &link).unwrap();
        assert_eq!(kind(&link), Some(io::ErrorKind::AlreadyExists), "a link is followed by nobody");
        assert_eq!(kind(&directory.path().join("missing/s")), Some(io::ErrorKind::NotFound));
    }

    #[test]
    fn a_full_queue_is_somebodys() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let full = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        full.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        full.listen(0).unwrap();
        let _filler = UnixStream::connect(&path).unwrap();
        assert_eq!(kind(&path), Some(io::ErrorKind::AddrInUse));
        assert!(path.exists());
    }

    #[test]
    fn what_somebody_else_has_put_there_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let (_socket, file) = listen(&path, &SocketAccess::default()).unwrap();
        fs::remove_file(&path).unwrap();
        let (_other, others) = listen(&path, &SocketAccess::default()).unwrap();
        drop(file);
        UnixStream::connect(&path).unwrap();
        drop(others);
        assert!(!path.exists());
    }
}
