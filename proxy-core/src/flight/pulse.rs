//! Whether anything still happens to a request.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

/// Beats when a piece of the request's body or of its answer passes.
///
/// Over HTTP/2, pingora waits for ever for the end of a request body whose answer has been given. Until then the server's time is
/// what bounds it.
#[derive(Debug)]
pub(crate) struct Pulse {
    last: Mutex<Instant>,
    /// The longest pause, once there is one.
    allowed: watch::Sender<Option<Duration>>,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Self { last: Mutex::new(Instant::now()), allowed: watch::Sender::new(None) }
    }

    pub(crate) fn beat(&self) {
        *self.last() = Instant::now();
    }

    /// From now on no pause may be longer than this.
    pub(crate) fn allow(&self, pause: Duration) {
        self.beat();
        self.allowed.send_replace(Some(pause));
    }

    /// Ready when a pause has become too long.
    pub(crate) async fn stopped(&self) {
        let mut allowed = self.allowed.subscribe();
        // We hold the sender.
        let _ = allowed.wait_for(Option::is_some).await;
        while let Some(due) = self.due().filter(|due| *due > Instant::now()) {
            tokio::time::sleep_until(due).await;
        }
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.due().is_some_and(|due| due <= Instant::now())
    }

    fn due(&self) -> Option<Instant> {
        let allowed = *self.allowed.borrow();
        allowed.map(|allowed| *self.last() + allowed)
    }

    fn last(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pulse_stops_only_when_pauses_are_bounded() {
        let pulse = Pulse::new();
        let second = Duration::from_secs(1);
        let waits = async |pulse: &Pulse, time| tokio::time::timeout(time, pulse.stopped()).await.is_err();
        assert!(waits(&pulse, 1000 * second).await && !pulse.has_stopped());
        pulse.allow(10 * second);
        for _ in 0..3 {
            assert!(waits(&pulse, 9 * second).await && !pulse.has_stopped());
            pulse.beat();
        }
        assert!(!waits(&pulse, 11 * second).await && pulse.has_stopped());
    }
}
