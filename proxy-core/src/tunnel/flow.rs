//! One direction of a tunnel.

use std::{
    io,
    task::{Context, Poll, ready},
};

use tokio::io::Interest;

use super::{
    Broken,
    end::End,
    pipe::{self, Pipe},
};

/// Bytes from one socket to another. Between two rounds it holds nothing; while the receiver is slow, one pipe or buffer full.
pub(super) struct Flow<'a> {
    from: End<'a>,
    to: End<'a>,
    store: Store,
    copying: Copying,
    moved: u64,
    ended: bool,
}

/// Whether bytes are copied through memory of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copying {
    /// Where the kernel cannot move them itself.
    WhenNeeded,
    Always,
}

enum Store {
    Empty,
    Pipe { pipe: Pipe, held: usize },
    Buffer { bytes: Box<[u8]>, start: usize, end: usize },
}

impl<'a> Flow<'a> {
    pub(super) fn new(from: End<'a>, to: End<'a>, copying: Copying) -> Self {
        Self { from, to, store: Store::Empty, copying, moved: 0, ended: false }
    }

    /// Bytes that have arrived at the far end.
    pub(super) fn moved(&self) -> u64 {
        self.moved
    }

    /// Ready when the sender has ended and the receiver has been told.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        // Tokio's budget for a task ends this loop under load: its readiness says `Pending` then, and wakes the task.
        while !self.ended {
            if matches!(self.store, Store::Empty) && ready!(self.poll_fill(cx)).map_err(Broken::From)? == 0 {
                self.ended = true;
                // The receiver may be gone; its own direction tells.
                let _ = self.to.shutdown();
                break;
            }
            ready!(self.poll_pour(cx)).map_err(Broken::To)?;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes what has arrived; 0 at the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.from.poll_read_ready(cx))?;
            let read = match self.copying {
                Copying::WhenNeeded => self.splice_in(),
                Copying::Always => self.copy_in(),
            };
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if is_unsupported(&error) && self.copying == Copying::WhenNeeded => {
                    self.copying = Copying::Always;
                }
                other => return Poll::Ready(other),
            }
        }
    }

    fn splice_in(&mut self) -> io::Result<usize> {
        let Some(pipe) = Pipe::take() else { return self.copy_in() };
        let read = self.from.try_io(Interest::READABLE, || pipe.fill(self.from));
        match read {
            Ok(held) if held > 0 => self.store = Store::Pipe { pipe, held },
            _ => pipe.give_back(),
        }
        read
    }

    fn copy_in(&mut self) -> io::Result<usize> {
        let mut bytes = vec![0; BUFFER].into_boxed_slice();
        let end = self.from.try_read(&mut bytes)?;
        if end > 0 {
            self.store = Store::Buffer { bytes, start: 0, end };
        }
        Ok(end)
    }

    /// Gives everything that is held to the receiver.
    fn poll_pour(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let written = match &self.store {
                Store::Empty => return Poll::Ready(Ok(())),
                Store::Pipe { pipe, held } => self.to.try_io(Interest::WRITABLE, || pipe.pour(self.to, *held)),
                Store::Buffer { bytes, start, end } => self.to.try_write(&bytes[*start..*end]),
            };
            match written {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(written) => self.poured(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.to.poll_write_ready(cx))?,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn poured(&mut self, written: usize) {
        self.moved += written as u64;
        match &mut self.store {
            Store::Empty => {}
            Store::Pipe { held, .. } => *held -= written,
            Store::Buffer { start, .. } => *start += written,
        }
        self.store = match std::mem::replace(&mut self.store, Store::Empty) {
            Store::Pipe { pipe, held: 0 } => {
                pipe.give_back();
                Store::Empty
            }
            Store::Buffer { start, end, .. } if start == end => Store::Empty,
            rest => rest,
        };
    }
}

/// Kernels and sockets that cannot be spliced say so.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

const BUFFER: usize = pipe::SIZE / 4;
