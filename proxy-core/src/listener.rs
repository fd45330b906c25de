//! Listening sockets, one per shard and address.

mod address;
mod socket_file;

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd},
};

use plugin_api::Client;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

pub use self::address::ListenAddress;
pub(crate) use self::socket_file::SocketFile;
use crate::{Listener, client_stream::Socket as ClientSocket};

/// The sockets of one address: one per shard, in shard order.
pub(crate) struct Bound {
    pub(crate) address: ListenAddress,
    pub(crate) sockets: Vec<ListeningSocket>,
    /// Of a unix socket.
    pub(crate) file: Option<SocketFile>,
}

/// A socket that listens, before a shard has it.
pub(crate) enum ListeningSocket {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

/// A socket that a shard accepts from.
pub(crate) enum Acceptor {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl AsFd for ListeningSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

impl Acceptor {
    /// For the runtime of the calling thread.
    pub(crate) fn new(socket: ListeningSocket) -> io::Result<Self> {
        Ok(match socket {
            ListeningSocket::Tcp(socket) => Self::Tcp(TcpListener::from_std(socket)?),
            ListeningSocket::Unix(socket) => Self::Unix(UnixListener::from_std(socket)?),
        })
    }

    /// The next connection. Nothing is lost when the future is dropped.
    pub(crate) async fn accept(&self) -> io::Result<(ClientSocket, Client)> {
        Ok(match self {
            Self::Tcp(socket) => {
                let (stream, client) = socket.accept().await?;
                (ClientSocket::Tcp(stream), client.into())
            }
            Self::Unix(socket) => (ClientSocket::Unix(socket.accept().await?.0), Client::Unix),
        })
    }
}

/// Binds `address` for `shards` shards; see [`bind_tcp`] about the `neighbour`.
pub(crate) fn bind(listener: &Listener, address: &ListenAddress, shards: usize, neighbour: bool) -> io::Result<Bound> {
    match address {
        ListenAddress::Inet(address) => bind_tcp(listener, *address, shards, neighbour),
        ListenAddress::Unix(path) => {
            let (socket, file) = socket_file::listen(path, &listener.access)?;
            // A path has one socket and one queue: whichever shard is free first takes the next connection.
            let sockets =
                (0..shards).map(|_| socket.try_clone().map(ListeningSocket::Unix)).collect::<io::Result<_>>()?;
            Ok(Bound { address: address.clone(), sockets, file: Some(file) })
        }
    }
}

/// Binds `address` for `shards` shards. With a `neighbour`, a socket of our own on the same port, another program there is not
/// noticed by the address in use: the kernel refuses to share with other users only.
fn bind_tcp(listener: &Listener, address: SocketAddr, shards: usize, neighbour: bool) -> io::Result<Bound> {
    // With SO_REUSEPORT a second process could share a port unnoticed. A socket without it is refused when anybody
    // listens there, so it goes first; it also chooses the port when that is 0.
    let sharing = if neighbour { Sharing::WithShards } else { Sharing::Alone };
    let probe = socket(listener, address, sharing)?;
    let address = local_address(&probe)?;
    drop(probe);
    let sockets = (0..shards)
        .map(|_| {
            let socket = socket(listener, address, Sharing::WithShards)?;
            socket.listen(BACKLOG)?;
            Ok(ListeningSocket::Tcp(socket.into()))
        })
        .collect::<io::Result<_>>()?;
    Ok(Bound { address: address.into(), sockets, file: None })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Alone,
    WithShards,
}

fn socket(listener: &Listener, address: SocketAddr, sharing: Sharing) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Connections of a predecessor in TIME_WAIT must not keep us from starting.
    socket.set_reuse_address(true)?;
    if sharing == Sharing::WithShards {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if listener.transparent {
        if address.is_ipv6() {
            socket.set_ip_transparent_v6(true)?;
        } else {
            socket.set_ip_transparent_v4(true)?;
        }
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

/// Where the client of a connection that a NAT rule redirected wanted to go; `None` when no rule did.
pub(crate) fn original_destination(stream: &tokio::net::TcpStream) -> Option<SocketAddr> {
    let socket = socket2::SockRef::from(stream);
    let v4 = socket.original_dst_v4().or_else(|_| socket.original_dst_v6()).ok()?;
    v4.as_socket()
}

/// Connections that may wait to be accepted; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_gets_a_socket_on_one_port_and_a_second_owner_is_refused() {
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listener = Listener::new("a", vec![any]);
        let bound = bind(&listener, &any.into(), 3, false).unwrap();
        assert_ne!(bound.address.port(), 0);
        for socket in &bound.sockets {
            let address = socket2::SockRef::from(socket).local_addr().unwrap();
            assert_eq!(address.as_socket(), bound.address.inet());
        }
        let again = bind(&listener, &bound.address, 1, false).err().map(|error| error.kind());
        assert_eq!(again, Some(io::ErrorKind::AddrInUse));
    }
}
