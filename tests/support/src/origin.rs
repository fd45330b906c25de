//! An application server in this process, for what nginx cannot be made to do.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use socket2::{Domain, SockRef, Socket, Type};

use crate::{Place, Site, site};

/// A server whose paths are experiments:
///
/// | path | what it does |
/// |---|---|
/// | `/`, `/big` | the page and the large file of its [`Site`] |
/// | `/echo` | answers with the request's body |
/// | `/head` | answers with the request's head, as it came |
/// | `/chunked`, `/unframed` | answers in chunks, or ends the body with the connection |
/// | `/slow` | answers after 300 ms |
/// | `/hang` | never answers |
/// | `/cut` | promises 100 bytes and closes after 10 |
/// | `/drop` | closes without an answer |
/// | `/reset` | resets the connection in the middle of an answer |
/// | `/reset-idle` | answers with the page and resets the connection after it |
/// | `/not-http` | answers something else |
/// | `/upgrade` | changes the protocol and echoes bytes |
/// | `/status/NNN` | answers with that status |
#[derive(Debug)]
pub struct Origin {
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stopped: AtomicBool,
    connections: AtomicUsize,
    requests: AtomicUsize,
    site: Site,
}

impl Origin {
    /// Listens on a free port of both loopback addresses.
    ///
    /// # Errors
    /// What the system says.
    pub fn start() -> io::Result<Self> {
        Self::start_at(&Place::Loopback, 0)
    }

    /// Listens on this port of both addresses of a place; 0 takes a free one.
    ///
    /// # Errors
    /// What the system says.
    pub fn start_at(place: &Place, port: u16) -> io::Result<Self> {
        let listeners = {
            let reserved = place.reserve_both(port)?;
            let bind = |address: SocketAddr| place.enter(|| listen(address))?;
            reserved.iter().map(|held| bind(held.address())).collect::<io::Result<Vec<_>>>()?
        };
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
        let shared = Arc::new(Shared {
            stopped: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            site: Site::new(addresses.clone(), "site.example", site::filler(3_000_000)),
        });
        for listener in listeners {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                for stream in listener.incoming() {
                    if shared.stopped.load(Ordering::SeqCst) {
                        return;
                    }
                    let shared = Arc::clone(&shared);
                    if let Ok(stream) = stream {
                        thread::spawn(move || serve(stream, &shared));
                    }
                }
            });
        }
        Ok(Self { addresses, shared })
    }

    /// Where it listens: IPv4, IPv6.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Its IPv4 address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// What it serves.
    #[must_use]
    pub fn site(&self) -> Site {
        self.shared.site.clone()
    }

    /// Connections so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Requests so far.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        for address in &self.addresses {
            // Wakes the accepting thread; within a namespace it stays until the process ends, which harms nobody.
            let _ = TcpStream::connect_timeout(address, Duration::from_millis(50));
        }
    }
}

/// A burst of connections must fit into the queue: what does not, the kernel tries again after seconds.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

fn serve(mut stream: TcpStream, shared: &Shared) {
    shared.connections.fetch_add(1, Ordering::SeqCst);
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::new();
    while let Ok(Some((head, path))) = read_head(&mut stream, &mut buffer) {
        shared.requests.fetch_add(1, Ordering::SeqCst);
        let Ok(body) = read_body(&mut stream, &mut buffer, &head) else { return };
        match answer(&mut stream, &path, &head, body, &buffer, shared) {
            Ok(true) => {}
            _ => return,
        }
    }
}

fn answer(
    stream: &mut TcpStream,
    path: &str,
    head: &str,
    body: Vec<u8>,
    early: &[u8],
    shared: &Shared,
) -> io::Result<bool> {
    let site = &shared.site;
    let at = stream.local_addr()?.ip();
    let is_head = head.starts_with("HEAD ");
    let mut reply = |status: u16, body: &[u8]| -> io::Result<bool> {
        let is_bodiless = [204, 304].contains(&status);
        let length = if is_bodiless { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let head = format!("HTTP/1.1 {status} Experiment\r\n{length}{}: {at}\r\n\r\n", site::SERVED_AT);
        stream.write_all(head.as_bytes())?;
        if !is_head && !is_bodiless {
            stream.write_all(body)?;
        }
        Ok(true)
    };
    match path {
        _ if path == site.page.0 => reply(200, &site.page.1),
        _ if path == site.download.0 => reply(200, &site.download.1),
        "/echo" => reply(200, &body),
        "/head" => reply(200, head.as_bytes()),
        "/slow" => {
            thread::sleep(Duration::from_millis(300));
            reply(200, b"slow")
        }
        "/hang" => {
            // Until the other side gives up.
            let _ = stream.read(&mut [0]);
            Ok(false)
        }
        "/chunked" => {
            stream.write_all(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
            )?;
            Ok(true)
        }
        "/unframed" => {
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nhello world")?;
            Ok(false)
        }
        "/cut" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789")?;
            Ok(false)
        }
        "/drop" => Ok(false),
        "/reset" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789")?;
            reset(stream)
        }
        "/reset-idle" => {
            reply(200, &site.page.1)?;
            reset(stream)
        }
        "/not-http" => {
            stream.write_all(b"SSH-2.0-nonsense\r\n\r\n")?;
            Ok(false)
        }
        "/upgrade" => {
            stream
                .write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")?;
            stream.write_all(early)?;
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = stream.read(&mut bytes) {
                stream.write_all(&bytes[..read])?;
            }
            Ok(false)
        }
        _ => match path.strip_prefix("/status/").and_then(|status| status.parse().ok()) {
            Some(status) => reply(status, b"as asked"),
            None => reply(404, b"not found at the origin"),
        },
    }
}

/// Ends the connection with a reset: that is what closing does to one that must not linger.
fn reset(stream: &TcpStream) -> io::Result<bool> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
    Ok(false)
}

fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<(String, String)>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head: Vec<u8> = buffer.drain(..end + 4).collect();
            let head = String::from_utf8_lossy(&head).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
            return Ok(Some((head, path)));
        }
        if !fill(stream, buffer)? {
            return Ok(None);
        }
    }
}

fn read_body(stream: &mut TcpStream, buffer: &mut Vec<u8>, head: &str) -> io::Result<Vec<u8>> {
    let field = |wanted: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim().to_owned()).next()
    };
    if field("expect").is_some() {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    if field("transfer-encoding").is_some() {
        return read_chunks(stream, buffer);
    }
    let length = field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    take(stream, buffer, length)
}

fn read_chunks(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = loop {
            match buffer.windows(2).position(|two| two == b"\r\n") {
                Some(end) => break end,
                None if fill(stream, buffer)? => {}
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        };
        let line = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end + 2);
        let size = usize::from_str_radix(line.trim(), 16).map_err(|_wrong| io::ErrorKind::InvalidData)?;
        body.extend(take(stream, buffer, size)?);
        take(stream, buffer, 2)?;
        if size == 0 {
            return Ok(body);
        }
    }
}

fn take(stream: &mut TcpStream, buffer: &mut Vec<u8>, length: usize) -> io::Result<Vec<u8>> {
    while buffer.len() < length {
        if !fill(stream, buffer)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(buffer.drain(..length).collect())
}

fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<bool> {
    let mut piece = [0; 16 * 1024];
    let read = stream.read(&mut piece)?;
    buffer.extend_from_slice(&piece[..read]);
    Ok(read > 0)
}
