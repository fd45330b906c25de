//! The clock of an upgraded connection.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

/// Watches an upgraded connection. Shared with the request's context, which knows when the upgrade happened.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Milliseconds of silence that are allowed; 0 for any.
    allowed: AtomicU64,
    switched: AtomicBool,
}

/// The time since something happened on a connection.
pub(super) struct Clock {
    watch: Arc<Watch>,
    /// The request has a body: until it is there, reading is waiting for the client.
    pub(super) has_body: bool,
    last: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Watch {
    /// Bounds nothing until [`allow`](Self::allow).
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { allowed: AtomicU64::new(0), switched: AtomicBool::new(false) })
    }

    /// Another protocol begins, in which this much silence is allowed; `None` for any.
    pub(crate) fn switch(&self, silence: Option<Duration>) {
        self.switched.store(true, Ordering::Relaxed);
        self.allow(silence);
    }

    /// Allows this much silence; `None` for any.
    pub(crate) fn allow(&self, silence: Option<Duration>) {
        let millis = silence.map_or(0, |silence| u64::try_from(silence.as_millis()).unwrap_or(u64::MAX).max(1));
        self.allowed.store(millis, Ordering::Relaxed);
    }
}

impl Clock {
    pub(super) fn new(watch: Arc<Watch>, has_body: bool) -> Self {
        Self { watch, has_body, last: Instant::now(), sleep: None }
    }

    /// Something has happened.
    pub(super) fn wind(&mut self) {
        self.last = Instant::now();
    }

    /// Whether another protocol is spoken now.
    pub(super) fn has_switched(&self) -> bool {
        self.watch.switched.load(Ordering::Relaxed)
    }

    /// Ready with an error when the connection was silent for too long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let allowed = match self.watch.allowed.load(Ordering::Relaxed) {
            0 => return Poll::Pending,
            millis => Duration::from_millis(millis),
        };
        loop {
            let due = self.last + allowed;
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            if sleep.deadline() != due {
                sleep.as_mut().reset(due);
            }
            ready!(sleep.as_mut().poll(cx));
            if Instant::now() >= self.last + allowed {
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the connection was silent for too long"));
            }
        }
    }
}
