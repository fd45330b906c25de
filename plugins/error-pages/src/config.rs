//! The keys of the `error-pages` plugin.

use plugin_api::{schemars::JsonSchema, serde::Deserialize};

/// The keys of the `error-pages` plugin.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(crate = "plugin_api::serde")]
#[schemars(crate = "plugin_api::schemars")]
pub struct Config {
    /// Files for single statuses.
    #[serde(default)]
    pub pages: Vec<Page>,

    /// The file for all other statuses.
    #[serde(default)]
    pub default: Option<String>,

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

/// A file for one status.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(crate = "plugin_api::serde")]
#[schemars(crate = "plugin_api::schemars")]
pub struct Page {
    /// The status.
    pub status: u16,
    /// The file.
    pub file: String,
}

fn lockgate() -> String {
    "lockgate".to_owned()
}

fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}
