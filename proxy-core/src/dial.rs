//! Connections to servers that are not HTTP's to make: for tunnels, and to servers behind another proxy.

mod handshake;
mod order;
mod parent;
mod public;
mod stream;
mod through;
pub(crate) mod tls;

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::HeaderMap;
use plugin_api::{Address, Bind, Client, Connection, Target};
use tokio::net::{TcpSocket, TcpStream};

pub(crate) use self::{
    handshake::{Handshake, HandshakeError, Shaken, basic},
    order::Order,
    parent::{Watched, host},
    public::is_public,
    stream::Stream,
    through::{ThroughParent, UNREACHABLE},
};
use crate::{
    ListenAddress, Listener,
    flight::Origin,
    resolver::{ResolveError, Resolver},
    upstream::Failure,
};

/// A connected server.
pub(crate) struct Dialled {
    pub(crate) stream: Stream,
    /// Where it leads, for the log.
    pub(crate) to: SocketAddr,
    /// What a parent that speaks HTTP said: a head, or nothing where there is none.
    pub(crate) reply: BytesMut,
    /// What the server has sent already.
    pub(crate) early: BytesMut,
}

/// Why a server is not connected.
pub(crate) enum DialError {
    /// It cannot be reached.
    Failed(Failure),
    /// The proxy on the way refused, and said this to an HTTP client.
    Declined { stream: Stream, reply: BytesMut },
}

/// Connects `target` for a connection of a client, or a proxy on the way to it, which is told these fields if it speaks HTTP.
pub(crate) async fn dial(target: &Target, fields: HeaderMap, origin: &Origin) -> Result<Dialled, DialError> {
    match &target.parent {
        Some(parent) => parent::through(target, parent, fields, origin).await,
        None => straight(target, origin).await,
    }
}

/// Resolves, and tries the addresses.
async fn straight(target: &Target, origin: &Origin) -> Result<Dialled, DialError> {
    let resolved = resolve(&origin.shard.resolver, &target.address, &origin.connection).await;
    let mut addresses = resolved.map_err(DialError::Failed)?;
    if target.public_only && addresses.iter().any(|address| !is_public(address.ip())) {
        return Err(DialError::Failed(Failure::NotPublic));
    }
    addresses.retain(|to| !is_ourselves(*to, &origin.own, &origin.connection));
    if addresses.is_empty() {
        return Err(DialError::Failed(Failure::Loop));
    }
    // Each address has its time; many of them have twice that together.
    let connected = tokio::time::timeout(
        target.connect_timeout.saturating_mul(2),
        race(&addresses, &target.bind, &origin.connection, target.connect_timeout),
    );
    let stream = connected.await.map_err(|_elapsed| DialError::Failed(Failure::ConnectTimeout))??;
    let to = stream.peer_addr().map_err(|_gone| DialError::Failed(Failure::Connect(None)))?;
    Ok(Dialled { stream: Stream::Tcp(stream), to, reply: BytesMut::new(), early: BytesMut::new() })
}

/// Where the listener is that a request came on.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    /// The port that it is bound to.
    pub(crate) port: u16,
    pub(crate) listener: Arc<Listener>,
}

impl Own {
    /// Whether it listens on this address too: a name may have one of each family, and a request would go round between them.
    fn listens_on(&self, ip: IpAddr) -> bool {
        let addresses = self.listener.addresses.iter().filter_map(ListenAddress::inet);
        addresses
            .filter(|own| own.port() == 0 || own.port() == self.port)
            .any(|own| own.ip() == ip || (own.ip().is_unspecified() && own.is_ipv4() == ip.is_ipv4() && is_ours(&ip)))
    }
}

/// Whether a connection to this address would come to the listener that the request came on. Another listener of ours that it
/// comes to sees it in its turn.
pub(crate) fn is_ourselves(to: SocketAddr, own: &Own, connection: &Connection) -> bool {
    let ip = to.ip();
    to.port() == own.port && (ip == connection.local.ip() || ip.is_unspecified() || own.listens_on(ip))
}

/// The addresses that are connected for a configured one.
async fn resolve(resolver: &Resolver, address: &Address, connection: &Connection) -> Result<Vec<SocketAddr>, Failure> {
    match address {
        Address::Socket(address) => Ok(vec![*address]),
        Address::OriginalDestination => Ok(vec![connection.original_destination]),
        Address::Host { name, port } => match resolver.resolve(name).await {
            Ok(found) => Ok(found.iter().map(|ip| SocketAddr::new(*ip, *port)).collect()),
            Err(error) => Err(unresolved(name, &error)),
        },
        // TCP only: a tunnel moves bytes between sockets that have addresses.
        Address::Unix(_) => Err(Failure::Connect(None)),
    }
}

/// Notes why a name has no address.
pub(crate) fn unresolved(name: &Arc<str>, error: &ResolveError) -> Failure {
    let source: &dyn std::error::Error = error;
    tracing::warn!(target: "lockgate::upstream", name = &**name, error = source, "a name does not resolve");
    if matches!(error, ResolveError::TimedOut) { Failure::ResolveTimeout } else { Failure::Resolve }
}

/// The address itself, where no name service decides what it is.
fn literal(address: &Address) -> Vec<SocketAddr> {
    match address {
        Address::Socket(address) => vec![*address],
        _ => Vec::new(),
    }
}

/// Connects the first address that answers. A next one is tried when one fails, or does not answer for a while
/// (RFC 8305 §5): a dead family or machine costs a quarter of a second, not the whole timeout.
pub(crate) async fn race(
    addresses: &[SocketAddr],
    bind: &Bind,
    connection: &Connection,
    timeout: Duration,
) -> Result<TcpStream, DialError> {
    let mut attempts = FuturesUnordered::new();
    let mut rest = addresses.iter();
    let mut failure = Failure::Connect(None);
    loop {
        if let Some(to) = rest.next() {
            attempts.push(tokio::time::timeout(timeout, connect(*to, bind, connection)));
        }
        let others = rest.len() > 0;
        tokio::select! {
            biased;
            ended = attempts.next() => match ended {
                Some(Ok(Ok(stream))) => return Ok(stream),
                Some(Ok(Err(error))) => {
                    tracing::debug!(target: "lockgate::upstream", %error, "cannot connect");
                    failure = Failure::Connect(error.raw_os_error());
                }
                Some(Err(_)) => failure = Failure::ConnectTimeout,
                None if !others => return Err(DialError::Failed(failure)),
                None => {}
            },
            () = tokio::time::sleep(STAGGER), if others => {}
        }
    }
}

async fn connect(to: SocketAddr, bind: &Bind, connection: &Connection) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if let Some(source) =
        source(bind, connection, to).map_err(|error| io::Error::new(io::ErrorKind::AddrNotAvailable, error))?
    {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE / 4);
    socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

/// The source address towards `to`; `None` for whatever the system chooses.
///
/// # Errors
/// Where none of those that were asked for is of its family: a connection must not come from elsewhere then.
pub(crate) fn source(bind: &Bind, connection: &Connection, to: SocketAddr) -> Result<Option<IpAddr>, NoSource> {
    let is_of_family = |source: &IpAddr| source.is_ipv4() == to.is_ipv4();
    match bind {
        Bind::Same if connection.client == Client::Unix => Ok(None),
        Bind::Same => Ok(Some(connection.local.ip().to_canonical()).filter(is_of_family)),
        Bind::InTurn(sources) => Ok(sources.next(to.is_ipv4())),
        Bind::Addresses(sources) => {
            let family: Vec<IpAddr> = sources.iter().copied().filter(is_of_family).collect();
            // One alone is the one, whether it is there or not: that it is missing must be told.
            let chosen = if let [only] = *family { Some(only) } else { family.into_iter().find(is_ours) };
            Ok(chosen)
        }
        _ => return Ok(None),
    }
    .and_then(|chosen| chosen.map(Some).ok_or(NoSource))
}

/// There is no address to come from.
#[derive(Debug, thiserror::Error)]
#[error("no address that `bind` names can be used towards that server")]
pub(crate) struct NoSource;

/// Whether an address is one of this machine: nothing is sent, and nothing waits. An answer is good for a moment, for this is
/// asked for every request.
fn is_ours(address: &IpAddr) -> bool {
    thread_local! {
        static KNOWN: RefCell<HashMap<IpAddr, (Instant, bool)>> = RefCell::default();
    }
    KNOWN.with_borrow_mut(|known| {
        let now = Instant::now();
        if let Some((asked, ours)) = known.get(address)
            && now.duration_since(*asked) < GOOD_FOR
        {
            return *ours;
        }
        let bound = std::net::UdpSocket::bind((*address, 0));
        // Any other error says nothing about the address.
        let ours = !bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable);
        known.insert(*address, (now, ours));
        ours
    })
}

/// How long it is known whether an address is one of this machine.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// How long an address has before the next one is tried beside it.
const STAGGER: Duration = Duration::from_millis(250);
/// Silence after which the system asks whether the server is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, time::Instant};

    use super::*;

    fn connection() -> Connection {
        Connection::new("127.0.0.1:5".parse().unwrap(), "a".into(), "127.0.0.1:80".parse().unwrap())
    }

    #[tokio::test]
    async fn an_address_that_refuses_or_is_silent_costs_little() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let refuses = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        // A queue that is full and never emptied: the kernel drops what comes.
        let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        full.listen(0).unwrap();
        let silent = full.local_addr().unwrap().as_socket().unwrap();
        let _fillers: Vec<_> = (0..3)
            .map(|_| {
                let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
                socket.set_nonblocking(true).unwrap();
                // It is under way, and never completes.
                let _ = socket.connect(&silent.into());
                socket
            })
            .collect();
        let answers = listener.local_addr().unwrap();
        let started = Instant::now();
        let timeout = Duration::from_secs(60);
        let stream = race(&[refuses, silent, answers], &Bind::Any, &connection(), timeout).await.ok().unwrap();
        assert_eq!(stream.peer_addr().unwrap(), answers);
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        assert!(matches!(
            race(&[refuses], &Bind::Any, &connection(), timeout).await,
            Err(DialError::Failed(Failure::Connect(Some(_))))
        ));
    }

    #[test]
    fn every_address_of_the_listener_is_ours() {
        let own = |addresses: &[&str]| {
            let addresses = addresses.iter().map(|text| text.parse::<SocketAddr>().unwrap()).collect();
            Own { port: 80, listener: Arc::new(Listener::new("a", addresses)) }
        };
        // The client came to 127.0.0.1:80.
        for (addresses, to, expected) in [
            (&["127.0.0.1:80"][..], "127.0.0.1:80", true),
            (&["127.0.0.1:80"], "127.0.0.1:81", false),
            (&["127.0.0.1:80"], "[::1]:80", false),
            (&["127.0.0.1:80", "[::1]:80"], "[::1]:80", true),
            (&["127.0.0.1:0", "[::1]:0"], "[::1]:80", true),
            (&["127.0.0.1:80", "[::1]:81"], "[::1]:80", false),
            (&["0.0.0.0:80", "[::]:80"], "[::1]:80", true),
            (&["0.0.0.0:80"], "127.0.0.9:80", true),
            (&["0.0.0.0:80"], "203.0.113.77:80", false),
        ] {
            assert_eq!(
                is_ourselves(to.parse().unwrap(), &own(addresses), &connection()),
                expected,
                "{addresses:?} {to}"
            );
        }
    }

    #[tokio::test]
    async fn the_source_is_of_the_targets_family() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = [listener.local_addr().unwrap()];
        let bound =
            |addresses: &[&str]| Bind::Addresses(addresses.iter().map(|address| address.parse().unwrap()).collect());
        // One that is not ours (RFC 5737) is passed over for the next.
        let bind = bound(&["::1", "203.0.113.77", "127.0.0.2"]);
        let stream = race(&to, &bind, &connection(), Duration::from_secs(5)).await.ok().unwrap();
        assert_eq!(stream.local_addr().unwrap().ip(), "127.0.0.2".parse::<IpAddr>().unwrap());
        for nowhere in [&["::1"][..], &["203.0.113.77"], &["203.0.113.77", "203.0.113.78"]] {
            let failed = race(&to, &bound(nowhere), &connection(), Duration::from_secs(5)).await;
            assert!(matches!(failed, Err(DialError::Failed(Failure::Connect(_)))), "{nowhere:?}");
        }
    }
}
