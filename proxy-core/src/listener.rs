//! Listening sockets, one per shard and address.

use std::{io, net::SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use crate::Listener;

/// The sockets of one address: one per shard, in shard order.
pub(crate) struct Bound {
    pub(crate) address: SocketAddr,
    pub(crate) sockets: Vec<std::net::TcpListener>,
}

/// Binds `address` for `shards` shards. With a `neighbour`, a socket of our own on the same port, another program there is not
/// noticed by the address in use: the kernel refuses to share with other users only.
pub(crate) fn bind(listener: &Listener, address: SocketAddr, shards: usize, neighbour: bool) -> io::Result<Bound> {
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
            Ok(socket.into())
        })
        .collect::<io::Result<_>>()?;
    Ok(Bound { address, sockets })
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
        let bound = bind(&listener, any, 3, false).unwrap();
        assert_ne!(bound.address.port(), 0);
        for socket in &bound.sockets {
            assert_eq!(socket.local_addr().unwrap(), bound.address);
        }
        let again = bind(&listener, bound.address, 1, false).err().map(|error| error.kind());
        assert_eq!(again, Some(io::ErrorKind::AddrInUse));
    }
}
