//! The keys of the `reverse-path` plugin.

use std::{net::IpAddr, path::PathBuf};

use plugin_api::{
    config::Duration,
    schemars::JsonSchema,
    serde::Deserialize,
    way_out::{BindOrder, ParentKeys},
};

use crate::{mapping::Mapping, target::Target};

/// The keys of the `reverse-path` plugin.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "plugin_api::serde")]
#[schemars(crate = "plugin_api::schemars")]
pub struct Config {
    /// Paths and where they lead: `{ path = "/app/", to = "http://127.0.0.1:8080/" }`. The first that matches takes the
    /// request. There may be none with `only`.
    pub paths: Vec<Path>,

    /// Whether a cookie remembers the path, for applications whose links leave it out.
    #[serde(default)]
    pub magic: bool,

    /// The URL under which visitors know this proxy: a `Location` that names an application is rewritten to its path
    /// below this URL.
    #[serde(default)]
    pub base_url: Option<String>,

    /// Whether a request that no path matches is refused (400) instead of going on down the chain.
    #[serde(default)]
    pub only: bool,

    /// Whether applications are told about the visitor (`X-Forwarded-*` and `Forwarded`).
    #[serde(default = "yes")]
    pub forwarded: bool,

    /// Other proxies to go through. The first whose `to` matches the host of the application is used; where none matches, none
    /// is.
    #[serde(default)]
    pub parents: Vec<ParentKeys>,

    /// Source addresses towards applications; which of those of the application's address family is used, `bind_order` says.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub bind: Vec<IpAddr>,

    /// Which of several source addresses is used: `"first"`, or `"turn"` for the next one each time.
    #[serde(default)]
    pub bind_order: BindOrder,

    /// Whether the source address is the one that the visitor connected to.
    #[serde(default)]
    pub bind_same: bool,

    /// The status when an application cannot be reached, instead of 502 or 504.
    #[serde(default)]
    pub unreachable_status: Option<u16>,

    /// For connecting to an application, TLS handshake included.
    #[serde(default = "seconds::<5>")]
    pub connect_timeout: Duration,

    /// For the response head, and for each pause within the body.
    #[serde(default = "seconds::<60>")]
    pub read_timeout: Duration,

    /// For each write to an application.
    #[serde(default = "seconds::<60>")]
    pub write_timeout: Duration,

    /// How long an unused connection to an application is kept.
    #[serde(default = "seconds::<60>")]
    pub idle_timeout: Duration,

    /// How long an upgraded connection (WebSocket) may be silent in both directions; without it, for ever.
    #[serde(default)]
    pub upgraded_idle_timeout: Option<Duration>,
}

/// A path and where it leads.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(crate = "plugin_api::serde")]
#[schemars(crate = "plugin_api::schemars")]
pub struct Path {
    /// What the paths of requests start with; a `/` at the end is added if it is missing.
    pub path: String,
    /// The URL that takes its place, `http` or `https`.
    #[serde(default)]
    pub to: Option<String>,
    /// Instead of `to`: the status with which requests for this path are refused.
    #[serde(default)]
    pub status: Option<u16>,
    /// The name that the certificate of an `https` application must have; without it, the host of the URL.
    #[serde(default)]
    pub server_name: Option<String>,
    /// Whether the certificate of an `https` application is checked.
    #[serde(default = "yes")]
    pub verify: bool,
    /// File with certificates of authorities in PEM: the only ones that are believed about an `https` application. Without
    /// it, those that the system trusts.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// File with a certificate in PEM, and those between it and its authority, to show to an `https` application that asks
    /// for one.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// File with the private key of `certificate` in PEM.
    #[serde(default)]
    pub key: Option<PathBuf>,
}

impl Path {
    /// What is wrong with the path or its URL, for who writes configurations; files are not looked at.
    pub fn problem(&self) -> Option<String> {
        let path = Mapping::path(&self.path).err().map(|error| error.to_string());
        path.or_else(|| Some(Target::parse(self.to.as_deref()?).err()?.to_string()))
    }

    /// A path that leads to a URL.
    pub fn new(path: impl Into<String>, to: impl Into<String>) -> Self {
        let (path, to) = (path.into(), Some(to.into()));
        Self { path, to, status: None, server_name: None, verify: true, ca: None, certificate: None, key: None }
    }
}

fn seconds<const SECONDS: u64>() -> Duration {
    Duration::from_secs(SECONDS)
}

fn yes() -> bool {
    true
}
