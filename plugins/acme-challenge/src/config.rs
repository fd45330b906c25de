//! The keys of the `acme-challenge` plugin.

use plugin_api::{schemars::JsonSchema, serde::Deserialize};

/// The keys of the `acme-challenge` plugin; exactly one of `authenticator`, `forward` and `thumbprint` is given.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(crate = "plugin_api::serde")]
#[schemars(crate = "plugin_api::schemars")]
pub struct Config {
    /// The name of the `[[authenticator]]` that knows the tokens.
    #[serde(default)]
    pub authenticator: Option<String>,

    /// Another ACME client (certbot, acme.sh, lego) or a cluster's master node, as `http://host:port`, or several in a list.
    /// They are asked in this order; one that cannot be reached, does not answer in time or answers 404 is passed over, and
    /// behind the last one the chain goes on.
    #[serde(default)]
    pub forward: Option<Urls>,

    /// The thumbprint of an ACME account (RFC 7638): every token is answered with it, for the names in `hosts`.
    #[serde(default)]
    pub thumbprint: Option<String>,

    /// The host names and addresses that are answered for with `thumbprint`; required with it. For others the chain goes on.
    #[serde(default)]
    pub hosts: Option<Vec<String>>,
}

/// One URL, or several.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "plugin_api::serde", untagged, expecting = "this must be a string, or a list of strings")]
#[schemars(crate = "plugin_api::schemars")]
pub enum Urls {
    /// One.
    One(String),
    /// Asked in this order.
    Several(Vec<String>),
}

impl Urls {
    /// All of them.
    pub(crate) fn as_slice(&self) -> &[String] {
        match self {
            Self::One(url) => std::slice::from_ref(url),
            Self::Several(urls) => urls,
        }
    }
}
