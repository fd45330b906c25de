//! How soon each certificate was shown, and the one before it no more.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use test_support::{Sighting, ca_front::Certificate};

/// All replacements of one certificate by the next.
#[derive(Debug, Default)]
pub(crate) struct Swaps {
    seen: Vec<Swap>,
    /// New certificates that no visitor has seen.
    unseen: Vec<String>,
    /// Certificates that were shown for another name.
    strange: Vec<String>,
}

/// A replacement; times are counted from when the new certificate was handed out.
#[derive(Debug)]
struct Swap {
    #[expect(dead_code, reason = "for who reads why a test failed")]
    name: String,
    /// Until the first handshake that showed it began, and had ended.
    first: [Duration; 2],
    /// Until the last handshake began that showed the one before; zero when all had ended before.
    last: Duration,
}

impl Swaps {
    /// Compares what was handed out, in order, with what visitors saw. The first certificate of a name replaces nothing.
    pub(crate) fn read(certificates: &[Certificate], sightings: &[Sighting]) -> Self {
        let shown: BTreeMap<_, _> = sightings.iter().map(|sighting| (sighting.der.as_slice(), sighting)).collect();
        let shown = |certificate: &Certificate| shown.get(certificate.der.as_slice()).copied();
        let mut swaps = Self::default();
        let mut current: BTreeMap<&str, &Certificate> = BTreeMap::new();
        for certificate in certificates {
            let name = certificate.names[0].as_str();
            let Some(before) = current.insert(name, certificate) else { continue };
            let after = |moment: Instant| moment.saturating_duration_since(certificate.fetched);
            match shown(certificate) {
                Some(sighting) if !certificate.names.contains(&sighting.name) => {
                    swaps.strange.push(sighting.name.clone())
                }
                Some(sighting) => swaps.seen.push(Swap {
                    name: name.to_owned(),
                    first: sighting.first.map(after),
                    last: shown(before).map_or(Duration::ZERO, |before| after(before.last)),
                }),
                None => swaps.unseen.push(name.to_owned()),
            }
        }
        swaps
    }

    /// Whoever came later than a second after a certificate was handed out was shown this one.
    pub(crate) fn assert_in_time(&self, output: &str) {
        self.assert_within(AT_ONCE, output);
    }

    /// The same for another time than a second.
    pub(crate) fn assert_within(&self, limit: Duration, output: &str) {
        assert!(self.unseen.is_empty(), "never shown: {:?}\n{output}", self.unseen);
        assert!(self.strange.is_empty(), "shown for another name: {:?}\n{output}", self.strange);
        let late: Vec<_> = self.seen.iter().filter(|swap| swap.last > limit).collect();
        assert!(late.is_empty(), "shown too late: {late:?}\n{output}");
        // It says little where nobody came in time; on a busy machine a handshake may take long.
        let in_time = self.seen.iter().filter(|swap| swap.first[1] <= limit).count();
        assert!(in_time * 10 >= self.seen.len() * 9, "seldom looked at: {:?}\n{output}", self.seen);
    }
}

/// Whether the newest certificate of every name has been seen.
pub(crate) fn are_all_seen(certificates: &[Certificate], sightings: &[Sighting]) -> bool {
    let newest: BTreeMap<_, _> = certificates.iter().map(|one| (one.names.as_slice(), one.der.as_slice())).collect();
    newest.values().all(|der| sightings.iter().any(|sighting| sighting.der == *der))
}

impl fmt::Display for Swaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first: Vec<_> = self.seen.iter().map(|swap| swap.first[1]).collect();
        first.sort_unstable();
        let last = self.seen.iter().map(|swap| swap.last).max();
        let at = |index: usize| first.get(index).copied().unwrap_or_default();
        let (middle, slowest) = (at(first.len() / 2), at(first.len().saturating_sub(1)));
        let last = last.unwrap_or_default();
        write!(f, "new certificates seen after {middle:?}, at most {slowest:?}; old ones until {last:?} at most")
    }
}

const AT_ONCE: Duration = Duration::from_secs(1);
