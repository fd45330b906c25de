//! The keys of the `stats` plugin.

use plugin_api::{schemars::JsonSchema, serde::Deserialize};

/// The keys of the `stats` plugin.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "plugin_api::serde")]
#[schemars(crate = "plugin_api::schemars")]
pub struct Config {
    /// The host that stands for the statistics, as clients write it; a port behind it makes no difference.
    #[serde(default)]
    pub host: Option<String>,

    /// The path that stands for them; with `host`, both must be right.
    #[serde(default)]
    pub path: Option<String>,

    /// What is shown.
    #[serde(default)]
    pub format: Format,

    /// A template for the page; without it, and when it cannot be read, the built-in page is shown.
    #[serde(default)]
    pub file: Option<String>,

    /// The name of this proxy in pages.
    #[serde(default = "lockgate")]
    pub package: String,

    /// Its version in pages.
    #[serde(default = "version")]
    pub version: String,

    /// The address of its web site in pages.
    #[serde(default)]
    pub website: String,
}

/// A form of the statistics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(crate = "plugin_api::serde", rename_all = "kebab-case")]
#[schemars(crate = "plugin_api::schemars")]
pub enum Format {
    /// A page for people.
    #[default]
    Page,
    /// The text that Prometheus reads.
    Prometheus,
}

fn lockgate() -> String {
    "lockgate".to_owned()
}

fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}
