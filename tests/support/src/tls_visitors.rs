//! Visitors of a site who come over TLS, and check who they are talking to as well as everything they are given.

mod client;
mod curl;
mod sightings;
mod trust;
mod visitor;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{Place, Site, StartError};
use sightings::Sightings;
use trust::Believed;
use visitor::Visitor;

pub use sightings::Sighting;
pub use trust::{Trust, anyone};

/// Visitors at work. Each does one kind of errand over and over, at one name of the site after the other: reading the page on
/// a kept connection, on a new one with a whole handshake, on a new one by taking up a session again, over HTTP/2; posting;
/// downloading the large file; or only looking at the certificate that is shown. Half of them come by IPv4, half by IPv6, and
/// all by TLS 1.2 and 1.3 in turn.
///
/// Every chain is verified, unless they believe [`Trust::Anyone`]. A connection may end only with the alert that says so, and
/// not while a request is on its way.
#[derive(Debug)]
pub struct TlsVisitors {
    workers: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

/// What visitors saw.
#[derive(Clone, Debug, Default)]
pub struct TlsReport {
    /// Handshakes that were made and judged.
    pub handshakes: u64,
    /// Those of them that took up a session.
    pub resumed: u64,
    /// Those of them that failed.
    pub failed_handshakes: u64,
    /// The time within which 99 of 100 handshakes were done, those by curl apart.
    pub p99: Duration,
    /// Requests that were made and judged.
    pub requests: u64,
    /// Those of them over HTTP/2.
    pub over_http2: u64,
    /// Those of them whose answer was not exactly right.
    pub failed: u64,
    /// The first reasons, of both kinds of failures.
    pub reasons: Vec<String>,
    /// Kept connections that the server had closed, as it may, before the next request was sent.
    pub reopened: u64,
    /// Handshakes by IPv4 and by IPv6.
    pub by_family: [u64; 2],
    /// Handshakes by the name that was asked for.
    pub by_name: BTreeMap<String, u64>,
    /// Every certificate that was shown.
    pub sightings: Vec<Sighting>,
}

#[derive(Debug)]
struct Shared {
    site: Site,
    names: Vec<String>,
    believed: Believed,
    place: Place,
    stop: AtomicBool,
    requests: AtomicU64,
    /// The place among the names of the one that is looked at most.
    watched: AtomicUsize,
    tally: Mutex<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    report: TlsReport,
    shaking: Vec<Duration>,
    sightings: Sightings,
}

impl TlsVisitors {
    /// Starts `workers` visitors (a multiple of 14 is a good mix) in a place. Every one of these names is the site's.
    ///
    /// # Errors
    /// What they trust cannot be read or written.
    pub fn start(
        place: &Place,
        site: &Site,
        names: &[String],
        trust: Trust<'_>,
        workers: usize,
    ) -> Result<Self, StartError> {
        let believed = Believed::read(trust).map_err(StartError::prepare("the roots of visitors"))?;
        let shared = Arc::new(Shared {
            site: site.clone(),
            names: names.to_vec(),
            believed,
            place: place.clone(),
            stop: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            watched: AtomicUsize::new(usize::MAX),
            tally: Mutex::default(),
        });
        let worker = |number| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || match shared.place.move_thread() {
                Ok(()) => Visitor::new(&shared, number).work(),
                Err(error) => shared.judge(1, Err(format!("no place: {error}"))),
            })
        };
        Ok(Self { workers: (0..workers).map(worker).collect(), shared: Arc::clone(&shared) })
    }

    /// Lets every other look from now on be at this name, where another certificate is about to be shown.
    pub fn watch(&self, name: &str) {
        let place = self.shared.names.iter().position(|known| known == name);
        self.shared.watched.store(place.unwrap_or(usize::MAX), Ordering::SeqCst);
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

    /// What they saw so far.
    #[must_use]
    pub fn report(&self) -> TlsReport {
        let mut tally = self.shared.lock();
        tally.shaking.sort_unstable();
        let p99 = tally.shaking.get(tally.shaking.len() * 99 / 100).copied().unwrap_or_default();
        TlsReport { p99, sightings: tally.sightings.all(), ..tally.report.clone() }
    }

    /// Lets every visitor finish what it is doing, and reports.
    #[must_use]
    pub fn stop(mut self) -> TlsReport {
        self.shared.stop.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            if worker.join().is_err() {
                self.shared.judge(1, Err("a visitor panicked".to_owned()));
            }
        }
        self.report()
    }
}

impl Drop for TlsVisitors {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
    }
}

impl Shared {
    fn judge(&self, requests: u64, result: Result<(), String>) {
        self.requests.fetch_add(requests, Ordering::SeqCst);
        let mut tally = self.lock();
        tally.report.requests += requests;
        if let Err(reason) = result {
            tally.report.failed += 1;
            tally.fail(reason);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn shaken(&mut self, address: SocketAddr, name: &str, resumed: bool) {
        self.report.handshakes += 1;
        self.report.resumed += u64::from(resumed);
        self.report.by_family[usize::from(matches!(address.ip(), IpAddr::V6(_)))] += 1;
        *self.report.by_name.entry(name.to_owned()).or_default() += 1;
    }

    fn fail(&mut self, reason: String) {
        if self.report.reasons.len() < 20 {
            self.report.reasons.push(reason);
        }
    }
}

#[cfg(test)]
mod tests;
