//! What this machine is to blame for, and the operator was told already.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// What was told about each certificate. A disk that cannot be written is looked at every minute, for its certificates are saved at
/// once when it can; that is no reason to tell it every minute.
#[derive(Debug, Default)]
pub(super) struct Complaints(BTreeMap<String, (String, Instant)>);

impl Complaints {
    /// Whether this is to be told: it was not, or a day ago. It counts as told from now on.
    pub(super) fn is_news(&mut self, certificate: &str, message: &str, now: Instant) -> bool {
        let is_known = |(told, at): &(String, Instant)| told == message && now.duration_since(*at) < A_WHILE;
        if self.0.get(certificate).is_some_and(is_known) {
            return false;
        }
        self.0.insert(certificate.to_owned(), (message.to_owned(), now));
        true
    }

    /// There is nothing to complain about any more.
    pub(super) fn forget(&mut self, certificate: &str) {
        self.0.remove(certificate);
    }
}

/// So that nobody thinks it is over.
const A_WHILE: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_once_a_day_for_each_certificate() {
        let (mut complaints, now) = (Complaints::default(), Instant::now());
        let mut told = |certificate, message, after| complaints.is_news(certificate, message, now + after);
        assert!(told("a", "full", Duration::ZERO));
        assert!(!told("a", "full", A_WHILE / 2));
        assert!(told("b", "full", A_WHILE / 2));
        assert!(told("a", "read-only", A_WHILE / 2));
        assert!(told("a", "full", A_WHILE / 2));
        assert!(!told("a", "full", A_WHILE));
        assert!(told("a", "full", A_WHILE * 2));
        complaints.forget("a");
        assert!(complaints.is_news("a", "full", now + A_WHILE * 2));
        assert!(!complaints.is_news("a", "full", now + A_WHILE * 2));
    }
}
