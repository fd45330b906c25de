//! What was done in a time.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

/// What was done in a time, with which effort of the proxy.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    /// Requests, handshakes or tunnels that went well, or bytes.
    pub(crate) done: u64,
    /// Those that did not.
    pub(crate) bad: u64,
    pub(crate) took: Duration,
    pub(crate) cpu: Duration,
}

impl Count {
    pub(crate) fn with_cpu(self, cpu: Duration) -> Self {
        Self { cpu, ..self }
    }

    /// In a second.
    pub(crate) fn rate(&self) -> f64 {
        self.done as f64 / self.took.as_secs_f64()
    }

    /// CPU seconds for each.
    pub(crate) fn cost(&self) -> f64 {
        self.cpu.as_secs_f64() / self.done as f64
    }
}

/// Does this so many times side by side, each until the deadline that it is told.
pub(crate) async fn repeat<F>(connections: usize, time: Duration, mut work: impl FnMut(Instant) -> F) -> Count
where
    F: Future<Output = Count> + Send + 'static,
{
    let since = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        tasks.spawn(work(since + time));
    }
    let mut sum = Count::default();
    while let Some(result) = tasks.join_next().await {
        let count = result.unwrap_or(Count { bad: 1, ..Count::default() });
        sum = Count { done: sum.done + count.done, bad: sum.bad + count.bad, ..sum };
    }
    Count { took: since.elapsed(), ..sum }
}

/// The middle of what was measured; of rounds in which nothing was done there is nothing to say.
pub(crate) fn median(counts: &[Count], value: impl Fn(&Count) -> f64) -> Option<f64> {
    let mut values: Vec<f64> = counts.iter().filter(|count| count.done > 0).map(value).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_what_was_measured_is_shown() {
        let count =
            |done| Count { done, took: Duration::from_secs(1), cpu: Duration::from_secs(2), ..Count::default() };
        let counts = [7, 0, 2, 4].map(count);
        assert_eq!(median(&counts, Count::rate), Some(4.0));
        assert_eq!(median(&counts, |count| count.cost() * 1e6), Some(500_000.0));
        assert_eq!(median(&[], Count::rate), None);
    }
}
