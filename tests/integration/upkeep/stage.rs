//! An authority, an application, and all that a site needs which outlives the process.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde_json::Value;
use tempfile::TempDir;
use test_support::{
    CaFront, Clock, Origin, Pebble, PebbleFeatures, Place, Reservation,
    ca_front::{Endpoint, Outcome},
    poll, scratch_dir,
};

use super::{DAY, DEADLINE, Running, Shown, Site, certificate};

/// An authority, an application, and all that a site needs which outlives the process.
pub(super) struct Stage {
    pub(super) front: CaFront,
    pub(super) pebble: Pebble,
    pub(super) origin: Origin,
    pub(super) clock: Clock,
    /// Where visitors come by http, and the authority; and by https.
    pub(super) doors: [Reservation; 2],
    directory: TempDir,
}

impl Stage {
    pub(super) fn new() -> Self {
        let doors = [(); 2].map(|()| Place::Loopback.reserve(Ipv4Addr::LOCALHOST, 0).unwrap());
        let pebble = Pebble::featuring(doors[0].port(), &PebbleFeatures::default()).unwrap();
        let (front, clock) = (CaFront::start(&pebble).unwrap(), Clock::new().unwrap());
        let directory = scratch_dir().unwrap();
        fs::create_dir(directory.path().join("www")).unwrap();
        Self { front, pebble, origin: Origin::start().unwrap(), clock, doors, directory }
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A site with these certificates (tables of the file).
    pub(super) fn site(&self, certificates: &str) -> Site<'_> {
        Site {
            stage: self,
            certificates: certificates.to_owned(),
            directory: self.front.directory_url(),
            ca: self.front.ca_file(),
            acme: String::new(),
            routes: String::new(),
            storage: self.file("storage"),
            www: self.file("www"),
        }
    }

    /// A site with one certificate, for one name.
    pub(super) fn simple(&self) -> Site<'_> {
        self.site(&certificate(&["site.example"]))
    }

    /// Lets certificates be due two days after they were issued, and every two days from then on.
    pub(super) fn want_renewals(&self) {
        self.front.set_window(SystemTime::now() - 2 * DAY, SystemTime::now() - DAY);
    }

    /// Lets the certificate that was fetched last be due two days after that.
    pub(super) fn want_renewal_of_the_last(&self) {
        let certificates = self.front.certificates();
        let id = &certificates.last().expect("one was fetched").id;
        self.front.set_window_of(id, SystemTime::now() - 2 * DAY, SystemTime::now() - DAY);
    }

    /// Whether a request to this endpoint hangs.
    pub(super) fn hangs_at(&self, endpoint: Endpoint) -> bool {
        self.front.journal().of(endpoint).any(|exchange| exchange.outcome == Outcome::Open)
    }

    /// Waits until one does.
    pub(super) fn wait_at(&self, endpoint: Endpoint, running: &Running<'_>) {
        poll(DEADLINE, || self.hangs_at(endpoint).then_some(()))
            .unwrap_or_else(|| panic!("{endpoint:?} is not asked: {}", running.output()));
    }

    /// How often the authority was asked for anything.
    pub(super) fn asked(&self) -> usize {
        self.front.journal().exchanges().len()
    }

    /// What is left of challenges.
    pub(super) fn tokens(&self) -> Vec<PathBuf> {
        let below = |www: &str| fs::read_dir(self.file(www).join(".well-known/acme-challenge"));
        ["www", "www-2"].into_iter().flat_map(below).flatten().flatten().map(|entry| entry.path()).collect()
    }
}

/// The current certificate of a lineage.
pub(super) fn stored(storage: &Path, name: &str) -> Option<Shown> {
    let pem = fs::read(storage.join("live").join(name).join("cert.pem")).ok()?;
    Some(Shown::of_pem(&pem))
}

/// What is remembered about a certificate.
pub(super) fn record(storage: &Path, name: &str) -> Value {
    serde_json::from_slice(&fs::read(storage.join("lockgate").join(format!("{name}.json"))).unwrap()).unwrap()
}
