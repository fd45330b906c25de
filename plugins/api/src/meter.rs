//! What the program counts, for plugins that show it.

/// Counters and gauges. Found by name: `cx.named::<dyn Meter>(<dyn Meter>::ENGINE)`.
pub trait Meter: Send + Sync {
    /// Every value with its name; names that end in `_total` only grow. For the sum over all threads, each of which may be a
    /// moment further than the others. Values of one name follow each other.
    fn readings(&self) -> Vec<Reading>;
}

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reading {
    /// What it is, in the form that Prometheus wants.
    pub name: &'static str,
    /// Of what, where there are several: names and values.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: i64,
    /// What it means, in a sentence.
    pub help: &'static str,
}

impl Reading {
    /// A value that there is one of. What is beyond the largest number that can be shown is shown as that.
    pub fn new(name: &'static str, value: u64) -> Self {
        Self::labelled(name, Vec::new(), i64::try_from(value).unwrap_or(i64::MAX))
    }

    /// A value that there are several of, and may be below zero.
    pub fn labelled(name: &'static str, labels: Vec<(&'static str, String)>, value: i64) -> Self {
        Self { name, labels, value, help: "" }
    }

    /// Says what it means.
    #[must_use]
    pub fn with_help(mut self, help: &'static str) -> Self {
        self.help = help;
        self
    }
}

impl dyn Meter {
    /// The name of the engine's counters.
    pub const ENGINE: &'static str = "engine";
    /// The name of what is known about certificates, where the program looks after any.
    pub const CERTIFICATES: &'static str = "certificates";
}
