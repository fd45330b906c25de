//! Somebody who comes again and again, by https and by http, and checks what he gets.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, StreamOwned,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use test_support::{Connection, anyone, poll};

/// A visitor at work. He believes every certificate whose key is the server's, and remembers it.
pub(super) struct Visitor {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    names: usize,
    thread: Option<JoinHandle<()>>,
}

/// What he has seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Visits by https and by http.
    pub(super) visits: usize,
    /// What was not as it should be.
    pub(super) failures: Vec<String>,
    /// The certificates of the first name, each once, in the order in which they were shown.
    pub(super) certificates: Vec<Shown>,
}

/// A certificate.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Shown(Vec<u8>);

impl Visitor {
    /// Comes to these names in turn, and expects this page.
    pub(super) fn start(http: SocketAddr, https: SocketAddr, names: &[&str], page: &[u8]) -> Self {
        let (stop, seen) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Seen>>::default());
        let (names, page) = (names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), page.to_owned());
        let (stopping, seeing, number) = (Arc::clone(&stop), Arc::clone(&seen), names.len());
        let thread = thread::spawn(move || {
            for name in names.iter().cycle() {
                if stopping.load(Ordering::SeqCst) {
                    return;
                }
                let (secure, plain) = (secure(https, name, &page), plain(http, name, &page));
                let mut seen = seeing.lock().unwrap_or_else(PoisonError::into_inner);
                seen.visits += 2;
                match secure {
                    Ok(shown) if *name == names[0] && seen.certificates.last() != Some(&shown) => {
                        seen.certificates.push(shown);
                    }
                    Ok(_) => {}
                    Err(error) => seen.failures.push(format!("{name} by https: {error}")),
                }
                seen.failures.extend(plain.err().map(|error| format!("{name} by http: {error}")));
                drop(seen);
                thread::sleep(PAUSE);
            }
        });
        Self { stop, seen, names: number, thread: Some(thread) }
    }

    /// Lets him go. Everything was as it should be; returns the certificates that he was shown.
    pub(super) fn pleased(mut self) -> Vec<Shown> {
        let visits = || self.seen.lock().unwrap_or_else(PoisonError::into_inner).visits;
        // Those that are under way may have begun before what was just waited for.
        let enough = visits() + 4 * self.names;
        poll(Connection::DEADLINE, || (visits() >= enough).then_some(())).expect("he comes again");
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().map(JoinHandle::join).transpose().unwrap();
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert!(seen.failures.is_empty() && seen.visits > 0, "{seen:#?}");
        seen.certificates
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

impl Shown {
    /// The first of a chain in PEM.
    pub(super) fn of_pem(pem: &[u8]) -> Self {
        Self(CertificateDer::from_pem_slice(pem).unwrap().to_vec())
    }

    /// Whether it is what is shown where there is no certificate.
    pub(super) fn is_placeholder(&self) -> bool {
        self.contains("Lockgate placeholder")
    }

    /// Whether its text has these words.
    pub(super) fn contains(&self, words: &str) -> bool {
        self.0.windows(words.len()).any(|window| window == words.as_bytes())
    }
}

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Version, then the serial number.
        if self.is_placeholder() { f.write_str("placeholder") } else { write!(f, "{:02x?}", &self.0[13..24]) }
    }
}

/// The certificate for a name.
pub(super) fn look(https: SocketAddr, name: &str) -> io::Result<Shown> {
    let mut tls = open(https, name)?;
    tls.conn.complete_io(&mut tls.sock)?;
    shown(&tls)
}

fn secure(https: SocketAddr, name: &str, page: &[u8]) -> io::Result<Shown> {
    let mut tls = open(https, name)?;
    write!(tls, "GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    tls.read_to_end(&mut answer)?;
    if !answer.starts_with(b"HTTP/1.1 200 ") || !answer.ends_with(page) {
        return Err(io::Error::other(String::from_utf8_lossy(&answer)));
    }
    shown(&tls)
}

fn plain(http: SocketAddr, name: &str, page: &[u8]) -> io::Result<()> {
    let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    let response = Connection::open(http)?.exchange(request)?;
    let is_good = response.status == 200 && response.body == page;
    if is_good { Ok(()) } else { Err(io::Error::other(format!("{response:?}"))) }
}

fn open(https: SocketAddr, name: &str) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let stream = TcpStream::connect_timeout(&https, Connection::DEADLINE)?;
    stream.set_read_timeout(Some(Connection::DEADLINE))?;
    let provider: Arc<CryptoProvider> = ring::default_provider().into();
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let config = config.map_err(io::Error::other)?.dangerous().with_custom_certificate_verifier(anyone(&provider));
    let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
    let connection = ClientConnection::new(Arc::new(config.with_no_client_auth()), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(connection, stream))
}

fn shown(tls: &StreamOwned<ClientConnection, TcpStream>) -> io::Result<Shown> {
    let first = tls.conn.peer_certificates().and_then(|chain| chain.first());
    first.map(|certificate| Shown(certificate.to_vec())).ok_or_else(|| io::Error::other("no certificate"))
}

/// Other people want the machine, too.
const PAUSE: Duration = Duration::from_millis(20);
