//! The keys of the `access` plugin.

use plugin_api::{
    config::Duration,
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
};

/// The keys of the `access` plugin.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "plugin_api::serde")]
#[schemars(crate = "plugin_api::schemars")]
pub struct Config {
    /// `{ allow = "10.0.0.0/8" }` or `{ deny = ".example.com" }`: the first that is about a client decides, and who is in none
    /// of them is refused.
    pub rules: Vec<Rule>,

    /// What becomes of a client when the name service does not say whether it has a name that is denied.
    #[serde(default)]
    pub unresolved: Unresolved,

    /// How long a client waits for the name service, for all rules together.
    #[serde(default = "five_seconds")]
    pub lookup_timeout: Duration,
}

/// A rule: an address, a range of addresses, a name, or with a dot in front all names below it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(crate = "plugin_api::serde", rename_all = "kebab-case")]
#[schemars(crate = "plugin_api::schemars")]
pub enum Rule {
    /// These clients are let in.
    Allow(String),
    /// These are not.
    Deny(String),
}

/// What a name under `deny` does to a client when the name service does not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(crate = "plugin_api::serde", rename_all = "kebab-case")]
#[schemars(crate = "plugin_api::schemars")]
pub enum Unresolved {
    /// The client might have the name, so it is refused.
    #[default]
    Refuse,
    /// The client is taken not to have the name, and the next rule is looked at.
    Pass,
}

fn five_seconds() -> Duration {
    Duration::from_secs(5)
}
