//! What is compiled in: the only lists that name concrete plugins and authenticators.

use std::sync::{Arc, OnceLock};

use authenticator_api::Authenticator;
use plugin_api::{
    ConfigError, Kind,
    config::{KeyDoc, Problems, Table, describe},
};

/// The plugins that come with Lockgate.
const PLUGINS: &[Kind] = &[
    Kind::of::<plugin_access::Access>(),
    Kind::of::<plugin_acme_challenge::AcmeChallenge>(),
    Kind::of::<plugin_basic_auth::BasicAuth>(),
    Kind::of::<plugin_error_pages::ErrorPages>(),
    Kind::of::<plugin_filter::Filter>(),
    Kind::of::<plugin_forward::Forward>(),
    Kind::of::<plugin_headers::Headers>(),
    Kind::of::<plugin_hsts::Hsts>(),
    Kind::of::<plugin_https_redirect::HttpsRedirect>(),
    Kind::of::<plugin_reverse_path::ReversePath>(),
    Kind::of::<plugin_stats::Stats>(),
    Kind::of::<plugin_upstream::Upstream>(),
];

/// Plugins that somebody's own program brings along.
static GUESTS: OnceLock<&'static [Kind]> = OnceLock::new();

/// Takes further plugins in, before anything is read. `Err` names one whose name is taken.
pub(crate) fn welcome(guests: &'static [Kind]) -> Result<(), &'static str> {
    for (index, guest) in guests.iter().enumerate() {
        if PLUGINS.iter().chain(&guests[..index]).any(|known| known.name() == guest.name()) {
            return Err(guest.name());
        }
    }
    // A second call in one process is for the same program.
    let _ = GUESTS.set(guests);
    Ok(())
}

/// Every plugin that there is.
pub(crate) fn plugins() -> impl Iterator<Item = &'static Kind> {
    PLUGINS.iter().chain(GUESTS.get().copied().unwrap_or_default())
}

/// Every authenticator that `use = "…"` in an `[[authenticator]]` can name.
pub(crate) const AUTHENTICATORS: &[AuthenticatorKind] = &[
    AuthenticatorKind::of::<authenticator_standalone::Standalone>(),
    AuthenticatorKind::of::<authenticator_tls_alpn::TlsAlpn>(),
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
    plugins().map(Kind::name).collect()
}
