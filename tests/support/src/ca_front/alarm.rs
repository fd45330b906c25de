//! Waiting for a socket and for something else at the same time.

use std::{io, os::unix::net::UnixStream, sync::Arc};

use rustix::{
    event::{PollFd, PollFlags, poll},
    fd::AsFd,
    io::Errno,
};

/// Wakes everybody who watches it, once and for all, when it is dropped.
#[derive(Debug)]
pub(super) struct Alarm {
    _bell: UnixStream,
    watch: Watch,
}

/// What somebody who waits has of an [`Alarm`].
#[derive(Clone, Debug)]
pub(super) struct Watch(Arc<UnixStream>);

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// There is something to read, or the other side has left.
    Socket,
    /// The first of the alarms that went off.
    Alarm(usize),
}

impl Alarm {
    pub(super) fn new() -> io::Result<Self> {
        // The other end of a pair is at its end when this one is gone: no bytes, no races.
        let (bell, end) = UnixStream::pair()?;
        Ok(Self { _bell: bell, watch: Watch(Arc::new(end)) })
    }

    pub(super) fn watch(&self) -> Watch {
        self.watch.clone()
    }
}

/// Waits until there is something to read from a socket, or one of these alarms goes off.
pub(super) fn wait(socket: &impl AsFd, alarms: &[&Watch]) -> io::Result<Woken> {
    let ends = alarms.iter().map(|watch| watch.0.as_fd());
    let mut polled: Vec<_> =
        std::iter::once(socket.as_fd()).chain(ends).map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    loop {
        match poll(&mut polled, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let (socket, ends) = polled.split_at(1);
        let is_awake = |polled: &PollFd<'_>| !polled.revents().is_empty();
        if let Some(number) = ends.iter().position(is_awake) {
            return Ok(Woken::Alarm(number));
        }
        if socket.iter().any(is_awake) {
            return Ok(Woken::Socket);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn whatever_comes_first_ends_the_wait() {
        let (quiet, mut other) = UnixStream::pair().unwrap();
        let (one, two) = (Alarm::new().unwrap(), Alarm::new().unwrap());
        let watches = [one.watch(), two.watch()];
        let watches = [&watches[0], &watches[1]];
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| wait(&quiet, &watches).unwrap());
            drop(two);
            assert_eq!(waiting.join().unwrap(), Woken::Alarm(1));
        });
        other.write_all(b"x").unwrap();
        assert_eq!(wait(&quiet, &watches[..1]).unwrap(), Woken::Socket);
        drop(one);
    }
}
