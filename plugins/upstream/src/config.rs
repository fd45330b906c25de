//! The keys of the `upstream` plugin.

use std::path::PathBuf;

use plugin_api::{config::Duration, schemars::JsonSchema, serde::Deserialize};

/// The keys of the `upstream` plugin.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "plugin_api::serde")]
#[schemars(crate = "plugin_api::schemars")]
pub struct Config {
    /// Servers, tried in turn; one that cannot be connected is skipped for the request. `host:port`, `http://host:port`,
    /// `https://host:port`, `unix:/path`, or `original-destination` (where the client wanted to go before a firewall rule
    /// redirected it).
    pub servers: Vec<String>,

    /// The version of HTTP that servers speak. `"http2"` is what gRPC needs: over TLS it is agreed on, without TLS the servers
    /// must expect it.
    #[serde(default)]
    pub protocol: Version,

    /// For connecting to a server, TLS handshake included.
    #[serde(default = "seconds::<5>")]
    pub connect_timeout: Duration,

    /// For the response head, and for each pause within the body.
    #[serde(default = "seconds::<60>")]
    pub read_timeout: Duration,

    /// For each write to a server.
    #[serde(default = "seconds::<60>")]
    pub write_timeout: Duration,

    /// How long an unused connection to a server is kept.
    #[serde(default = "seconds::<60>")]
    pub idle_timeout: Duration,

    /// How long an upgraded connection (WebSocket) may be silent in both directions; without it, for ever.
    #[serde(default)]
    pub upgraded_idle_timeout: Option<Duration>,

    /// The name that an `https` server's certificate must have; without it, the host of the request.
    #[serde(default)]
    pub server_name: Option<String>,

    /// Whether an `https` server's certificate is checked.
    #[serde(default = "yes")]
    pub verify: bool,

    /// File with certificates of authorities in PEM: the only ones that are believed about an `https` server. Without it,
    /// those that the system trusts.
    #[serde(default)]
    pub ca: Option<PathBuf>,

    /// File with a certificate in PEM, and those between it and its authority, to show to an `https` server that asks for
    /// one.
    #[serde(default)]
    pub certificate: Option<PathBuf>,

    /// File with the private key of `certificate` in PEM.
    #[serde(default)]
    pub key: Option<PathBuf>,

    /// How long one of several servers that could not be connected is tried behind the others; 0 for not at all.
    #[serde(default = "seconds::<10>")]
    pub fail_timeout: Duration,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(crate = "plugin_api::serde", rename_all = "lowercase")]
#[schemars(crate = "plugin_api::schemars")]
pub enum Version {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
}

impl Config {
    /// These servers, and defaults for the rest.
    pub fn new(servers: Vec<String>) -> Self {
        Self {
            servers,
            protocol: Version::default(),
            connect_timeout: seconds::<5>(),
            read_timeout: seconds::<60>(),
            write_timeout: seconds::<60>(),
            idle_timeout: seconds::<60>(),
            upgraded_idle_timeout: None,
            server_name: None,
            verify: yes(),
            ca: None,
            certificate: None,
            key: None,
            fail_timeout: seconds::<10>(),
        }
    }
}

fn seconds<const SECONDS: u64>() -> Duration {
    Duration::from_secs(SECONDS)
}

fn yes() -> bool {
    true
}
