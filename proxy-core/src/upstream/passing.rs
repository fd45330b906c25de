//! When an address is passed over for the next one although it was connected, and how long all of them may take.

use std::time::Duration;

use http::StatusCode;
use pingora::{Error, ErrorSource};
use plugin_api::{FallThrough, Timeouts};

use super::{Attempts, Failure};

impl Attempts {
    /// Notes the status of an answer. Whether the server does not answer for this request, so that the next one is asked.
    pub(crate) fn declines(&mut self, status: StatusCode) -> bool {
        self.declined = self.peer.settings().fall_through == FallThrough::UnreachableOr(status);
        self.declined
    }

    /// Whether a server that was connected, and then failed like this before there was an answer, is passed over for the next.
    pub(crate) fn is_passed_over(&mut self, error: &Error, can_repeat: bool) -> bool {
        // Ours is the error that ends an exchange for its status.
        if std::mem::take(&mut self.declined) {
            return true;
        }
        let asks_others = matches!(self.peer.settings().fall_through, FallThrough::UnreachableOr(_));
        asks_others && can_repeat && *error.esource() == ErrorSource::Upstream
    }

    /// Whether nobody was asked because every address is our own: a mistake of the configuration, which must not pass for a
    /// server that is down.
    pub(crate) fn is_circle(&self) -> bool {
        self.current.is_none() && self.failure == Some(Failure::Loop)
    }

    /// What is left for all addresses; `None` where they have no time together.
    pub(super) fn time_left(&self) -> Option<Duration> {
        let patience = self.peer.settings().patience?;
        Some(patience.saturating_sub(self.begun.elapsed()))
    }

    /// How long to wait for the destination that is about to be connected.
    pub(super) fn timeouts(&self) -> Timeouts {
        within(self.peer.settings().timeouts, self.time_left())
    }
}

/// The same, such that connecting and waiting for an answer take no longer than what is `left`.
fn within(timeouts: Timeouts, left: Option<Duration>) -> Timeouts {
    let Some(half) = left.map(|left| left / 2) else { return timeouts };
    Timeouts { connect: timeouts.connect.min(half), read: timeouts.read.min(half), ..timeouts }
}

/// Nobody can be expected to answer in less.
pub(super) const LEAST: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use plugin_api::{Address, Connection, Peer};

    use super::*;
    use crate::dial::Own;
    use crate::{metrics::Metrics, resolver::Resolver};

    fn attempts(patience: Duration) -> Attempts {
        let addresses = (1..=3).map(|host| Address::Socket(([192, 0, 2, host], 80).into())).collect();
        let fall_through = FallThrough::UnreachableOr(StatusCode::NOT_FOUND);
        Attempts::new(Peer::builder(addresses).patience(patience).fall_through(fall_through).build())
    }

    #[test]
    fn one_attempt_takes_no_longer_than_is_left_for_all() {
        let timeouts =
            Timeouts { connect: Duration::from_secs(2), read: Duration::from_secs(3), ..Timeouts::default() };
        assert_eq!(within(timeouts, None), timeouts);
        let seconds = |left| {
            let Timeouts { connect, read, .. } = within(timeouts, Some(Duration::from_secs(left)));
            (connect.as_secs_f64(), read.as_secs_f64())
        };
        assert_eq!(seconds(9), (2.0, 3.0));
        assert_eq!(seconds(5), (2.0, 2.5));
        assert_eq!(seconds(1), (0.5, 0.5));
    }

    #[tokio::test]
    async fn nobody_is_asked_when_the_time_is_over() {
        let listener = std::sync::Arc::new(crate::Listener::new("a", Vec::<std::net::SocketAddr>::new()));
        let own = Own { port: 80, listener };
        let client = Connection::new("192.0.2.9:5".parse().unwrap(), "a".into(), "192.0.2.8:80".parse().unwrap());
        let (resolver, metrics) = (Resolver::default(), Metrics::default());
        for (patience, asked) in [(Duration::from_secs(60), true), (LEAST / 2, false)] {
            let mut attempts = attempts(patience);
            assert_eq!(attempts.next(&resolver, &metrics, &client, &own).await.is_some(), asked);
            assert_eq!(attempts.failure, (!asked).then_some(Failure::ConnectTimeout));
        }
    }

    #[test]
    fn the_next_one_is_asked_for_a_status_and_for_no_answer() {
        let mut attempts = attempts(Duration::from_secs(60));
        let [ours, theirs] = [ErrorSource::Internal, ErrorSource::Upstream].map(|source| {
            let mut error = Error::new(pingora::ErrorType::ReadTimedout);
            error.esource = source;
            error
        });
        assert!(!attempts.declines(StatusCode::OK) && !attempts.is_passed_over(&ours, true));
        assert!(attempts.declines(StatusCode::NOT_FOUND) && attempts.is_passed_over(&ours, true));
        assert!(!attempts.is_passed_over(&ours, true), "the status was that of the one before");
        assert!(attempts.is_passed_over(&theirs, true) && !attempts.is_passed_over(&theirs, false));
    }
}
