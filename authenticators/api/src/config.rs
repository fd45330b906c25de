//! How an authenticator is made from its table in the configuration file.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::Authenticator;

/// An authenticator that can be named in `[[authenticator]] use = "…"`.
pub trait Kind: Authenticator + Sized {
    /// The word after `use =`.
    const NAME: &'static str;

    /// The other keys of the table. Unknown keys are refused by the decoder, not by each author.
    type Config: DeserializeOwned + JsonSchema;

    /// Makes the authenticator. Pure: it runs in `lockgate check`, so it opens nothing and writes nothing.
    ///
    /// # Errors
    ///
    /// Names the key whose value cannot be used.
    fn build(config: Self::Config) -> Result<Self, BuildError>;
}

/// A value that decodes but cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BuildError {
    /// The key, as written in the file.
    pub key: &'static str,
    /// What is wrong with its value.
    pub message: String,
}
