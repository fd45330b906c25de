//! Counters of what the engine did. Each shard has its own; they are added up when someone asks.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use plugin_api::{Meter, Reading};

/// The counters of one shard.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    counters: [AtomicU64; Metric::ALL.len()],
}

impl Metrics {
    pub(crate) fn add(&self, metric: Metric, amount: u64) {
        // Only one thread writes; readers may be late.
        self.counters[metric as usize].fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn count(&self, metric: Metric) {
        self.add(metric, 1);
    }

    /// The number of counts of `up` that `down` has not met yet.
    pub(crate) fn open(&self, up: Metric, down: Metric) -> u64 {
        let down = self.counters[down as usize].load(Ordering::Acquire);
        self.counters[up as usize].load(Ordering::Acquire).saturating_sub(down)
    }
}

/// The counters of all shards of an engine. Made before it, so that plugins can hold on to them.
#[derive(Debug, Default)]
pub struct Counters(Mutex<Vec<Arc<Metrics>>>);

impl Counters {
    pub(crate) fn add(&self, shard: &Arc<Metrics>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(shard));
    }

    /// Their sum.
    pub fn snapshot(&self) -> Snapshot {
        let shards = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Snapshot::gather(shards.iter().map(|shard| &**shard))
    }
}

impl Meter for Counters {
    fn readings(&self) -> Vec<Reading> {
        let values = self.snapshot().0;
        let all = Metric::ALL.iter().zip(values);
        all.map(|((_, name, help), value)| Reading::new(name, value).with_help(help.trim_start())).collect()
    }
}

/// Values of all counters at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot([u64; Metric::ALL.len()]);

impl Snapshot {
    pub(crate) fn gather<'a>(shards: impl Iterator<Item = &'a Metrics>) -> Self {
        let mut sum = Self::default();
        for shard in shards {
            for (total, counter) in sum.0.iter_mut().zip(&shard.counters) {
                *total += counter.load(Ordering::Relaxed);
            }
        }
        sum
    }

    /// The value of one counter.
    pub fn get(&self, metric: Metric) -> u64 {
        self.0[metric as usize]
    }

    /// Every counter with its name and value.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Metric::ALL.iter().map(|(_, name, _)| *name).zip(self.0.iter().copied())
    }
}

macro_rules! metrics {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// What is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Metric {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Metric {
            /// Each with its name and what it means.
            const ALL: &[(Self, &'static str, &'static str)] = &[$((Self::$variant, $name, concat!($($doc),+))),+];
        }
    };
}

metrics! {
    /// Connections accepted.
    Accepted = "lockgate_connections_accepted_total",
    /// Connections ended.
    Closed = "lockgate_connections_closed_total",
    /// TLS handshakes that clients completed, those of authorities that came for a proof included.
    Handshakes = "lockgate_tls_handshakes_total",
    /// Those that took up an earlier session.
    Resumed = "lockgate_tls_sessions_resumed_total",
    /// TLS handshakes that failed.
    HandshakeFailures = "lockgate_tls_handshake_failures_total",
    /// Requests that reached a chain.
    Requests = "lockgate_requests_total",
    /// Requests answered with 2xx and 3xx.
    Succeeded = "lockgate_responses_success_total",
    /// Requests answered with 4xx.
    ClientErrors = "lockgate_responses_client_error_total",
    /// Requests answered with 5xx.
    ServerErrors = "lockgate_responses_server_error_total",
    /// Requests that ended without a complete answer.
    Aborted = "lockgate_requests_aborted_total",
    /// Requests that the edge refused before a chain saw them.
    Refused = "lockgate_requests_refused_total",
    /// Requests that a plugin denied, for who asked or for what was asked for, before they went anywhere.
    Denied = "lockgate_requests_denied_total",
    /// Connections that ended before anything was asked on them.
    Silent = "lockgate_connections_silent_total",
    /// Requests that reached a chain and could not be done as they were asked: a plugin refused how, or what for; they led
    /// back to this proxy; or the server's answer was none.
    Bad = "lockgate_requests_bad_total",
    /// Requests that no route took.
    Unrouted = "lockgate_requests_unrouted_total",
    /// Hooks that failed or panicked.
    BrokenHooks = "lockgate_plugin_failures_total",
    /// Upstream connections that could not be made.
    ConnectFailures = "lockgate_upstream_connect_failures_total",
    /// Servers and parent proxies of several that could not be connected and are tried last for a while.
    ServersDown = "lockgate_upstream_servers_down_total",
    /// Bytes of response bodies sent to clients.
    ResponseBytes = "lockgate_response_body_bytes_total",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_all_shards_are_added_up() {
        let (one, two) = (Metrics::default(), Metrics::default());
        one.count(Metric::Requests);
        two.add(Metric::Requests, 2);
        two.count(Metric::ResponseBytes);
        let snapshot = Snapshot::gather([&one, &two].into_iter());
        assert_eq!(snapshot.get(Metric::Requests), 3);
        assert_eq!(snapshot.iter().last(), Some(("lockgate_response_body_bytes_total", 1)));
    }
}
