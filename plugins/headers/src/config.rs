//! The keys of the `headers` plugin.

use plugin_api::{
    schemars::JsonSchema,
    serde::{Deserialize, Serialize},
};

/// The keys of the `headers` plugin; at least one is given.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(crate = "plugin_api::serde")]
#[schemars(crate = "plugin_api::schemars")]
pub struct Config {
    /// The only request fields that pass, beside `Host`, `Content-Type` and what the message itself needs.
    #[serde(default)]
    pub keep: Option<Vec<String>>,

    /// Request fields that do not pass.
    #[serde(default)]
    pub remove: Vec<String>,

    /// Request fields that replace whatever the client sent under their names: `{ name = "X-A", value = "1" }`.
    #[serde(default)]
    pub set: Vec<Field>,

    /// Request fields that go along with whatever the client sent under their names.
    #[serde(default)]
    pub add: Vec<Field>,

    /// What requests and responses carry in `Via` behind the version: the name of this proxy, and a comment in
    /// parentheses if you like.
    #[serde(default)]
    pub via: Option<String>,

    /// The request field that gets the client's address, in place of what the client sent.
    #[serde(default)]
    pub client_address: Option<String>,

    /// Response fields that do not pass.
    #[serde(default)]
    pub response_remove: Vec<String>,

    /// Response fields that replace whatever the server sent under their names.
    #[serde(default)]
    pub response_set: Vec<Field>,

    /// Response fields that go along with whatever the server sent under their names.
    #[serde(default)]
    pub response_add: Vec<Field>,
}

/// A header field.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(crate = "plugin_api::serde")]
#[schemars(crate = "plugin_api::schemars")]
pub struct Field {
    /// Its name. Upper and lower case are the same; HTTP/1 gets it as it is written here.
    pub name: String,
    /// Its value.
    pub value: String,
}
