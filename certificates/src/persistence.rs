//! How often a request is made again that failed for a reason that passes.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::ObtainError;

/// Tries that are left of one request: a few, with growing pauses, while there is patience. A whole attempt is made again a
/// minute later, so this is for what is over in seconds: a connection that was reset, a server that is being restarted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Persistence {
    left: u32,
    next: Duration,
    deadline: Instant,
}

impl Persistence {
    /// For a request that is made now.
    pub(crate) fn new(patience: Duration) -> Self {
        Self { left: REPEATS, next: FIRST, deadline: Instant::now() + patience }
    }

    /// After a failure of something that can be asked for twice without harm: waits before the next try, or hands the error back.
    pub(crate) async fn after(&mut self, error: ObtainError) -> Result<(), ObtainError> {
        if error.is_passing() && self.wait(error.retry_after()).await { Ok(()) } else { Err(error) }
    }

    /// Waits before the next try; `false` when there is to be none. `asked` is when the server wants to be asked again, if it
    /// said so: that is obeyed, by waiting or by giving up.
    pub(crate) async fn wait(&mut self, asked: Option<SystemTime>) -> bool {
        let asked = asked.map(|at| at.duration_since(SystemTime::now()).unwrap_or_default());
        match self.pause(asked, Instant::now()) {
            Some(pause) => {
                tokio::time::sleep(pause).await;
                true
            }
            None => false,
        }
    }

    fn pause(&mut self, asked: Option<Duration>, now: Instant) -> Option<Duration> {
        let pause = self.next.max(asked.unwrap_or_default());
        self.left = self.left.checked_sub(1)?;
        self.next *= 3;
        (pause <= LONGEST && now + pause < self.deadline).then_some(pause)
    }
}

const REPEATS: u32 = 3;
const FIRST: Duration = Duration::from_millis(200);
/// A server that wants to be left alone for longer is left alone by the whole attempt.
pub(crate) const LONGEST: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_come_to_an_end() {
        let (begun, mut persistence) = (Instant::now(), Persistence::new(60 * SECOND));
        for milliseconds in [200, 800, 2600] {
            assert!(persistence.wait(None).await);
            assert_eq!(begun.elapsed().as_millis(), milliseconds);
        }
        assert!(!persistence.wait(None).await);
        assert_eq!(begun.elapsed().as_millis(), 2600);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_server_asks_for_is_obeyed() {
        let (now, mut persistence) = (Instant::now(), Persistence::new(60 * SECOND));
        assert_eq!(persistence.pause(Some(5 * SECOND), now), Some(5 * SECOND));
        assert_eq!(persistence.pause(Some(Duration::ZERO), now), Some(Duration::from_millis(600)), "not at once");
        assert_eq!(persistence.pause(Some(11 * SECOND), now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_begun_when_patience_is_over() {
        assert!(!Persistence::new(Duration::ZERO).wait(None).await);
        let mut persistence = Persistence::new(SECOND);
        assert_eq!(persistence.pause(Some(SECOND), Instant::now()), None);
        assert!(persistence.wait(None).await, "there is time for less");
    }
}
