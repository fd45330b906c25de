//! Visitors of a site who check everything they are given.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{Connection, Place, Response, Site, site::SERVED_AT};

/// Visitors at work. Each does one kind of errand over and over: reading the page on a kept connection, reading it on a new
/// connection each time, posting, or downloading the large file; half of them by IPv4, half by IPv6.
#[derive(Debug)]
pub struct Visitors {
    workers: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

/// When a request was made, in relation to what the test does to the site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before anything happened.
    Before,
    /// While it happens.
    During,
    /// Afterwards.
    After,
}

/// What visitors saw.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Requests that were made and judged.
    pub requests: u64,
    /// Requests whose answer was not exactly right.
    pub failed: u64,
    /// The first reasons.
    pub reasons: Vec<String>,
    /// Requests by IPv4 and by IPv6.
    pub by_family: [u64; 2],
    /// Requests made in each phase.
    pub in_phase: [u64; 3],
    /// The time within which 99 of 100 small requests of each phase were answered.
    pub p99: [Duration; 3],
    /// Kept connections that the server had closed, as it may, before the next request was sent.
    pub reopened: u64,
}

#[derive(Debug)]
struct Shared {
    site: Site,
    place: Place,
    stop: AtomicBool,
    phase: AtomicU8,
    requests: AtomicU64,
    tally: Mutex<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    report: Report,
    latencies: [Vec<Duration>; 3],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Errand {
    Kept,
    Single,
    Post,
    Download,
}

impl Visitors {
    /// Starts `workers` visitors (a multiple of 8 is a good mix) in a place.
    #[must_use]
    pub fn start(place: &Place, site: &Site, workers: usize) -> Self {
        let shared = Arc::new(Shared {
            site: site.clone(),
            place: place.clone(),
            stop: AtomicBool::new(false),
            phase: AtomicU8::new(0),
            requests: AtomicU64::new(0),
            tally: Mutex::default(),
        });
        let errands = [Errand::Kept, Errand::Single, Errand::Post, Errand::Kept];
        let workers = (0..workers).map(|number| {
            let shared = Arc::clone(&shared);
            let address = shared.site.addresses[number % shared.site.addresses.len()];
            let errand = if number % 8 >= 6 { Errand::Download } else { errands[number / 2 % 4] };
            thread::spawn(move || {
                if let Err(error) = shared.place.move_thread() {
                    shared.judge(address, Phase::Before, Duration::ZERO, false, Err(format!("no place: {error}")));
                    return;
                }
                shared.work(address, errand);
            })
        });
        Self { workers: workers.collect(), shared: Arc::clone(&shared) }
    }

    /// From now on requests belong to this phase.
    pub fn enter(&self, phase: Phase) {
        self.shared.phase.store(phase as u8, Ordering::SeqCst);
    }

    /// Requests so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Waits until there were so many requests, or `within` is over.
    pub fn wait_for(&self, requests: u64, within: Duration) -> bool {
        crate::poll(within, || (self.requests() >= requests).then_some(())).is_some()
    }

    /// Lets every visitor finish what it is doing, and reports.
    #[must_use]
    pub fn stop(mut self) -> Report {
        self.shared.stop.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                self.shared.lock().report.reasons.push("a visitor panicked".to_owned());
                self.shared.lock().report.failed += 1;
            }
        }
        let mut tally = self.shared.lock();
        for phase in 0..3 {
            let latencies = &mut tally.latencies[phase];
            latencies.sort_unstable();
            let at = (latencies.len() * 99 / 100).min(latencies.len().saturating_sub(1));
            let p99 = latencies.get(at).copied().unwrap_or_default();
            tally.report.p99[phase] = p99;
        }
        tally.report.clone()
    }
}

impl Drop for Visitors {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn work(&self, address: SocketAddr, errand: Errand) {
        let mut connection = None;
        let mut number: u64 = 0;
        while !self.stop.load(Ordering::SeqCst) {
            number += 1;
            let phase = self.phase();
            let started = Instant::now();
            let result = self.errand(address, errand, number, &mut connection);
            if result.is_err() {
                connection = None;
            }
            self.judge(address, phase, started.elapsed(), errand == Errand::Download, result);
            // Visitors read what they got; a machine with two cores must have time for the rest of the world.
            thread::sleep(PAUSE);
        }
    }

    /// Makes one request and checks everything about its answer.
    fn errand(
        &self,
        address: SocketAddr,
        errand: Errand,
        number: u64,
        connection: &mut Option<Connection>,
    ) -> Result<(), String> {
        let site = &self.site;
        let close = if errand == Errand::Single { "Connection: close\r\n" } else { "" };
        let posted = format!("visitor {number} {}", "x".repeat(usize::try_from(number % 3000).unwrap_or(0)));
        let (request, expected): (String, &[u8]) = match errand {
            Errand::Kept | Errand::Single => {
                (format!("GET {} HTTP/1.1\r\nHost: {}\r\n{close}\r\n", site.page.0, site.host), &site.page.1)
            }
            Errand::Download => (format!("GET {} HTTP/1.1\r\nHost: {}\r\n\r\n", site.download.0, site.host), &site.download.1),
            Errand::Post => (
                format!("POST {} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n{posted}", site.echo, site.host, posted.len()),
                posted.as_bytes(),
            ),
        };
        let mut reused = connection.take();
        if let Some(kept) = &reused
            && is_closed(kept.stream())
        {
            // It said keep-alive, and closed while nothing was under way: its right (RFC 9112 §9.5), and no loss.
            reused = None;
            self.lock().report.reopened += 1;
        }
        let mut used = match reused {
            Some(kept) => kept,
            None => {
                let stream = TcpStream::connect_timeout(&address, Connection::DEADLINE).map_err(|error| format!("connect: {error}"))?;
                Connection::over(stream).map_err(|error| format!("connect: {error}"))?
            }
        };
        let response = used.exchange(&request).map_err(|error| format!("{errand:?}: {error} ({:?})", error.kind()))?;
        self.check(address, &response, expected).map_err(|reason| format!("{errand:?}: {reason}"))?;
        let closes = response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if errand != Errand::Single && !closes {
            *connection = Some(used);
        }
        Ok(())
    }

    fn check(&self, address: SocketAddr, response: &Response, expected: &[u8]) -> Result<(), String> {
        if response.status != 200 {
            return Err(format!("status {}", response.status));
        }
        if response.body != expected {
            return Err(format!("a body of {} bytes instead of {}, or another one", response.body.len(), expected.len()));
        }
        if self.site.served_at {
            let at = response.header(SERVED_AT).and_then(|at| at.parse::<IpAddr>().ok());
            if at != Some(address.ip()) {
                return Err(format!("dialled {address}, served at {at:?}"));
            }
        }
        Ok(())
    }

    fn judge(&self, address: SocketAddr, phase: Phase, took: Duration, large: bool, result: Result<(), String>) {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let mut tally = self.lock();
        let report = &mut tally.report;
        report.requests += 1;
        report.by_family[usize::from(matches!(address.ip(), IpAddr::V6(_)))] += 1;
        report.in_phase[phase as usize] += 1;
        if let Err(reason) = result {
            report.failed += 1;
            if report.reasons.len() < 20 {
                report.reasons.push(format!("{phase:?} {address}: {reason}"));
            }
        }
        if !large {
            tally.latencies[phase as usize].push(took);
        }
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Before,
            1 => Phase::During,
            _ => Phase::After,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the peer has closed a connection on which nothing is under way.
fn is_closed(stream: &TcpStream) -> bool {
    let peeked = stream.set_nonblocking(true).and_then(|()| {
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false)?;
        peeked
    });
    match peeked {
        Ok(0) => true,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        // Bytes that nobody asked for: the next exchange will show what they are.
        Ok(_) => false,
    }
}

const PAUSE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Nginx, Origin};

    #[test]
    fn a_good_site_pleases_every_visitor() {
        let nginx = Nginx::start_at(&Place::Loopback, 0).unwrap();
        let visitors = Visitors::start(&Place::Loopback, &nginx.site(), 8);
        assert!(visitors.wait_for(300, Duration::from_secs(30)));
        let report = visitors.stop();
        assert_eq!(report.failed, 0, "{:?}", report.reasons);
        assert!(report.by_family.iter().all(|count| *count > 0));
    }

    /// The checker must be able to fail: each of these sites is wrong in one way.
    #[test]
    fn a_wrong_site_is_noticed() {
        let origin = Origin::start().unwrap();
        let wrong: [(&str, fn(&mut Site)); 6] = [
            ("another one", |site| site.page.1 = b"other"[..].into()),
            ("status 404", |site| site.page.0 = "/missing".to_owned()),
            ("UnexpectedEof", |site| site.page.0 = "/cut".to_owned()),
            ("ConnectionAborted", |site| site.page.0 = "/drop".to_owned()),
            ("InvalidData", |site| site.page.0 = "/not-http".to_owned()),
            ("served at", |site| site.page.0 = "/chunked".to_owned()),
        ];
        for (expected, spoil) in wrong {
            let mut site = origin.site();
            spoil(&mut site);
            if expected == "served at" {
                site.page.1 = b"hello world"[..].into();
            }
            let visitors = Visitors::start(&Place::Loopback, &site, 2);
            visitors.wait_for(4, Duration::from_secs(30));
            let report = visitors.stop();
            assert!(report.reasons.iter().any(|reason| reason.contains(expected)), "{expected}: {:?}", report.reasons);
        }
    }
}
