//! How many connections are served at once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::sync::Notify;

/// Lets so many connections in. Whoever comes later waits, without spinning, until one leaves.
#[derive(Debug)]
pub(crate) struct Admission {
    limit: AtomicUsize,
    inside: AtomicUsize,
    left: Notify,
    /// Whether it has been said that connections wait.
    told: AtomicBool,
}

/// A connection that was let in; dropping it lets the next one in.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Admission>);

impl Admission {
    pub(crate) fn new(limit: Option<usize>) -> Arc<Self> {
        Arc::new(Self {
            limit: AtomicUsize::new(limit.unwrap_or(usize::MAX)),
            inside: AtomicUsize::new(0),
            left: Notify::new(),
            told: AtomicBool::new(false),
        })
    }

    /// Changes the limit. Nobody who is inside is sent away.
    pub(crate) fn set_limit(&self, limit: Option<usize>) {
        self.limit.store(limit.unwrap_or(usize::MAX), Ordering::SeqCst);
        self.left.notify_waiters();
    }

    /// A permit if there is room now.
    pub(crate) fn try_enter(self: &Arc<Self>) -> Option<Permit> {
        let limit = self.limit.load(Ordering::SeqCst);
        let more = |inside| (inside < limit).then_some(inside + 1);
        self.inside.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        Some(Permit(Arc::clone(self)))
    }

    /// Waits for room.
    pub(crate) async fn enter(self: &Arc<Self>) -> Permit {
        loop {
            let mut left = std::pin::pin!(self.left.notified());
            // From here on no departure is missed.
            left.as_mut().enable();
            if let Some(permit) = self.try_enter() {
                return permit;
            }
            if !self.told.swap(true, Ordering::Relaxed) {
                tracing::warn!(target: "lockgate::listener", "Maximum number of connections reached. Refusing new connections.");
            }
            left.await;
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let before = self.0.inside.fetch_sub(1, Ordering::SeqCst);
        self.0.left.notify_one();
        if before <= self.0.limit.load(Ordering::Relaxed) / 2 {
            self.0.told.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future as _,
        pin::pin,
        task::{Context, Waker},
    };

    use super::*;

    #[test]
    fn who_comes_late_is_let_in_when_somebody_leaves_or_the_limit_grows() {
        let admission = Admission::new(Some(1));
        let first = admission.try_enter().unwrap();
        let mut second = pin!(admission.enter());
        let mut third = pin!(admission.enter());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(second.as_mut().poll(&mut cx).is_pending() && third.as_mut().poll(&mut cx).is_pending());
        drop(first);
        let inside = second.as_mut().poll(&mut cx);
        assert!(inside.is_ready() && third.as_mut().poll(&mut cx).is_pending());
        admission.set_limit(Some(2));
        assert!(third.as_mut().poll(&mut cx).is_ready());
    }

    #[test]
    fn no_limit_lets_everybody_in_and_zero_nobody() {
        let open = Admission::new(None);
        assert_eq!((0..1000).filter_map(|_| open.try_enter()).collect::<Vec<_>>().len(), 1000);
        assert!(Admission::new(Some(0)).try_enter().is_none());
    }
}
