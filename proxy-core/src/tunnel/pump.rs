//! One direction of a tunnel of which one end is no plain socket: bytes pass through memory.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Broken, pipe};

/// What is under way in one direction. Between two rounds it holds nothing, unless the receiver is slow.
#[derive(Default)]
pub(super) struct Pump {
    held: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes were written that the receiver may be holding back.
    unflushed: bool,
    moved: u64,
    /// The sender has said everything; and the receiver knows.
    ended: bool,
    told: bool,
}

impl Pump {
    /// Bytes that the receiver has taken.
    pub(super) fn moved(&self) -> u64 {
        self.moved
    }

    /// Ready when the sender has ended and the receiver has been told.
    pub(super) fn poll<F, T>(&mut self, cx: &mut Context<'_>, from: &mut F, to: &mut T) -> Poll<Result<(), Broken>>
    where
        F: AsyncRead + Unpin,
        T: AsyncWrite + Unpin,
    {
        loop {
            ready!(self.poll_pour(cx, to)).map_err(Broken::To)?;
            if self.told {
                return Poll::Ready(Ok(()));
            }
            if self.ended {
                // The receiver may be gone; its own direction tells.
                let _ = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                self.told = true;
                continue;
            }
            match self.poll_fill(cx, from) {
                Poll::Ready(Ok(read)) => self.ended = read == 0,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::From(error))),
                Poll::Pending => {
                    self.held = Box::default();
                    if self.unflushed {
                        ready!(Pin::new(to).poll_flush(cx)).map_err(Broken::To)?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>, from: &mut (impl AsyncRead + Unpin)) -> Poll<io::Result<usize>> {
        if self.held.is_empty() {
            self.held = vec![0; BUFFER].into_boxed_slice();
        }
        let mut buffer = ReadBuf::new(&mut self.held);
        ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
        (self.start, self.end) = (0, buffer.filled().len());
        Poll::Ready(Ok(self.end))
    }

    fn poll_pour(&mut self, cx: &mut Context<'_>, to: &mut (impl AsyncWrite + Unpin)) -> Poll<io::Result<()>> {
        while self.start < self.end {
            let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.held[self.start..self.end]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.start += written;
            self.moved += written as u64;
            self.unflushed = true;
        }
        Poll::Ready(Ok(()))
    }
}

const BUFFER: usize = pipe::SIZE / 8;
