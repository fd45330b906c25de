//! The weaknesses that tinyproxy had or has, one test each. SECURITY.md lists them all with their tests.

mod framing;
mod later;
mod pages;
mod passage;
mod process;
mod reach;

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use tempfile::TempDir;
use test_support::{Connection, Place, Process, Signal, poll, scratch_dir};

use crate::support::LOCKGATE;

const DEADLINE: Duration = Duration::from_secs(20);

/// Lockgate as tinyproxy, with these lines in its tinyproxy.conf.
struct Proxy {
    process: Process,
    address: SocketAddr,
    directory: TempDir,
}

impl Proxy {
    fn start(lines: &str) -> Self {
        Self::start_at(&Place::Loopback, lines)
    }

    fn start_at(place: &Place, lines: &str) -> Self {
        let directory = scratch_dir().unwrap();
        let port = place.reserve(Ipv4Addr::LOCALHOST, 0).unwrap();
        let address = port.address();
        write_conf(directory.path(), address, lines);
        let mut command = place.command(LOCKGATE);
        command.args(["tinyproxy", "-d", "-c", "tinyproxy.conf"]);
        command.current_dir(directory.path()).env_remove("NOTIFY_SOCKET");
        let mut process = Process::spawn(&command).unwrap();
        process.wait_for_port(place, address, DEADLINE).unwrap();
        Self { process, address, directory }
    }

    fn open(&self) -> Connection {
        Connection::open(self.address).unwrap()
    }

    /// The answer to a request on a connection of its own.
    fn ask(&self, request: impl AsRef<[u8]>) -> test_support::Response {
        self.open().exchange(request).unwrap()
    }

    fn status(&self, request: impl AsRef<[u8]>) -> u16 {
        self.ask(request).status
    }

    /// All bytes that come back until the proxy closes; whoever refuses a request closes.
    fn last_words(&self, request: impl AsRef<[u8]>) -> String {
        let mut client = self.open();
        // The proxy may have closed before it took everything.
        let _ = client.send(request);
        String::from_utf8_lossy(&client.rest().unwrap_or_default()).into_owned()
    }

    /// Has these lines read instead, and waits until they count.
    fn reload(&mut self, lines: &str) {
        write_conf(self.directory.path(), self.address, lines);
        let told = |process: &Process| process.output().matches("Reloading config file finished").count();
        let before = told(&self.process);
        self.process.signal(Signal::HUP);
        poll(DEADLINE, || (told(&self.process) > before).then_some(()))
            .unwrap_or_else(|| panic!("no reload: {}", self.process.output()));
    }
}

fn write_conf(directory: &Path, address: SocketAddr, lines: &str) {
    let text = format!("Port {}\nListen {}\n{lines}\n", address.port(), address.ip());
    fs::write(directory.join("tinyproxy.conf"), text).unwrap();
}

fn get(url: &str) -> String {
    format!("GET {url} HTTP/1.1\r\nHost: a\r\n\r\n")
}

fn connect(to: impl std::fmt::Display) -> String {
    format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n")
}

/// A server that writes down everything it is sent, and reads it as strictly as can be: what a proxy lets through in a form
/// that it does not expect shows as a request that nobody made.
struct Recorder {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stopped: AtomicBool,
    requests: Mutex<Vec<Received>>,
    /// Every byte, of all connections.
    bytes: Mutex<Vec<u8>>,
}

/// A request as a server reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Received {
    head: String,
    body: Vec<u8>,
}

impl Received {
    fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// The values of a field.
    fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
    }
}

impl Recorder {
    /// Answers every request with `ok`.
    fn start() -> Self {
        Self::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec())
    }

    fn answering(answer: Vec<u8>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let (answer, recording) = (Arc::<[u8]>::from(answer), Arc::clone(&shared));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if recording.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (answer, recording) = (Arc::clone(&answer), Arc::clone(&recording));
                thread::spawn(move || record(stream, &answer, &recording));
            }
        });
        Self { address, shared }
    }

    fn requests(&self) -> Vec<Received> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn targets(&self) -> Vec<String> {
        self.requests().iter().map(|request| request.target().to_owned()).collect()
    }

    /// Everything it was sent.
    fn seen(&self) -> String {
        String::from_utf8_lossy(&self.shared.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_millis(50));
    }
}

fn record(mut stream: TcpStream, answer: &[u8], shared: &Shared) {
    let mut buffer = Vec::new();
    while let Some(request) = receive(&mut stream, &mut buffer, shared) {
        shared.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        if stream.write_all(answer).is_err() {
            return;
        }
    }
}

/// The next request, read by the letter of RFC 9112. Whatever is wrong with one ends the connection, as a word of its own.
fn receive(stream: &mut TcpStream, buffer: &mut Vec<u8>, shared: &Shared) -> Option<Received> {
    let length = loop {
        match buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            Some(end) => break end + 4,
            None => fill(stream, buffer, shared).ok()?,
        }
    };
    let mut request = Received { head: String::from_utf8_lossy(&buffer[..length]).into_owned(), body: Vec::new() };
    buffer.drain(..length);
    let (lengths, codings) = (request.values("content-length"), request.values("transfer-encoding"));
    let body = match (&*lengths, &*codings) {
        ([], []) => Some(Vec::new()),
        ([length], []) => take(stream, buffer, length.parse().ok()?, shared).ok(),
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => chunks(stream, buffer, shared).ok(),
        _ => None,
    };
    request.body = body?;
    Some(request)
}

fn chunks(stream: &mut TcpStream, buffer: &mut Vec<u8>, shared: &Shared) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = loop {
            match buffer.windows(2).position(|two| two == b"\r\n") {
                Some(end) => break end,
                None => fill(stream, buffer, shared)?,
            }
        };
        let line = String::from_utf8_lossy(&buffer[..end]).into_owned();
        buffer.drain(..end + 2);
        let is_size = !line.is_empty() && line.len() <= 8 && line.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = usize::from_str_radix(&line, 16).ok().filter(|_| is_size).ok_or(io::ErrorKind::InvalidData)?;
        body.extend(take(stream, buffer, size, shared)?);
        if take(stream, buffer, 2, shared)? != b"\r\n" {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if size == 0 {
            return Ok(body);
        }
    }
}

fn take(stream: &mut TcpStream, buffer: &mut Vec<u8>, length: usize, shared: &Shared) -> io::Result<Vec<u8>> {
    while buffer.len() < length {
        fill(stream, buffer, shared)?;
    }
    Ok(buffer.drain(..length).collect())
}

fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>, shared: &Shared) -> io::Result<()> {
    let mut piece = [0; 16 * 1024];
    match stream.read(&mut piece)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        read => {
            shared.bytes.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&piece[..read]);
            buffer.extend_from_slice(&piece[..read]);
            Ok(())
        }
    }
}

/// What must be in the list, by its first word.
const KNOWN: &[&str] = &[
    "CVE-2012-3505",
    "CVE-2017-11747",
    "CVE-2022-40468",
    "CVE-2023-49606",
    "CVE-2025-63938",
    "CVE-2026-3945",
    "CVE-2026-31842",
    "CVE-2026-54387",
    "CVE-2026-54388",
    "CVE-2026-55202",
    "#616",
    "#623",
    "#627",
];

/// A test that is renamed, removed or not listed is noticed here.
#[test]
fn security_md_names_the_test_of_every_weakness() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let rows: Vec<(String, String)> = text
        .lines()
        .filter_map(|line| {
            let cells: Vec<_> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
            let test = cells.get(2)?.strip_prefix("`holes::")?.strip_suffix('`')?;
            Some((cells[0].to_owned(), test.to_owned()))
        })
        .collect();
    for known in KNOWN {
        assert!(rows.iter().any(|(id, _)| id == known), "{known} is not in SECURITY.md");
    }
    let mut tests = BTreeSet::new();
    for entry in fs::read_dir(root.join("tests/integration/holes")).unwrap().map(Result::unwrap) {
        let source = fs::read_to_string(entry.path()).unwrap();
        let module = entry.path().file_stem().unwrap().to_str().unwrap().to_owned();
        let after = source.split("#[test]\n").skip(1).filter_map(|rest| rest.trim_start().strip_prefix("fn "));
        tests.extend(after.map(|rest| format!("{module}::{}", rest.split('(').next().unwrap())));
    }
    let listed: BTreeSet<String> = rows.into_iter().map(|(_, test)| test).collect();
    assert_eq!(listed, tests, "SECURITY.md and the tests");
}
