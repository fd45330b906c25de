//! The keys of the `hsts` plugin.

use plugin_api::{config::Duration, schemars::JsonSchema, serde::Deserialize};

/// The keys of the `hsts` plugin.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "plugin_api::serde")]
#[schemars(crate = "plugin_api::schemars")]
pub struct Config {
    /// How long a browser remembers, from its last visit on, to come over TLS only. `"0s"` lets it forget at once.
    #[serde(default = "year")]
    pub max_age: Duration,

    /// Whether this holds for every host below this one, too.
    #[serde(default)]
    pub include_subdomains: bool,

    /// Whether the host may be put into the lists that browsers are shipped with. Needs `include_subdomains` and a year or more.
    #[serde(default)]
    pub preload: bool,

    /// Whether what the application says takes second place: its field is replaced. With `false` it is kept.
    #[serde(default = "yes", rename = "override")]
    pub overrides: bool,
}

/// A year of 365 days: the least that the lists of browsers take.
pub(crate) fn year() -> Duration {
    Duration::from_secs(365 * 24 * 60 * 60)
}

fn yes() -> bool {
    true
}
