//! What a listener behind the gate needs from its sockets, and the addresses of this host.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use socket2::{SockAddr, SockRef};

use crate::rules::Method;

/// Lets a socket accept connections whose destination is not its own port (`IP_TRANSPARENT`, ip(7)). Call it before
/// `bind`; it needs `CAP_NET_ADMIN`. Harmless for a listener behind a NAT redirect.
///
/// A listener behind the gate is bound to the wildcard address, one per protocol (`IPV6_V6ONLY`).
///
/// # Errors
/// What setsockopt(2) says: `PermissionDenied` without the capability.
pub fn set_transparent(socket: SockRef<'_>, address: SocketAddr) -> io::Result<()> {
    match address {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true),
        SocketAddr::V6(_) => socket.set_ip_transparent_v6(true),
    }
}

/// The address and port that the visitor asked for, of a connection accepted behind the gate.
///
/// TPROXY leaves it in place, so it is the local address; after a redirect connection tracking knows it.
///
/// # Errors
/// What getsockname(2) or getsockopt(2) says: `NotFound` when a connection did not come through the redirect.
pub fn original_destination(socket: SockRef<'_>, method: Method) -> io::Result<SocketAddr> {
    let local = internet(&socket.local_addr()?)?;
    match (method, local) {
        (Method::Tproxy, local) => Ok(local),
        (Method::Redirect, SocketAddr::V4(_)) => internet(&socket.original_dst_v4()?),
        (Method::Redirect, SocketAddr::V6(_)) => internet(&socket.original_dst_v6()?),
    }
}

/// The addresses by which others reach this host: of interfaces that are up, without loopback and link-local ones
/// (a link-local IPv6 address means nothing without its interface).
///
/// # Errors
/// What getifaddrs(3) says.
pub fn own_addresses() -> io::Result<Vec<IpAddr>> {
    let mut addresses: Vec<IpAddr> = getifaddrs()?
        .filter(|entry| {
            entry.flags.contains(InterfaceFlags::IFF_UP) && !entry.flags.contains(InterfaceFlags::IFF_LOOPBACK)
        })
        .filter_map(|entry| {
            let address = entry.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .filter(|address| !is_local_to_a_link(address))
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

fn is_local_to_a_link(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.is_unspecified(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified() || v6.is_unicast_link_local(),
    }
}

fn internet(address: &SockAddr) -> io::Result<SocketAddr> {
    address.as_socket().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not an internet address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_addresses_are_left_out() {
        for local in ["127.0.0.1", "169.254.1.1", "::1", "fe80::1"] {
            assert!(is_local_to_a_link(&local.parse().unwrap()), "{local}");
        }
        for public in ["192.0.2.1", "10.0.0.1", "2001:db8::1", "fd00::1"] {
            assert!(!is_local_to_a_link(&public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn behind_tproxy_the_original_destination_is_the_local_address() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(
            original_destination(SockRef::from(&accepted), Method::Tproxy).unwrap(),
            client.peer_addr().unwrap()
        );
    }
}
