//! Who asks for a password: a proxy, or a site.

use plugin_api::{
    Form, Request, Response,
    http::{HeaderName, HeaderValue, StatusCode, header},
};

use crate::Header;

/// As whom the plugin speaks to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Proxy,
    Origin,
}

impl Side {
    pub(crate) fn of(header: Header, origin_hosts: &[String], request: &Request<'_>) -> Self {
        let is_for_own = origin_hosts.iter().any(|host| request.is_for_own(host));
        match (header, request.form) {
            _ if is_for_own && !request.headers.contains_key(header::PROXY_AUTHORIZATION) => Self::Origin,
            (Header::Auto, Form::Origin) | (Header::Origin, _) => Self::Origin,
            (Header::Auto, Form::Absolute(_) | Form::Authority) | (Header::Proxy, _) => Self::Proxy,
        }
    }

    /// The field that the client presents itself in.
    pub(crate) const fn field(self) -> HeaderName {
        match self {
            Self::Proxy => header::PROXY_AUTHORIZATION,
            Self::Origin => header::AUTHORIZATION,
        }
    }

    pub(crate) fn refusal(self, challenge: &HeaderValue) -> Response {
        let (status, reason, name) = match self {
            Self::Proxy => (
                StatusCode::PROXY_AUTHENTICATION_REQUIRED,
                "This proxy requires authentication.",
                header::PROXY_AUTHENTICATE,
            ),
            Self::Origin => (
                StatusCode::UNAUTHORIZED,
                "The administrator of this proxy has not configured it to service requests from you.",
                header::WWW_AUTHENTICATE,
            ),
        };
        Response::refuse(status, reason).with_header(name, challenge.clone())
    }
}

/// What a client is asked for. `None`: the realm cannot stand in a header field.
pub(crate) fn challenge(realm: &str, says_charset: bool) -> Option<HeaderValue> {
    let quoted = realm.replace('\\', "\\\\").replace('"', "\\\"");
    let charset = if says_charset { ", charset=\"UTF-8\"" } else { "" };
    HeaderValue::try_from(format!("Basic realm=\"{quoted}\"{charset}")).ok()
}
