//! How much is measured.

/// Seconds in each cell of a round, rounds, tunnels, and idle connections with TLS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) seconds: u32,
    pub(crate) rounds: usize,
    pub(crate) tunnels: [usize; 2],
    pub(crate) connections: usize,
}

impl Effort {
    /// For a table that is shown.
    pub(crate) const FULL: Self = Self { seconds: 4, rounds: 3, tunnels: [500, 10_000], connections: 2000 };
    /// To see that everything runs.
    pub(crate) const QUICK: Self = Self { seconds: 1, rounds: 1, tunnels: [100, 1000], connections: 200 };
}
