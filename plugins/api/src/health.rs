//! Which of several servers could not be connected lately.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{Address, BuildCx};

/// What is known about the servers of a peer, or of a parent: one that could not be connected is tried behind the others for
/// a while, and then by one request first. All threads share it, and so does the configuration that comes after.
#[derive(Debug)]
pub struct Health {
    servers: Box<[Arc<Server>]>,
    fail_timeout: Duration,
}

#[derive(Debug)]
struct Server {
    /// Milliseconds since [`START`] until which it is avoided; 0 when it is not.
    avoided_until: AtomicU64,
}

impl Health {
    /// For servers at these addresses. `settings` is anything that tells them from servers at the same addresses that are
    /// connected in another way. `None` where nothing is avoided: a single server is always tried, and so are all when
    /// `fail_timeout` is 0.
    pub fn new(
        addresses: &[Address],
        settings: impl std::hash::Hash,
        fail_timeout: Duration,
        cx: &BuildCx<'_>,
    ) -> Option<Arc<Self>> {
        if addresses.len() < 2 || fail_timeout.is_zero() {
            return None;
        }
        let mut hasher = std::hash::DefaultHasher::new();
        settings.hash(&mut hasher);
        let settings = std::hash::Hasher::finish(&hasher);
        let server = |address| {
            cx.shared(&format!("health of {address:?} {settings}"), || Server { avoided_until: AtomicU64::new(0) })
        };
        Some(Arc::new(Self { servers: addresses.iter().map(server).collect(), fail_timeout }))
    }

    /// Whether the server of this index is to be tried in its turn. When its time has passed, one caller is told so and the
    /// others are not until that one knows.
    pub fn may_try(&self, index: usize) -> bool {
        let Some(server) = self.servers.get(index) else { return true };
        let until = server.avoided_until.load(Ordering::Relaxed);
        if until == 0 {
            return true;
        }
        let (now, next) = self.now_and_next();
        until <= now && server.avoided_until.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Notes that it could not be connected. Whether that is news.
    pub fn failed(&self, index: usize) -> bool {
        let (_, next) = self.now_and_next();
        self.servers.get(index).is_some_and(|server| server.avoided_until.swap(next, Ordering::Relaxed) == 0)
    }

    /// Notes that it was connected. Whether that is news.
    pub fn connected(&self, index: usize) -> bool {
        let Some(server) = self.servers.get(index) else { return false };
        // Most find it well, and need not write.
        server.avoided_until.load(Ordering::Relaxed) != 0 && server.avoided_until.swap(0, Ordering::Relaxed) != 0
    }

    /// How long a server is avoided.
    pub fn fail_timeout(&self) -> Duration {
        self.fail_timeout
    }

    fn now_and_next(&self) -> (u64, u64) {
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let now = START.elapsed();
        (milliseconds(now), milliseconds(now.saturating_add(self.fail_timeout)).max(1))
    }
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Named, SharedStore};

    fn addresses(number: u16) -> Vec<Address> {
        (1..=number).map(|port| Address::Socket(([192, 0, 2, 1], port).into())).collect()
    }

    #[test]
    fn one_request_asks_after_a_server_when_its_time_has_passed() {
        let (named, store) = (Named::default(), SharedStore::default());
        let cx = BuildCx::new(&named, &store);
        let health = Health::new(&addresses(2), 0, Duration::from_millis(20), &cx).unwrap();
        assert!(health.may_try(0) && health.may_try(0));
        assert!(health.failed(0), "it is news");
        assert!(!health.failed(0), "it is known");
        assert!(health.may_try(1));
        let started = Instant::now();
        while !health.may_try(0) {
            assert!(started.elapsed() < Duration::from_secs(10));
        }
        assert!(started.elapsed() >= Duration::from_millis(15));
        assert!(!health.may_try(0), "one is enough");
        assert!(health.connected(0) && !health.connected(0));
        assert!(health.may_try(0) && health.may_try(0));
    }

    #[test]
    fn what_is_known_outlives_a_configuration_and_depends_on_the_settings() {
        let (named, store) = (Named::default(), SharedStore::default());
        let cx = BuildCx::new(&named, &store);
        let before = Health::new(&addresses(3), "a", Duration::from_secs(60), &cx).unwrap();
        before.failed(1);
        let after = Health::new(&addresses(2), "a", Duration::from_secs(60), &cx).unwrap();
        let other = Health::new(&addresses(2), "b", Duration::from_secs(60), &cx).unwrap();
        assert_eq!([after.may_try(0), after.may_try(1), other.may_try(1)], [true, false, true]);
        drop((before, after, other));
        let fresh = Health::new(&addresses(2), "a", Duration::from_secs(60), &cx).unwrap();
        assert!(fresh.may_try(1), "nobody remembered");
    }

    #[test]
    fn a_single_server_is_never_avoided() {
        let (named, store) = (Named::default(), SharedStore::default());
        let cx = BuildCx::new(&named, &store);
        assert!(Health::new(&addresses(1), 0, Duration::from_secs(1), &cx).is_none());
        assert!(Health::new(&addresses(2), 0, Duration::ZERO, &cx).is_none());
    }
}
