//! Keys that plugins which go out have in common.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Duration;

/// Which of several source addresses is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BindOrder {
    /// The first.
    #[default]
    First,
    /// The next one for each request and tunnel.
    Turn,
}

/// Another proxy on the way.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ParentKeys {
    /// What it speaks; `direct` goes through no proxy.
    #[serde(rename = "use")]
    pub kind: Kind,

    /// Hosts that are reached through it: `name`, `.below.name`, `.` for names without a dot, an address or a range. Without
    /// it, all. Addresses and ranges match only hosts that are written as addresses: no name is resolved for this.
    #[serde(default)]
    pub to: Option<Vec<String>>,

    /// Where it is: `host:port`, or a list of them, tried in this order until one can be connected; `0.0.0.0:0` is nowhere:
    /// what would go through it is answered with 502.
    #[serde(default)]
    pub address: Option<Addresses>,

    /// How long one of several addresses that could not be connected is tried behind the others; 0 for not at all.
    #[serde(default = "seconds::<10>")]
    pub fail_timeout: Duration,

    /// User name for it.
    #[serde(default)]
    pub user: Option<String>,

    /// Password for it.
    #[serde(default)]
    pub password: Option<String>,

    /// The name that the certificate of an `https` proxy must have; without it, the host of its address.
    #[serde(default)]
    pub server_name: Option<String>,

    /// Whether the certificate of an `https` proxy is checked.
    #[serde(default = "yes")]
    pub verify: bool,

    /// File with certificates of authorities in PEM: the only ones that are believed about an `https` proxy. Without it,
    /// those that the system trusts.
    #[serde(default)]
    pub ca: Option<PathBuf>,

    /// File with a certificate in PEM, and those between it and its authority, to show to an `https` proxy that asks for one.
    #[serde(default)]
    pub certificate: Option<PathBuf>,

    /// File with the private key of `certificate` in PEM.
    #[serde(default)]
    pub key: Option<PathBuf>,
}

/// One address, or several.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "this must be a string, or a list of strings")]
pub enum Addresses {
    /// One.
    One(String),
    /// Tried in this order.
    Several(Vec<String>),
}

/// What a parent proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// No proxy.
    Direct,
    /// HTTP.
    Http,
    /// HTTP over TLS.
    Https,
    /// SOCKS 4a.
    Socks4a,
    /// SOCKS 5.
    Socks5,
}

fn seconds<const SECONDS: u64>() -> Duration {
    Duration::from_secs(SECONDS)
}

fn yes() -> bool {
    true
}
