//! The keys of the `webroot` authenticator.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::Paths;

/// The keys of the `webroot` authenticator.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Config {
    /// The directory that the web server serves as `/`, for every name, or a table of domain = directory. Each has to
    /// exist; it is never created.
    pub path: Paths,

    /// Where the journal is kept of what was created in webroots; created when it is first needed, readable by its owner
    /// only. Several processes may share it.
    #[serde(default = "default_state")]
    pub state: PathBuf,
}

fn default_state() -> PathBuf {
    DEFAULT_STATE.into()
}

/// The value of the key `state` when it is not given.
pub const DEFAULT_STATE: &str = "/var/lib/lockgate/webroot";
