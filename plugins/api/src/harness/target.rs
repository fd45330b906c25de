//! Request targets, taken apart as the engine does it.

use http::{HeaderMap, HeaderValue, Uri, header, uri::PathAndQuery};

use crate::{Form, Scheme};

/// A request target, as a plugin sees it.
pub(super) struct Target {
    pub(super) uri: Uri,
    pub(super) form: Form,
    pub(super) host: HeaderValue,
}

impl Target {
    /// Takes a target apart; one that cannot stand in a request line is a mistake of the test.
    pub(super) fn parse(text: &str) -> Self {
        let uri: Uri = text.parse().expect("a request target");
        let form = match uri.scheme_str() {
            Some("https") => Form::Absolute(Scheme::Https),
            Some(_) => Form::Absolute(Scheme::Http),
            None if uri.authority().is_some() => Form::Authority,
            None => Form::Origin,
        };
        let host = uri.authority().map_or("site.example", |authority| authority.as_str());
        let host = host.parse().expect("an authority can stand in a field");
        let uri = match form {
            Form::Absolute(_) => uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")).into(),
            Form::Origin | Form::Authority => uri,
        };
        Self { uri, form, host }
    }
}

/// The host of a request: lower case, without port.
pub(super) fn host(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::HOST)?.to_str().ok()?;
    let authority: http::uri::Authority = text.parse().ok()?;
    Some(authority.host().to_ascii_lowercase())
}
