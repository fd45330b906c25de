//! One end of a tunnel, borrowed: a socket that the kernel can move bytes to and from.

use std::{
    io,
    net::Shutdown,
    os::fd::{AsFd, BorrowedFd},
    task::{Context, Poll},
};

use tokio::{
    io::Interest,
    net::{TcpStream, UnixStream},
};

use crate::client_stream::Socket;

/// A plain socket.
#[derive(Clone, Copy)]
pub(crate) enum End<'a> {
    Tcp(&'a TcpStream),
    Unix(&'a UnixStream),
}

impl End<'_> {
    pub(super) fn poll_read_ready(self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => socket.poll_read_ready(cx),
            Self::Unix(socket) => socket.poll_read_ready(cx),
        }
    }

    pub(super) fn poll_write_ready(self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => socket.poll_write_ready(cx),
            Self::Unix(socket) => socket.poll_write_ready(cx),
        }
    }

    /// Runs a system call, whose `WouldBlock` takes the readiness away.
    pub(super) fn try_io<T>(self, interest: Interest, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self {
            Self::Tcp(socket) => socket.try_io(interest, call),
            Self::Unix(socket) => socket.try_io(interest, call),
        }
    }

    pub(super) fn try_read(self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_read(buffer),
            Self::Unix(socket) => socket.try_read(buffer),
        }
    }

    pub(super) fn try_write(self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_write(bytes),
            Self::Unix(socket) => socket.try_write(bytes),
        }
    }

    /// Tells the peer that nothing more comes.
    pub(super) fn shutdown(self) -> io::Result<()> {
        socket2::SockRef::from(&self).shutdown(Shutdown::Write)
    }
}

impl AsFd for End<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

impl<'a> From<&'a TcpStream> for End<'a> {
    fn from(socket: &'a TcpStream) -> Self {
        Self::Tcp(socket)
    }
}

impl<'a> From<&'a Socket> for End<'a> {
    fn from(socket: &'a Socket) -> Self {
        match socket {
            Socket::Tcp(socket) => Self::Tcp(socket),
            Socket::Unix(socket) => Self::Unix(socket),
        }
    }
}
