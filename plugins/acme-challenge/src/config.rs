//! The keys of the `acme-challenge` plugin.

use plugin_api::{schemars::JsonSchema, serde::Deserialize};

/// The keys of the `acme-challenge` plugin; exactly one is given.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "plugin_api::serde")]
#[schemars(crate = "plugin_api::schemars")]
pub struct Config {
    /// The name of the `[[authenticator]]` that knows the tokens.
    #[serde(default)]
    pub authenticator: Option<String>,

    /// Another ACME client (certbot, acme.sh, lego) or a cluster's master node, as `http://host:port`. When it cannot be
    /// reached or answers 404, the chain goes on.
    #[serde(default)]
    pub forward: Option<String>,
}
