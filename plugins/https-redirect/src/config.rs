//! The keys of the `https-redirect` plugin.

use plugin_api::{
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
};

/// The keys of the `https-redirect` plugin.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "plugin_api::serde")]
#[schemars(crate = "plugin_api::schemars")]
pub struct Config {
    /// The status of every redirect: 301, 302, 307 or 308. Without it `GET` and `HEAD` get 301, which every client knows, and
    /// all other methods 308, which keeps the method and the body.
    #[serde(default)]
    pub status: Option<u16>,

    /// The port on which visitors reach the site over TLS, as they see it.
    #[serde(default = "https")]
    pub port: u16,

    /// Whether `X-Forwarded-Proto: https` counts as TLS, because a proxy in front of this one ends it.
    #[serde(default)]
    pub trust_forwarded_proto: bool,

    /// What becomes of a request that is not redirected: `"next"`, the next plugin gets it, or `"refuse"`, it is answered with
    /// 404, so that this plugin ends the chain.
    #[serde(default)]
    pub otherwise: Otherwise,
}

/// What becomes of a request that is not redirected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(crate = "plugin_api::serde", rename_all = "kebab-case")]
#[schemars(crate = "plugin_api::schemars")]
pub enum Otherwise {
    /// The next plugin gets it.
    #[default]
    Next,
    /// There is none: it is refused.
    Refuse,
}

fn https() -> u16 {
    443
}
