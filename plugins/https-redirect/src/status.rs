//! Which redirect is answered.

use plugin_api::{
    ConfigError,
    http::{Method, StatusCode},
};

/// The status of redirects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// One that every client knows where the method is safe with it, else one that keeps the method.
    ByMethod,
    /// This one.
    Always(StatusCode),
}

impl Status {
    pub(crate) fn parse(status: Option<u16>) -> Result<Self, ConfigError> {
        Ok(match status {
            None => Self::ByMethod,
            Some(301) => Self::Always(StatusCode::MOVED_PERMANENTLY),
            Some(302) => Self::Always(StatusCode::FOUND),
            Some(307) => Self::Always(StatusCode::TEMPORARY_REDIRECT),
            Some(308) => Self::Always(StatusCode::PERMANENT_REDIRECT),
            Some(other) => {
                let wrong = ConfigError::key("status", format!("{other} is no redirect that can be used here"));
                return Err(wrong.with_hint("write 301, 302, 307 or 308, or leave it out"));
            }
        })
    }

    pub(crate) fn of(self, method: &Method) -> StatusCode {
        match self {
            Self::Always(status) => status,
            // 308 is from 2015 (RFC 7538), and clients of that time are still about: Python's urllib knows it since 3.11. For
            // these two methods 301 says the same; others would become GET (RFC 9110 §15.4.2).
            Self::ByMethod if *method == Method::GET || *method == Method::HEAD => StatusCode::MOVED_PERMANENTLY,
            Self::ByMethod => StatusCode::PERMANENT_REDIRECT,
        }
    }
}
