//! The keys of the `forward` plugin.

use std::{net::IpAddr, path::PathBuf};

use plugin_api::{
    config::Duration,
    schemars::JsonSchema,
    serde::Deserialize,
    way_out::{BindOrder, ParentKeys},
};

/// The keys of the `forward` plugin.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "plugin_api::serde")]
#[schemars(crate = "plugin_api::schemars")]
pub struct Config {
    /// Ports to which `CONNECT` opens tunnels; without it every port, and with an empty list none.
    #[serde(default)]
    pub connect_ports: Option<Vec<u16>>,

    /// Whether only public addresses are connected: not loopback, link-local (cloud metadata services), private and the
    /// like. Looked at after names are resolved.
    #[serde(default)]
    pub public_only: bool,

    /// Whether a request that names a path only is forwarded to the server in its `Host` field, as when a firewall leads
    /// clients here that do not know of a proxy.
    #[serde(default = "yes")]
    pub transparent: bool,

    /// Hosts that stand for this machine: a request that names a path only is not forwarded to them.
    #[serde(default)]
    pub own_hosts: Vec<String>,

    /// Source addresses towards servers; which of those of the server's address family is used, `bind_order` says.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub bind: Vec<IpAddr>,

    /// Whether the first address of `bind` is used always, or each one in its turn.
    #[serde(default)]
    pub bind_order: BindOrder,

    /// Whether the source address is the one that the client connected to.
    #[serde(default)]
    pub bind_same: bool,

    /// Other proxies to go through. The first whose `to` matches the host is used; where none matches, none is.
    #[serde(default)]
    pub parents: Vec<ParentKeys>,

    /// File with certificates of authorities in PEM: the only ones that are believed about servers of `https` URLs. Without
    /// it, those that the system trusts.
    #[serde(default)]
    pub ca: Option<PathBuf>,

    /// File with a certificate in PEM, and those between it and its authority, to show to servers of `https` URLs that ask
    /// for one. Goes with `key` and `ca`: it is not for strangers.
    #[serde(default)]
    pub certificate: Option<PathBuf>,

    /// File with the private key of `certificate` in PEM.
    #[serde(default)]
    pub key: Option<PathBuf>,

    /// For connecting, per address, TLS handshake included.
    #[serde(default = "seconds::<10>")]
    pub connect_timeout: Duration,

    /// For the response head, and for each pause within the body.
    #[serde(default = "seconds::<60>")]
    pub read_timeout: Duration,

    /// For each write to a server.
    #[serde(default = "seconds::<60>")]
    pub write_timeout: Duration,

    /// How long a tunnel or an upgraded connection (WebSocket) may be silent in both directions.
    #[serde(default = "seconds::<600>")]
    pub idle_timeout: Duration,

    /// The status when a server cannot be reached, instead of 502 or 504.
    #[serde(default)]
    pub unreachable_status: Option<u16>,
}

fn seconds<const SECONDS: u64>() -> Duration {
    Duration::from_secs(SECONDS)
}

fn yes() -> bool {
    true
}
