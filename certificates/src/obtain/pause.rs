//! Pauses between questions about something that takes its time.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::ObtainError;
use crate::Client;

/// Pauses between questions: as long as the authority says, within reason, else longer and longer.
pub(super) struct Pause<'c> {
    client: &'c Client,
    next: Duration,
    patience: Duration,
    /// When there is no patience left.
    pub(super) deadline: Instant,
}

impl<'c> Pause<'c> {
    /// For something that begins now and may take so long.
    pub(super) fn new(client: &'c Client, patience: Duration) -> Self {
        Self { client, next: SHORTEST, patience, deadline: Instant::now() + patience }
    }

    /// Waits before the next question.
    pub(super) async fn take(&mut self, action: &'static str) -> Result<(), ObtainError> {
        self.take_until(self.deadline, action).await
    }

    /// The same with another deadline.
    pub(super) async fn take_until(&mut self, deadline: Instant, action: &'static str) -> Result<(), ObtainError> {
        let asked = self.client.retry_after().and_then(|at| at.duration_since(SystemTime::now()).ok());
        let pause = asked.map_or(self.next, |asked| asked.clamp(SHORTEST, LONGEST));
        self.next = (self.next * 2).min(LONGEST);
        let now = Instant::now();
        if now >= deadline {
            return Err(ObtainError::TimedOut { action, seconds: self.patience.as_secs() });
        }
        // A last look comes at the end, however long the pauses have become.
        tokio::time::sleep_until(deadline.min(now + pause)).await;
        Ok(())
    }
}

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);
