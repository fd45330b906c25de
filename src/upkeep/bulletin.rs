//! What is known about each certificate, as numbers for those who watch.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use plugin_api::{Meter, Reading};

/// The state of all certificates; it outlives a reload.
#[derive(Debug, Default)]
pub(crate) struct Bulletin(Mutex<BTreeMap<String, Entry>>);

#[derive(Debug, Default)]
struct Entry {
    /// When the one that is shown expires; `None` while there is only a placeholder.
    not_after: Option<SystemTime>,
    last_attempt: Option<SystemTime>,
    /// Attempts by what came of them.
    attempts: BTreeMap<&'static str, u64>,
}

impl Bulletin {
    /// Keeps only these certificates.
    pub(super) fn keep(&self, names: &[&str]) {
        self.entries().retain(|name, _| names.contains(&name.as_str()));
    }

    /// This is what is shown for a certificate now.
    pub(super) fn shows(&self, name: &str, not_after: Option<SystemTime>) {
        self.entries().entry(name.to_owned()).or_default().not_after = not_after;
    }

    /// An attempt came to this.
    pub(super) fn tried(&self, name: &str, result: &'static str, now: SystemTime) {
        let mut entries = self.entries();
        let entry = entries.entry(name.to_owned()).or_default();
        entry.last_attempt = Some(now);
        *entry.attempts.entry(result).or_default() += 1;
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn readings_at(&self, now: SystemTime) -> Vec<Reading> {
        let entries = self.entries();
        let of = |name: &String| vec![("certificate", name.clone())];
        let mut all = Vec::new();
        for (name, entry) in entries.iter() {
            // A name without a certificate is one whose certificate is long gone, for whoever is to be woken up by it.
            let seconds = entry.not_after.map_or(i64::MIN, |not_after| seconds_until(not_after, now));
            let days = if seconds == i64::MIN { -1 } else { seconds.div_euclid(86_400) };
            all.push(Reading::labelled("lockgate_certificate_days_left", of(name), days).with_help(DAYS_LEFT));
        }
        for (name, entry) in entries.iter() {
            let at = entry.not_after.map_or(0, |at| seconds_until(at, SystemTime::UNIX_EPOCH));
            all.push(Reading::labelled("lockgate_certificate_not_after_seconds", of(name), at).with_help(NOT_AFTER));
        }
        for (name, entry) in entries.iter() {
            if let Some(at) = entry.last_attempt {
                let at = seconds_until(at, SystemTime::UNIX_EPOCH);
                all.push(
                    Reading::labelled("lockgate_certificate_last_attempt_seconds", of(name), at)
                        .with_help(LAST_ATTEMPT),
                );
            }
        }
        for (name, entry) in entries.iter() {
            for (result, count) in &entry.attempts {
                let mut labels = of(name);
                labels.push(("result", (*result).to_owned()));
                let count = i64::try_from(*count).unwrap_or(i64::MAX);
                all.push(Reading::labelled("lockgate_certificate_attempts_total", labels, count).with_help(ATTEMPTS));
            }
        }
        all
    }
}

const DAYS_LEFT: &str = "Whole days until the certificate that is shown expires; -1 for expired and for a placeholder.";
const NOT_AFTER: &str = "When the certificate that is shown expires, in seconds since 1970; 0 for a placeholder.";
const LAST_ATTEMPT: &str = "When a new certificate was last asked for, in seconds since 1970.";
const ATTEMPTS: &str = "Attempts to get a new certificate since the start, by their result.";

impl Meter for Bulletin {
    fn readings(&self) -> Vec<Reading> {
        self.readings_at(SystemTime::now())
    }
}

fn seconds_until(moment: SystemTime, from: SystemTime) -> i64 {
    let whole = |time: std::time::Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match moment.duration_since(from) {
        Ok(time) => whole(time),
        Err(error) => -whole(error.duration()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn days_and_attempts_are_told_for_each_certificate() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let bulletin = Bulletin::default();
        bulletin.shows("good", Some(now + Duration::from_secs(3 * 86_400 + 5)));
        bulletin.shows("expired", Some(now - Duration::from_secs(10)));
        bulletin.shows("missing", None);
        bulletin.tried("good", "issued", now);
        bulletin.tried("good", "issued", now);
        bulletin.tried("good", "network", now);
        let told = bulletin.readings_at(now);
        let value = |name: &str, certificate: &str| {
            let is_it = |reading: &&Reading| reading.name == name && reading.labels[0].1 == certificate;
            told.iter().filter(is_it).map(|reading| reading.value).collect::<Vec<_>>()
        };
        assert_eq!(value("lockgate_certificate_days_left", "good"), [3]);
        assert_eq!(value("lockgate_certificate_days_left", "expired"), [-1]);
        assert_eq!(value("lockgate_certificate_days_left", "missing"), [-1]);
        assert_eq!(value("lockgate_certificate_last_attempt_seconds", "good"), [1_000_000]);
        assert_eq!(value("lockgate_certificate_attempts_total", "good"), [2, 1]);
        bulletin.keep(&["missing"]);
        assert!(bulletin.readings_at(now).iter().all(|reading| reading.labels[0].1 == "missing"));
    }
}
