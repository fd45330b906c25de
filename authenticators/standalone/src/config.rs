//! The keys of the `standalone` authenticator.

use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::Deserialize;

/// The keys of the `standalone` authenticator.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub struct Config {
    /// Addresses on which challenges are answered beside the proxy's own listeners, such as `127.0.0.1:12346`. `[::]`
    /// takes IPv6 only. Without any, only the `acme-challenge` plugin answers.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub listen: Vec<SocketAddr>,
}
