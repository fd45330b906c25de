//! Kernel pipes that bytes pass through without coming up to us, kept for reuse.

use std::{
    cell::RefCell,
    os::fd::{AsFd, OwnedFd},
};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// A pipe. What is [given back](Pipe::give_back) must be empty.
pub(super) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

thread_local! {
    /// A shard is one thread. A tunnel that is silent holds no pipe, so few are enough for many.
    static POOL: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

impl Pipe {
    /// An empty pipe; `None` when the process has no descriptors left.
    pub(super) fn take() -> Option<Self> {
        POOL.with_borrow_mut(Vec::pop).or_else(|| {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
            // More where the system allows it (pipe(7), pipe-user-pages-soft); the default serves too.
            let _ = fcntl_setpipe_size(&write, SIZE);
            Some(Self { read, write })
        })
    }

    /// Keeps an empty pipe for the next tunnel.
    pub(super) fn give_back(self) {
        POOL.with_borrow_mut(|pool| {
            if pool.len() < MOST {
                pool.push(self);
            }
        });
    }

    /// Moves what has arrived at `socket` into the pipe, which must be empty.
    pub(super) fn fill(&self, socket: impl AsFd) -> std::io::Result<usize> {
        Ok(splice(socket, None, &self.write, None, SIZE, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)?)
    }

    /// Moves up to `most` bytes from the pipe to `socket`.
    pub(super) fn pour(&self, socket: impl AsFd, most: usize) -> std::io::Result<usize> {
        Ok(splice(&self.read, None, socket, None, most, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)?)
    }
}

/// Large enough that a round of two system calls moves much, small enough that a thousand of them are nothing.
pub(super) const SIZE: usize = 256 * 1024;
const MOST: usize = 64;
