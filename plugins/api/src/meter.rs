//! What the engine counts, for plugins that show it.

/// Counters. The engine's are found by name: `cx.named::<dyn Meter>(<dyn Meter>::ENGINE)`.
pub trait Meter: Send + Sync {
    /// Every counter with its name and value; names that end in `_total` only grow. For the sum over all threads, each of
    /// which may be a moment further than the others.
    fn readings(&self) -> Vec<(&'static str, u64)>;
}

impl dyn Meter {
    /// The name of the engine's counters.
    pub const ENGINE: &'static str = "engine";
}
