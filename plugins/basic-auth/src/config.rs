//! The keys of the `basic-auth` plugin.

use std::{fmt, path::PathBuf};

use plugin_api::{
    config::Duration,
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
};

/// The keys of the `basic-auth` plugin; `users` or `file` is given.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "plugin_api::serde")]
#[schemars(crate = "plugin_api::schemars")]
pub struct Config {
    /// What the client is told that the password is for.
    #[serde(default = "lockgate")]
    pub realm: String,

    /// Who may pass: `{ name = "ann", password = "…" }`. A name may have several passwords.
    #[serde(default)]
    pub users: Option<Vec<User>>,

    /// A file of lines `name:hash`, as `htpasswd -B` writes them; hashes are bcrypt or Argon2. Read when the configuration is.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub file: Option<PathBuf>,

    /// Which header fields are used: `proxy` are those between a client and its proxy (status 407), `origin` those between a
    /// client and a site (status 401), and with `auto` the form of the request decides.
    #[serde(default)]
    pub header: Header,

    /// Hosts, as clients write them, that take the fields of a site, unless a request has those for a proxy.
    #[serde(default)]
    pub origin_hosts: Vec<String>,

    /// Whether the application gets to see name and password that were given to a site.
    #[serde(default)]
    pub pass_on: bool,

    /// How long a password that was checked against a hash need not be checked again.
    #[serde(default = "five_minutes")]
    pub remember: Duration,
}

/// Somebody who may pass.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(crate = "plugin_api::serde")]
#[schemars(crate = "plugin_api::schemars")]
pub struct User {
    /// The name; it has no colon.
    pub name: String,
    /// The password, as it is.
    pub password: Secret,
}

/// A text that is shown nowhere.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(crate = "plugin_api::serde", transparent)]
#[schemars(crate = "plugin_api::schemars")]
pub struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Which header fields are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(crate = "plugin_api::serde", rename_all = "kebab-case")]
#[schemars(crate = "plugin_api::schemars")]
pub enum Header {
    /// Those for a proxy when the client writes to one (a whole URL, or `CONNECT`), those for a site otherwise.
    #[default]
    Auto,
    /// `Proxy-Authorization`, and 407 with `Proxy-Authenticate`.
    Proxy,
    /// `Authorization`, and 401 with `WWW-Authenticate`.
    Origin,
}

fn lockgate() -> String {
    "Lockgate".to_owned()
}

fn five_minutes() -> Duration {
    Duration::from_secs(300)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let user = User { name: "ann".to_owned(), password: Secret("sesame".to_owned()) };
        let shown = format!("{user:?} {user:#?}");
        assert!(shown.contains("ann") && !shown.contains("sesame"), "{shown}");
    }
}
