//! Which certificate was shown for which name, and when.

use std::{collections::BTreeMap, fmt, time::Instant};

/// A certificate that was shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The name that was asked for; of several, the last.
    pub name: String,
    /// The certificate.
    pub der: Vec<u8>,
    /// When the first handshake that showed it began, and when it had ended: it was shown no later.
    pub first: [Instant; 2],
    /// When the last handshake that showed it began.
    pub last: Instant,
    /// In how many handshakes.
    pub times: u64,
}

impl fmt::Debug for Sighting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, first, last, times, .. } = self;
        let mut shown = f.debug_struct("Sighting");
        shown.field("name", name).field("first", first).field("last", last).field("times", times);
        shown.finish_non_exhaustive()
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Sightings(BTreeMap<Vec<u8>, Sighting>);

impl Sightings {
    /// Notes a whole handshake that has just ended.
    pub(super) fn see(&mut self, name: &str, der: &[u8], begun: Instant) {
        let now = Instant::now();
        let seen = self.0.entry(der.to_vec()).or_insert_with(|| Sighting {
            name: name.to_owned(),
            der: der.to_vec(),
            first: [begun, now],
            last: begun,
            times: 0,
        });
        seen.last = seen.last.max(begun);
        seen.times += 1;
        if seen.name != name {
            name.clone_into(&mut seen.name);
        }
    }

    pub(super) fn all(&self) -> Vec<Sighting> {
        self.0.values().cloned().collect()
    }
}
