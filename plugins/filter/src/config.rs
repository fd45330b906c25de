//! The keys of the `filter` plugin.

use std::path::PathBuf;

use plugin_api::{
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
};

/// The keys of the `filter` plugin; `file` or `patterns` is given.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "plugin_api::serde")]
#[schemars(crate = "plugin_api::schemars")]
pub struct Config {
    /// A file with a pattern at the beginning of each line; `#` begins a comment. It is read again at every reload.
    #[serde(default)]
    pub file: Option<PathBuf>,

    /// Patterns beside those of the file.
    #[serde(default)]
    pub patterns: Vec<String>,

    /// How patterns are written: `"bre"` and `"ere"` are regular expressions of POSIX, basic and extended, which are found
    /// anywhere; `"fnmatch"` has wildcards, and is about the whole.
    pub syntax: Syntax,

    /// What patterns are about: `"host"`, or `"url"` for the whole URL.
    #[serde(default)]
    pub subject: Subject,

    /// What happens to a request that no pattern is about: `"allow"`, so that patterns say what is refused, or `"deny"`, so
    /// that they say what is let through.
    #[serde(default)]
    pub default: Fallback,

    /// Whether upper and lower case differ.
    #[serde(default)]
    pub case_sensitive: bool,

    /// Ports to which a later `forward` opens tunnels, if it does so to some only: a `CONNECT` to another one is left for it to
    /// refuse.
    #[serde(default)]
    pub connect_ports: Option<Vec<u16>>,

    /// Hosts that stand for this proxy itself: a request that names a path only, and one of these, is not looked at.
    #[serde(default)]
    pub own_hosts: Vec<String>,

    /// The keys `paths`, `magic` and `only` of a `reverse-path` that follows: requests that it takes are looked at as the
    /// application gets them.
    #[serde(default)]
    pub reverse: Option<Reverse>,
}

/// What a later `reverse-path` is told.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "plugin_api::serde", deny_unknown_fields)]
#[schemars(crate = "plugin_api::schemars")]
pub struct Reverse {
    /// Its paths, in their order.
    pub paths: Vec<Path>,
    /// Whether a cookie remembers the path.
    #[serde(default)]
    pub magic: bool,
    /// Whether it refuses what no path matches.
    #[serde(default)]
    pub only: bool,
}

/// A path and where it leads.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "plugin_api::serde", deny_unknown_fields)]
#[schemars(crate = "plugin_api::schemars")]
pub struct Path {
    /// What the paths of requests start with.
    pub path: String,
    /// The URL that takes its place; without it, `reverse-path` answers by itself.
    #[serde(default)]
    pub to: Option<String>,
}

/// A language of patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(crate = "plugin_api::serde", rename_all = "lowercase")]
#[schemars(crate = "plugin_api::schemars")]
pub enum Syntax {
    /// Basic regular expressions.
    Bre,
    /// Extended regular expressions.
    Ere,
    /// Wildcards.
    Fnmatch,
}

/// What patterns are about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(crate = "plugin_api::serde", rename_all = "lowercase")]
#[schemars(crate = "plugin_api::schemars")]
pub enum Subject {
    /// The host that the request is for.
    #[default]
    Host,
    /// The URL.
    Url,
}

/// What happens to a request that no pattern is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(crate = "plugin_api::serde", rename_all = "lowercase")]
#[schemars(crate = "plugin_api::schemars")]
pub enum Fallback {
    /// It goes on.
    #[default]
    Allow,
    /// It is refused.
    Deny,
}
