//! What is compiled in: the only lists that name concrete plugins and authenticators.

use std::sync::Arc;

use authenticator_api::Authenticator;
use plugin_api::{
    ConfigError, Kind,
    config::{KeyDoc, Problems, Table, describe},
};

/// Every plugin that `use = "…"` in a chain can name.
pub(crate) const PLUGINS: &[Kind] = &[
    Kind::of::<plugin_acme_challenge::AcmeChallenge>(),
    Kind::of::<plugin_forward::Forward>(),
    Kind::of::<plugin_headers::Headers>(),
    Kind::of::<plugin_reverse_path::ReversePath>(),
    Kind::of::<plugin_upstream::Upstream>(),
];

/// Every authenticator that `use = "…"` in an `[[authenticator]]` can name.
pub(crate) const AUTHENTICATORS: &[AuthenticatorKind] = &[
    AuthenticatorKind::of::<authenticator_standalone::Standalone>(),
    AuthenticatorKind::of::<authenticator_webroot::Webroot>(),
];

/// An authenticator that is compiled in.
pub(crate) struct AuthenticatorKind {
    pub(crate) name: &'static str,
    pub(crate) build: fn(Table<'_>, &mut Problems) -> Option<Arc<dyn Authenticator>>,
    pub(crate) keys: fn() -> Vec<KeyDoc>,
}

impl AuthenticatorKind {
    const fn of<A: authenticator_api::Kind>() -> Self {
        Self { name: A::NAME, build: build::<A>, keys: describe::<A::Config> }
    }
}

fn build<A: authenticator_api::Kind>(table: Table<'_>, problems: &mut Problems) -> Option<Arc<dyn Authenticator>> {
    let spans = table.spans();
    match A::build(table.decode(problems)?) {
        Ok(authenticator) => Some(Arc::new(authenticator)),
        Err(error) => {
            problems.push(ConfigError::key(error.key, error.message).at(&spans));
            None
        }
    }
}

/// The names of plugins, for messages.
pub(crate) fn plugin_names() -> Vec<&'static str> {
    PLUGINS.iter().map(Kind::name).collect()
}
