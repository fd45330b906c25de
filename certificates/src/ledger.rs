//! What is remembered about a certificate between attempts, also across restarts.
//!
//! One file for each, `lockgate/NAME.json` below the storage directory; certbot does not look there. Nothing in it is needed
//! to serve: a file that is missing or damaged means that nothing is known, which costs at most an early attempt.

use std::{collections::BTreeMap, fs, io, path::PathBuf, time::SystemTime};

use authenticator_api::DomainName;
use serde::{Deserialize, Serialize};

use crate::{
    Blame, ChallengeFailure, Lineage, Names, ObtainError, Store, StoreError, moment,
    schedule::{self, Attempts, Plan, Situation, Suggestions},
};

/// What is remembered about one certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The names that are wanted.
    names: Vec<String>,
    /// Decides the jitter; drawn once.
    seed: u64,
    /// What the authority suggests.
    pub suggestions: Suggestions,
    /// Attempts for the certificate as a whole.
    pub attempts: Attempts,
    /// Attempts to prove single names, where the last one failed.
    domains: BTreeMap<String, Refused>,
    /// Authorities, by directory URL, that do not want to be asked before a moment.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    busy: BTreeMap<String, Moment>,
    /// What came of the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Outcome>,
    /// An attempt that has not come to an end.
    #[serde(with = "moment::optional", skip_serializing_if = "Option::is_none")]
    begun: Option<SystemTime>,
}

/// A name that could not be proven, or that the authority does not want.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// When it may be tried again.
    pub attempts: Attempts,
    /// The problem type (RFC 8555 §6.7), without its common beginning.
    pub kind: String,
    /// What the authority says.
    pub detail: String,
}

/// A moment of its own, so that it can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Moment(#[serde(with = "moment")] SystemTime);

impl Refused {
    /// A page that a person should open, as for [`Outcome::link`].
    pub fn link(&self) -> Option<&str> {
        crate::retry_after::link(&self.detail)
    }
}

impl ChallengeFailure {
    /// The same.
    pub fn link(&self) -> Option<&str> {
        crate::retry_after::link(&self.detail)
    }
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// When.
    #[serde(with = "moment")]
    pub at: SystemTime,
    /// Whose fault a failure is; `None` after a success, and after an attempt that never ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blame: Option<Blame>,
    /// What happened, in a sentence; empty after a success.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// A page that a person should open: the explanation of a limit, or the one that wakes a paused account up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

impl Record {
    /// Sets the names that are wanted. Another set begins without failures; a single name keeps its own.
    pub fn want(&mut self, names: &Names) {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        if self.names != names {
            self.attempts = Attempts { issued: self.attempts.issued, ..Attempts::default() };
            self.domains.retain(|name, _| names.contains(name));
            self.names = names;
        }
    }

    /// What to do now about the certificate that is in use.
    pub fn plan(&self, lineage: Option<&Lineage>, force: bool, now: SystemTime) -> Plan {
        schedule::plan(&self.situation(lineage, force, now))
    }

    /// Everything that the schedule needs to know. Whether the issuer is still wanted is not known here.
    pub fn situation(&self, lineage: Option<&Lineage>, force: bool, now: SystemTime) -> Situation<'_> {
        let missing = lineage.and_then(|lineage| {
            let missing = self.names.iter().filter(|name| !lineage.names.iter().any(|has| has.as_str() == **name));
            missing.map(|name| self.name_free_at(name, now)).min()
        });
        let (suggestions, attempts) = (&self.suggestions, &self.attempts);
        let (life, seed, is_foreign) = (lineage.map(Lineage::life), self.seed, false);
        Situation { now, life, missing, suggestions, attempts, seed, is_foreign, force }
    }

    /// When the certificate as a whole may be tried again.
    pub fn free_at(&self, lineage: Option<&Lineage>, now: SystemTime) -> SystemTime {
        self.attempts.free_at(lineage.map(Lineage::life), self.seed, now)
    }

    /// Whether a renewal failed, and is not tried again yet.
    pub fn rests(&self, lineage: &Lineage, now: SystemTime) -> bool {
        self.attempts.failures > 0 && now < self.free_at(Some(lineage), now)
    }

    /// Names that failed and are not to be tried again yet.
    pub fn resting(&self, now: SystemTime) -> Vec<DomainName> {
        let resting = self.domains.keys().filter(|name| self.name_free_at(name, now) > now);
        resting.filter_map(|name| DomainName::parse(name).ok()).collect()
    }

    /// The names that failed when they were tried last, and why.
    pub fn refused(&self) -> impl Iterator<Item = (&str, &Refused)> {
        self.domains.iter().map(|(name, refused)| (name.as_str(), refused))
    }

    /// Notes that an authority failed while another one was left to ask, as
    /// [`Progress::AuthorityFailed`](crate::Progress::AuthorityFailed) tells.
    pub fn authority_failed(&mut self, directory: &str, retry_after: Option<SystemTime>) {
        if let Some(moment) = retry_after {
            self.busy.insert(directory.to_owned(), Moment(moment));
        }
    }

    /// Whether an authority can be asked: it did not say that it wants to be left alone for now.
    pub fn may_ask(&self, directory: &str, now: SystemTime) -> bool {
        self.busy.get(directory).is_none_or(|Moment(until)| *until <= now || now + schedule::LONGEST_REFUSAL < *until)
    }

    /// Takes back what a clock that was ahead has recorded. Returns whether anything changed.
    pub fn settle(&mut self, now: SystemTime) -> bool {
        let mut changed = schedule::settle(&mut self.attempts, &mut self.suggestions, now);
        for refused in self.domains.values_mut() {
            changed |= schedule::settle(&mut refused.attempts, &mut Suggestions::default(), now);
        }
        let known = self.busy.len();
        self.busy.retain(|_, Moment(until)| now < *until && *until <= now + schedule::LONGEST_REFUSAL);
        changed |= known != self.busy.len();
        changed
    }

    /// Notes that an attempt begins; to be saved before it does. Should the process be killed in the middle, the next one
    /// finds a failure: else a crash that the attempt itself causes would spend the authority's limits.
    pub fn begin(&mut self, now: SystemTime) {
        self.begun = Some(now);
    }

    /// Notes that an attempt was given up for a reason that is neither here nor there, such as the end of the process.
    pub fn give_up(&mut self) {
        self.begun = None;
    }

    /// Counts an attempt that began and did not end as a failure.
    fn recover(&mut self) {
        if let Some(begun) = self.begun.take() {
            self.attempts.failed(begun, None);
            let message = "the process ended in the middle of an attempt".to_owned();
            self.last = Some(Outcome { at: begun, blame: None, message, link: None });
        }
    }

    /// Notes that there is a new certificate, for these names. `refused` are those that were tried and failed; what is known
    /// of others that are not in it stays.
    pub fn succeeded(&mut self, names: &Names, refused: &[ChallengeFailure], now: SystemTime) {
        self.begun = None;
        self.attempts.succeeded(now);
        self.domains.retain(|refused, _| !names.iter().any(|name| name.as_str() == refused));
        self.refuse(refused, now);
        self.last = Some(Outcome { at: now, blame: None, message: String::new(), link: None });
    }

    /// Notes that a certificate which is not due could not be completed by the names that are missing in it.
    pub fn still_incomplete(&mut self, refused: &[ChallengeFailure], now: SystemTime) {
        self.begun = None;
        self.refuse(refused, now);
    }

    /// Notes a failure.
    pub fn failed(&mut self, error: &ObtainError, now: SystemTime) {
        self.begun = None;
        self.attempts.failed(now, error.retry_after().or_else(|| self.all_refused_until(error.failures())));
        self.refuse(error.failures(), now);
        let link = error.link().or_else(|| error.failures().iter().find_map(ChallengeFailure::link));
        let (message, link) = (error.sentence(), link.map(str::to_owned));
        self.last = Some(Outcome { at: now, blame: Some(error.blame()), message, link });
    }

    /// When the authority wants to hear of the first of the names again, where it has said so about every one.
    fn all_refused_until(&self, failures: &[ChallengeFailure]) -> Option<SystemTime> {
        let until = |name: &String| {
            let failure = failures.iter().find(|failure| failure.domain == *name)?;
            crate::retry_after::sentence(&failure.detail)
        };
        self.names.iter().map(until).collect::<Option<Vec<_>>>()?.into_iter().min()
    }

    fn refuse(&mut self, failures: &[ChallengeFailure], now: SystemTime) {
        for ChallengeFailure { domain, kind, detail, .. } in failures {
            let mut attempts = self.domains.remove(domain).map(|refused| refused.attempts).unwrap_or_default();
            attempts.failed(now, crate::retry_after::sentence(detail));
            self.domains.insert(domain.clone(), Refused { attempts, kind: kind.clone(), detail: detail.clone() });
        }
    }

    fn name_free_at(&self, name: &str, now: SystemTime) -> SystemTime {
        self.domains.get(name).map_or(now, |refused| refused.attempts.free_at(None, self.seed, now))
    }
}

impl Store {
    /// What is remembered about a certificate; a fresh record where nothing is, or nothing that can be read.
    pub fn record(&self, name: &str) -> Record {
        let path = self.record_file(name);
        if let Some(record) = self.unsaved_record(&path) {
            return record;
        }
        let read = fs::read(&path).and_then(|text| serde_json::from_slice(&text).map_err(io::Error::from));
        match read {
            Ok(record) => {
                let mut record: Record = record;
                record.recover();
                record
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(target: "lockgate::certificates", path = %path.display(), error, "the record of a certificate cannot be read, its schedule begins anew");
                }
                Record { seed: random(), ..Record::default() }
            }
        }
    }

    /// Remembers it.
    ///
    /// # Errors
    ///
    /// The system's, with the path.
    pub fn save_record(&self, name: &str, record: &Record) -> Result<(), StoreError> {
        let path = self.record_file(name);
        let text = serde_json::to_vec_pretty(record);
        let text = text.map_err(|error| StoreError { action: "write", path: path.clone(), source: error.into() })?;
        self.write_own(&path, &text, 0o644)?;
        self.keep_record(&path, None);
        Ok(())
    }

    /// Remembers it, at least for as long as this process lives: what cannot be written must not be tried again and again.
    pub(crate) fn note_record(&self, name: &str, record: &Record) {
        if let Err(error) = self.save_record(name, record) {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(target: "lockgate::certificates", name, error, "the record of a certificate cannot be written, it is kept in memory");
            self.keep_record(&self.record_file(name), Some(record));
        }
    }

    fn record_file(&self, name: &str) -> PathBuf {
        self.own_directory().join(format!("{name}.json"))
    }
}

/// A number that nobody can foresee; for jitter, so a constant does when the system has none.
pub(crate) fn random() -> u64 {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0; 8];
    let _ = ring::rand::SystemRandom::new().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::schedule::Reason;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn names(names: &[&str]) -> Names {
        names.iter().map(|name| DomainName::parse(name).unwrap()).collect()
    }

    fn refusal(domain: &str) -> ChallengeFailure {
        let (kind, detail) = ("dns".to_owned(), "no such name".to_owned());
        ChallengeFailure { domain: domain.to_owned(), challenge: "http-01", kind, detail }
    }

    fn lineage(has: &[&str]) -> Lineage {
        Lineage {
            name: "a.example".into(),
            version: 1,
            names: names(has),
            others: vec![],
            not_before: at(0),
            not_after: at(90 * 86_400),
            id: None,
        }
    }

    fn limited() -> ObtainError {
        let detail = "too many certificates, retry after 2027-01-16 08:00:00 UTC: see https://ca.example/limits";
        ObtainError::Refused {
            action: "take the order",
            kind: "rateLimited".into(),
            status: Some(429),
            detail: detail.into(),
            names: vec![],
            retry_after: None,
        }
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        let directory = test_support::scratch_dir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let mut record = store.record("a.example");
        assert_ne!(record.seed, store.record("b.example").seed);
        record.want(&names(&["a.example", "b.example"]));
        record.failed(&limited(), at(0));
        record.succeeded(&names(&["a.example"]), &[refusal("b.example")], at(10));
        record.suggestions.concern("id");
        let window = schedule::Window { start: at(100), end: at(200) };
        let retry_after = Some(at(700));
        record.suggestions.learn(schedule::Answer::Suggested { window, explanation: None, retry_after }, at(20), 7);
        store.save_record("a.example", &record).unwrap();
        assert_eq!(Store::open(directory.path()).unwrap().record("a.example"), record);
        let text = fs::read_to_string(directory.path().join("lockgate/a.example.json")).unwrap();
        assert!(text.contains("2027-01-15T08:00:10Z"), "people can read the moments: {text}");
    }

    #[test]
    fn a_damaged_file_means_that_nothing_is_known() {
        let directory = test_support::scratch_dir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let mut record = store.record("a.example");
        record.failed(&limited(), at(0));
        store.save_record("a.example", &record).unwrap();
        let file = directory.path().join("lockgate/a.example.json");
        let good = fs::read(&file).unwrap();
        for damaged in
            [&good[..good.len() / 2], b"", b"null", b"{\"attempts\":{\"last_failure\":\"yesterday\"}}", b"\0\0"]
        {
            fs::write(&file, damaged).unwrap();
            assert_eq!(store.record("a.example").attempts, Attempts::default());
            store.save_record("a.example", &record).unwrap();
            assert_eq!(store.record("a.example"), record);
        }
    }

    #[test]
    fn a_killed_attempt_counts_as_a_failure_and_one_that_was_given_up_does_not() {
        let directory = test_support::scratch_dir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let mut record = store.record("a.example");
        record.begin(at(0));
        store.save_record("a.example", &record).unwrap();
        let found = store.record("a.example");
        assert_eq!((found.attempts.failures, found.attempts.last_failure), (1, Some(at(0))));
        assert!(found.last.is_some_and(|last| last.message.contains("in the middle")));
        record.give_up();
        store.save_record("a.example", &record).unwrap();
        assert_eq!(store.record("a.example").attempts.failures, 0);
    }

    #[test]
    fn a_limit_is_obeyed_and_its_page_shown() {
        let mut record = Record::default();
        record.want(&names(&["a.example"]));
        record.failed(&limited(), at(0));
        assert_eq!(record.attempts.free_at(None, 0, at(0)), at(86_400), "the text says when");
        let last = record.last.unwrap();
        assert_eq!((last.blame, last.link.as_deref()), (Some(Blame::Authority), Some("https://ca.example/limits")));
    }

    #[test]
    fn a_limit_on_every_name_is_one_on_the_certificate() {
        let mut record = Record::default();
        record.want(&names(&["a.example", "b.example"]));
        let limit = |name: &str, day: u32| ChallengeFailure {
            detail: format!(
                "too many failed authorizations for {name}, retry after 2027-01-{day} 08:00:00 UTC: see https://ca.example/l"
            ),
            ..refusal(name)
        };
        let error = ObtainError::Validation { failures: vec![limit("a.example", 17), limit("b.example", 16)] };
        record.failed(&error, at(0));
        assert_eq!(record.attempts.free_at(None, 0, at(0)), at(86_400), "the first of them says when");
        assert_eq!(record.last.clone().unwrap().link.as_deref(), Some("https://ca.example/l"));
        record.failed(&ObtainError::Validation { failures: vec![limit("a.example", 17)] }, at(0));
        assert!(record.attempts.free_at(None, 0, at(0)) < at(86_400), "nothing is known of the other one");
    }

    #[test]
    fn a_name_that_failed_rests_for_itself() {
        let mut record = Record::default();
        record.want(&names(&["a.example", "b.example"]));
        record.suggestions.learn(schedule::Answer::Unsupported, at(0), 0);
        record.succeeded(&names(&["a.example"]), &[refusal("b.example")], at(0));
        assert_eq!(record.resting(at(1)), [DomainName::parse("b.example").unwrap()]);
        let has_one = lineage(&["a.example"]);
        assert!(matches!(record.plan(Some(&has_one), false, at(1)), Plan::Wait { .. }));
        assert_eq!(record.plan(Some(&has_one), false, at(70)), Plan::Renew { reason: Reason::Incomplete });
        record.still_incomplete(&[refusal("b.example")], at(70));
        assert!(matches!(record.plan(Some(&has_one), false, at(140)), Plan::Wait { .. }), "ten minutes by now");
        record.succeeded(&names(&["a.example"]), &[], at(200));
        assert_eq!(record.refused().count(), 1, "it was not even tried");
        record.succeeded(&names(&["a.example", "b.example"]), &[], at(700));
        assert_eq!(record.refused().count(), 0);
        assert!(matches!(record.plan(Some(&lineage(&["a.example", "b.example"])), false, at(800)), Plan::Wait { .. }));
    }

    #[test]
    fn another_set_of_names_begins_anew_but_a_dead_name_stays_dead() {
        let mut record = Record::default();
        record.want(&names(&["a.example", "b.example"]));
        record.failed(&ObtainError::Validation { failures: vec![refusal("b.example")] }, at(0));
        assert_eq!(record.attempts.failures, 1);
        record.want(&names(&["a.example", "b.example", "c.example"]));
        assert_eq!((record.attempts.failures, record.refused().count()), (0, 1));
        record.want(&names(&["a.example"]));
        assert_eq!(record.refused().count(), 0);
    }
}
