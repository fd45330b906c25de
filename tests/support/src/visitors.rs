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

use crate::{
    Connection, Place, Site,
    site::{Question, Wish},
};

/// Visitors at work. Each does one kind of errand over and over: reading the page on a kept connection, reading it on a new
/// connection each time, posting, or downloading the large file, one of two slowly; half of them by IPv4, half by IPv6.
///
/// A kept connection may end between two requests only by a proper close (then it is [`Report::reopened`]); a reset is a
/// failure at any time, and so is a close once a request is on its way.
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
    /// Requests that were under way when a phase ended: `Before`, `During`.
    pub spanning: [u64; 2],
}

#[derive(Debug)]
struct Shared {
    site: Site,
    place: Place,
    pause: Duration,
    stop: AtomicBool,
    phase: AtomicU8,
    requests: AtomicU64,
    failed: AtomicU64,
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
    SlowDownload,
}

impl Visitors {
    /// Starts `workers` visitors (a multiple of 8 is a good mix) in a place.
    #[must_use]
    pub fn start(place: &Place, site: &Site, workers: usize) -> Self {
        Self::with_pause(place, site, workers, PAUSE)
    }

    /// The same, each with this pause between two requests: where they come for minutes, and others want the machine too.
    #[must_use]
    pub fn with_pause(place: &Place, site: &Site, workers: usize, pause: Duration) -> Self {
        let shared = Arc::new(Shared {
            site: site.clone(),
            place: place.clone(),
            pause,
            stop: AtomicBool::new(false),
            phase: AtomicU8::new(0),
            requests: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            tally: Mutex::default(),
        });
        let errands = [Errand::Kept, Errand::Single, Errand::Post, Errand::Kept];
        let workers = (0..workers).map(|number| {
            let shared = Arc::clone(&shared);
            let address = shared.site.addresses[number % shared.site.addresses.len()];
            let errand = match (number % 16, number % 8) {
                (6 | 7, _) => Errand::SlowDownload,
                (_, 6 | 7) => Errand::Download,
                _ => errands[number / 2 % 4],
            };
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

    /// Failures so far.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.shared.failed.load(Ordering::SeqCst)
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
            let large = matches!(errand, Errand::Download | Errand::SlowDownload);
            self.judge(address, phase, started.elapsed(), large, result);
            // Visitors read what they got; a machine with two cores must have time for the rest of the world.
            thread::sleep(self.pause);
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
        let wish = match errand {
            Errand::Kept => Wish::Page,
            Errand::Single => Wish::LastPage,
            Errand::Post => Wish::Echo(number),
            Errand::Download | Errand::SlowDownload => Wish::Download,
        };
        let question = Question::new(&self.site, &self.site.host, wish);
        let mut reused = connection.take();
        if let Some(kept) = &reused
            && is_closed(kept.stream()).map_err(|error| format!("{errand:?}, idle: {error} ({:?})", error.kind()))?
        {
            // It said keep-alive, and closed while nothing was under way: its right (RFC 9112 §9.5), and no loss.
            reused = None;
            self.lock().report.reopened += 1;
        }
        let mut used = match reused {
            Some(kept) => kept,
            None => {
                let stream = TcpStream::connect_timeout(&address, Connection::DEADLINE)
                    .map_err(|error| format!("connect: {error}"))?;
                Connection::over(stream).map_err(|error| format!("connect: {error}"))?
            }
        };
        if errand == Errand::SlowDownload {
            used.slow_down(SLOW);
        }
        let response =
            used.exchange(&question.text).map_err(|error| format!("{errand:?}: {error} ({:?})", error.kind()))?;
        question.judge(address, &response).map_err(|reason| format!("{errand:?}: {reason}"))?;
        let closes = response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if errand != Errand::Single && !closes {
            *connection = Some(used);
        }
        Ok(())
    }

    fn judge(&self, address: SocketAddr, phase: Phase, took: Duration, large: bool, result: Result<(), String>) {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let mut tally = self.lock();
        let report = &mut tally.report;
        report.requests += 1;
        for ended in phase as usize..self.phase() as usize {
            report.spanning[ended] += 1;
        }
        report.by_family[usize::from(matches!(address.ip(), IpAddr::V6(_)))] += 1;
        report.in_phase[phase as usize] += 1;
        if let Err(reason) = result {
            report.failed += 1;
            self.failed.fetch_add(1, Ordering::SeqCst);
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

/// Whether the peer has properly closed a connection on which nothing is under way. A reset is an error.
fn is_closed(stream: &TcpStream) -> io::Result<bool> {
    stream.set_nonblocking(true)?;
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false)?;
    match peeked {
        Ok(0) => Ok(true),
        // Bytes that nobody asked for: the next exchange will show what they are.
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

/// Between two reads of a slow visitor: the large file takes a few seconds.
const SLOW: Duration = Duration::from_millis(4);

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
        type Spoil = fn(&mut Site);
        let origin = Origin::start().unwrap();
        let wrong: [(&str, Spoil); 9] = [
            ("another one", |site| site.page.1 = b"other"[..].into()),
            ("status 404", |site| site.page.0 = "/missing".to_owned()),
            ("UnexpectedEof", |site| site.page.0 = "/cut".to_owned()),
            ("ConnectionReset", |site| site.page.0 = "/reset".to_owned()),
            ("idle: Connection reset", |site| site.page.0 = "/reset-idle".to_owned()),
            ("ConnectionAborted", |site| site.page.0 = "/drop".to_owned()),
            ("InvalidData", |site| site.page.0 = "/not-http".to_owned()),
            ("to None", |site| site.over_tls = true),
            ("served at", |site| site.page.0 = "/chunked".to_owned()),
        ];
        for (expected, spoil) in wrong {
            let mut site = origin.site();
            spoil(&mut site);
            if expected == "served at" {
                site.page.1 = b"hello world"[..].into();
            }
            let visitors = Visitors::start(&Place::Loopback, &site, 2);
            visitors.wait_for(24, Duration::from_secs(30));
            let report = visitors.stop();
            assert!(report.reasons.iter().any(|reason| reason.contains(expected)), "{expected}: {:?}", report.reasons);
        }
    }

    #[test]
    fn a_wrong_download_and_a_wrong_echo_are_noticed() {
        let origin = Origin::start().unwrap();
        let mut site = origin.site();
        site.download.0 = "/cut".to_owned();
        site.echo = "/head".to_owned();
        let visitors = Visitors::start(&Place::Loopback, &site, 8);
        assert!(visitors.wait_for(100, Duration::from_secs(30)));
        let report = visitors.stop();
        for expected in ["SlowDownload: the peer closed", "Post: a body of"] {
            assert!(report.reasons.iter().any(|reason| reason.contains(expected)), "{expected}: {:?}", report.reasons);
        }
        assert!(!report.reasons.iter().any(|reason| reason.contains("Kept") || reason.contains("Single")));
    }

    #[test]
    fn a_slow_download_spans_the_phases() {
        let nginx = Nginx::start_at(&Place::Loopback, 0).unwrap();
        let visitors = Visitors::start(&Place::Loopback, &nginx.site(), 8);
        assert!(visitors.wait_for(300, Duration::from_secs(30)));
        visitors.enter(Phase::During);
        assert!(visitors.wait_for(visitors.requests() + 300, Duration::from_secs(30)));
        visitors.enter(Phase::After);
        let report = visitors.stop();
        assert_eq!(report.failed, 0, "{:?}", report.reasons);
        assert!(report.spanning.iter().all(|count| *count > 0), "{:?}", report.spanning);
    }
}
