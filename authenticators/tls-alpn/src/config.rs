//! The keys of the `tls-alpn` authenticator: there are none.

use schemars::JsonSchema;
use serde::Deserialize;

/// The keys of the `tls-alpn` authenticator.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub struct Config {}
