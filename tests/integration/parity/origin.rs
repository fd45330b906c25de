//! An origin (or parent proxy) that does what a case says, and keeps what it got.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::Duration,
};

use test_support::{Place, Reservation};

use super::{
    case::Conduct,
    observation::{is_request, split_head},
};

/// A listener on the same port of both loopback addresses.
pub(super) struct Origin {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    script: Script,
    /// What came on each connection of this case, and whether it goes on.
    connections: Vec<Got>,
    /// Cases so far: connections of earlier ones are not this one's.
    round: usize,
    is_over: bool,
}

/// What came on a connection.
#[derive(Clone, Default)]
pub(super) struct Got {
    /// Where it came from.
    pub(super) from: Option<IpAddr>,
    /// What a SOCKS client said before.
    pub(super) handshake: Vec<u8>,
    pub(super) bytes: Vec<u8>,
    is_open: bool,
    /// The connection itself, when it is left open.
    stream: Option<Arc<TcpStream>>,
}

/// What the origin does with each connection of a case.
#[derive(Clone, Debug, Default)]
pub(super) struct Script {
    pub(super) conduct: Conduct,
    pub(super) answer: Vec<u8>,
}

impl Origin {
    pub(super) fn start(place: &Place) -> io::Result<Self> {
        let (port, listeners) = Self::listen(place)?;
        let shared = Arc::new(Shared::default());
        for listener in listeners {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let shared = Arc::clone(&shared);
                    let from = stream.peer_addr().ok().map(|from| from.ip());
                    let (script, round, index) = {
                        let mut state = shared.lock();
                        if state.is_over {
                            return;
                        }
                        state.connections.push(Got { from, is_open: true, ..Got::default() });
                        (state.script.clone(), state.round, state.connections.len() - 1)
                    };
                    thread::spawn(move || {
                        let connection = Connection { stream, shared, round, index, bytes: Vec::new() };
                        connection.serve(&script);
                    });
                }
            });
        }
        Ok(Self { port, shared })
    }

    /// Listens on every address of IPv4. A port that is free on one may be taken on another, by a connection of somebody
    /// else: a condition of the machine, so another one is drawn.
    fn listen(place: &Place) -> io::Result<(u16, [TcpListener; 2])> {
        let mut refused = Vec::new();
        loop {
            let reserved = reserve(place);
            let port = reserved[0].port();
            let listen = || -> io::Result<[TcpListener; 2]> {
                Ok([TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?, TcpListener::bind((Ipv6Addr::LOCALHOST, port))?])
            };
            match place.enter(listen)? {
                Ok(listeners) => return Ok((port, listeners)),
                Err(error) if refused.len() == 100 => return Err(error),
                Err(_taken) => refused.push(reserved),
            }
        }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Begins another case.
    pub(super) fn act(&self, script: Script) {
        let mut state = self.shared.lock();
        state.script = script;
        for held in state.connections.drain(..).filter_map(|one| one.stream) {
            // Nobody may use it in the next case.
            let _ = held.shutdown(Shutdown::Both);
        }
        state.round += 1;
    }

    /// What came in this case, when all its connections have ended, or after a while.
    pub(super) fn got(&self, within: Duration) -> Vec<Got> {
        let state = self.shared.lock();
        let is_busy = |state: &mut State| state.connections.iter().any(|one| one.is_open);
        let waited = self.shared.changed.wait_timeout_while(state, within, is_busy);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.connections.clone()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        // Wakes the accepting threads; within a namespace they stay until the process ends.
        for address in [SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)), (Ipv6Addr::LOCALHOST, self.port).into()] {
            let _ = TcpStream::connect_timeout(&address, Duration::from_millis(50));
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Connection {
    stream: TcpStream,
    shared: Arc<Shared>,
    round: usize,
    index: usize,
    /// What came since the handshake.
    bytes: Vec<u8>,
}

impl Connection {
    fn serve(mut self, script: &Script) {
        let _ = self.stream.set_nodelay(true);
        let _ = self.stream.set_read_timeout(Some(Duration::from_secs(10)));
        let _ = self.converse(script);
    }

    fn converse(&mut self, script: &Script) -> io::Result<()> {
        if matches!(script.conduct, Conduct::Socks | Conduct::SocksEcho | Conduct::SocksRefuse) {
            self.socks(script.conduct == Conduct::SocksRefuse)?;
            let handshake = std::mem::take(&mut self.bytes);
            self.tell(|got, _| (got.handshake, got.bytes) = (handshake.clone(), Vec::new()));
        }
        match script.conduct {
            Conduct::Answer | Conduct::Socks => {
                self.read_until(is_request)?;
                self.stream.write_all(&script.answer)?;
                self.stream.shutdown(Shutdown::Write)?;
            }
            Conduct::Hold => {
                self.read_until(is_request)?;
                self.stream.write_all(&script.answer)?;
                // It does not keep the case from ending.
                let stream = Arc::new(self.stream.try_clone()?);
                self.tell(|got, _| (got.stream, got.is_open) = (Some(Arc::clone(&stream)), false));
            }
            Conduct::Tunnel => {
                self.read_until(|bytes| split_head(bytes).is_some())?;
                self.stream.write_all(&script.answer)?;
                return self.echo();
            }
            Conduct::Echo | Conduct::SocksEcho => return self.echo(),
            Conduct::SocksRefuse => {}
            Conduct::Reset => {
                self.read_until(|bytes| split_head(bytes).is_some())?;
                return socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
            }
        }
        while self.more()? > 0 {}
        Ok(())
    }

    fn echo(&mut self) -> io::Result<()> {
        loop {
            let before = self.bytes.len();
            if self.more()? == 0 {
                return Ok(());
            }
            self.stream.write_all(&self.bytes[before..])?;
        }
    }

    /// The side of a proxy in SOCKS 4a or 5; what it is asked is in `bytes` then.
    fn socks(&mut self, refuses: bool) -> io::Result<()> {
        self.read_until(|bytes| !bytes.is_empty())?;
        if self.bytes[0] == 4 {
            // VN, CD, port, address, user id, name (4a).
            self.read_until(|bytes| bytes.len() > 8 && bytes[8..].iter().filter(|byte| **byte == 0).count() == 2)?;
            return self.stream.write_all(&[0, if refuses { 91 } else { 90 }, 0, 0, 0, 0, 0, 0]);
        }
        self.read_until(|bytes| bytes.len() > 1 && bytes.len() >= 2 + usize::from(bytes[1]))?;
        let offers_password = self.bytes[2..].contains(&2);
        let greeting = self.bytes.len();
        self.stream.write_all(&[5, if offers_password { 2 } else { 0 }])?;
        let mut start = greeting;
        if offers_password {
            let name = move |bytes: &[u8]| bytes.get(greeting + 1).map(|length| usize::from(*length));
            let end = move |bytes: &[u8]| {
                let password = greeting + 2 + name(bytes)?;
                bytes.get(password).map(|length| password + 1 + usize::from(*length))
            };
            self.read_until(move |bytes| end(bytes).is_some_and(|end| bytes.len() >= end))?;
            start = self.bytes.len();
            self.stream.write_all(&[1, 0])?;
        }
        self.read_until(move |bytes| {
            let address = match bytes.get(start + 3) {
                Some(1) => 4,
                Some(4) => 16,
                Some(3) => bytes.get(start + 4).map_or(usize::MAX - 1000, |length| 1 + usize::from(*length)),
                _ => return false,
            };
            bytes.len() >= start + 4 + address + 2
        })?;
        self.stream.write_all(&[5, if refuses { 5 } else { 0 }, 0, 1, 0, 0, 0, 0, 0, 0])
    }

    fn read_until(&mut self, enough: impl Fn(&[u8]) -> bool) -> io::Result<()> {
        while !enough(&self.bytes) {
            if self.more()? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    fn more(&mut self) -> io::Result<usize> {
        let mut piece = [0; 16 * 1024];
        let read = self.stream.read(&mut piece)?;
        self.bytes.extend(&piece[..read]);
        self.tell(|got, bytes| got.bytes = bytes.to_vec());
        Ok(read)
    }

    fn tell(&self, what: impl Fn(&mut Got, &[u8])) {
        let mut state = self.shared.lock();
        if state.round == self.round
            && let Some(got) = state.connections.get_mut(self.index)
        {
            what(got, &self.bytes);
        }
        self.shared.changed.notify_all();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.tell(|got, _| got.is_open = false);
    }
}

/// A port of both loopback addresses, which every place has, whatever its own are. Nobody listens there until a program does.
pub(super) fn reserve(place: &Place) -> [Reservation; 2] {
    let mut refused = Vec::new();
    loop {
        let ipv4 = place.reserve(Ipv4Addr::LOCALHOST, 0).unwrap();
        match place.reserve(Ipv6Addr::LOCALHOST, ipv4.port()) {
            Ok(ipv6) => return [ipv4, ipv6],
            Err(error) => assert!(refused.len() < 100, "{error}"),
        }
        // Kept, so that another one is drawn.
        refused.push(ipv4);
    }
}
