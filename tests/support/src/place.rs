//! Where a peer runs: on the loopback addresses of this machine, or in a namespace.

use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use crate::Namespace;

/// Where a peer runs and from where it is reached.
#[derive(Clone, Debug, Default)]
pub enum Place {
    /// The network of this process; peers listen on `127.0.0.1` and `::1`.
    #[default]
    Loopback,
    /// A namespace of a [`crate::Network`]; peers listen on its addresses.
    Namespace(Namespace),
}

/// A port that nobody else gets while this lives, but that a server may listen on (one that sets `SO_REUSEADDR`, which all
/// servers here do): the socket is bound and never listens.
#[derive(Debug)]
pub struct Reservation {
    address: SocketAddr,
    _socket: Socket,
}

impl Place {
    /// The IPv4 address of a peer that runs here.
    #[must_use]
    pub fn ipv4(&self) -> Ipv4Addr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST,
            Self::Namespace(namespace) => namespace.ipv4(),
        }
    }

    /// The IPv6 address of a peer that runs here.
    #[must_use]
    pub fn ipv6(&self) -> Ipv6Addr {
        match self {
            Self::Loopback => Ipv6Addr::LOCALHOST,
            Self::Namespace(namespace) => namespace.ipv6(),
        }
    }

    /// A command that runs `program` here.
    #[must_use]
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        match self {
            Self::Loopback => Command::new(program),
            Self::Namespace(namespace) => namespace.command(program),
        }
    }

    /// Runs `work` on a thread whose sockets belong to this place.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        match self {
            Self::Loopback => Ok(work()),
            Self::Namespace(namespace) => namespace.enter(work),
        }
    }

    /// Moves the calling thread here for the rest of its life.
    ///
    /// # Errors
    /// The namespace cannot be entered.
    pub fn move_thread(&self) -> io::Result<()> {
        match self {
            Self::Loopback => Ok(()),
            Self::Namespace(namespace) => namespace.move_thread(),
        }
    }

    /// Opens a TCP connection from here.
    ///
    /// # Errors
    /// What the system says, or no answer within a second.
    pub fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.enter(|| TcpStream::connect_timeout(&address, Duration::from_secs(1)))?
    }

    /// Keeps `port` of one of this place's addresses for a server; 0 takes a free one.
    ///
    /// # Errors
    /// The port is in use.
    pub fn reserve(&self, ip: impl Into<IpAddr>, port: u16) -> io::Result<Reservation> {
        let wanted = SocketAddr::new(ip.into(), port);
        self.enter(|| {
            let socket = Socket::new(Domain::for_address(wanted), Type::STREAM, None)?;
            if wanted.is_ipv6() {
                socket.set_only_v6(true)?;
            }
            socket.set_reuse_address(true)?;
            socket.bind(&wanted.into())?;
            let address = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
            Ok(Reservation { address, _socket: socket })
        })?
    }

    /// Keeps the same port of both addresses of this place; 0 takes one that is free on both.
    ///
    /// # Errors
    /// The port is in use.
    pub fn reserve_both(&self, port: u16) -> io::Result<[Reservation; 2]> {
        // A port that is free for IPv4 may be taken for IPv6: a condition of the machine, so another one is drawn.
        let mut refused = Vec::new();
        loop {
            let ipv4 = self.reserve(self.ipv4(), port)?;
            match self.reserve(self.ipv6(), ipv4.port()) {
                Ok(ipv6) => return Ok([ipv4, ipv6]),
                Err(error) if port != 0 || refused.len() == 100 => return Err(error),
                Err(_taken) => refused.push(ipv4),
            }
        }
    }
}

impl From<&Namespace> for Place {
    fn from(namespace: &Namespace) -> Self {
        Self::Namespace(namespace.clone())
    }
}

impl Reservation {
    /// Address and port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_reserved_port_can_be_listened_on_and_is_not_given_away() {
        let place = Place::Loopback;
        let [ipv4, ipv6] = place.reserve_both(0).unwrap();
        assert_eq!(ipv4.port(), ipv6.port());
        let others: Vec<_> = (0..200).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        assert!(others.iter().all(|other| other.local_addr().unwrap().port() != ipv4.port()));
        TcpListener::bind(ipv4.address()).unwrap();
        TcpListener::bind(ipv6.address()).unwrap();
    }
}
