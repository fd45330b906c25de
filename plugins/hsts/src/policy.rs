//! What browsers are told.

use std::net::Ipv4Addr;

use plugin_api::{ConfigError, http::HeaderValue};

use crate::{Config, config::year};

/// The value of `Strict-Transport-Security` ([RFC 6797 §6.1](https://www.rfc-editor.org/rfc/rfc6797#section-6.1)).
pub(crate) fn value(config: &Config) -> Result<HeaderValue, ConfigError> {
    let Config { max_age, include_subdomains, preload, .. } = *config;
    if max_age.0.subsec_nanos() != 0 {
        // Half a second would be rounded to none, which means the opposite.
        let broken = ConfigError::key("max_age", "browsers are told whole seconds");
        return Err(broken.with_hint("write, for example, \"1s\", \"10m\" or \"365d\""));
    }
    if preload && !include_subdomains {
        let alone = ConfigError::key("preload", "browsers' lists take a host only together with its subdomains");
        return Err(alone.with_hint("add `include_subdomains = true`, or leave `preload` out"));
    }
    if preload && max_age < year() {
        let short = ConfigError::key("max_age", "browsers' lists take a host only for a year or more");
        return Err(short.with_hint("write `max_age = \"365d\"` or more, or leave `preload` out"));
    }
    let subdomains = if include_subdomains { "; includeSubDomains" } else { "" };
    let preload = if preload { "; preload" } else { "" };
    let text = format!("max-age={}{subdomains}{preload}", max_age.0.as_secs());
    Ok(HeaderValue::try_from(text).expect("letters, digits and these marks are visible ASCII"))
}

/// Whether a host is a name: browsers keep no policy for an address (RFC 6797 §8.1.1).
pub(crate) fn is_name(host: &str) -> bool {
    !host.starts_with('[') && host.parse::<Ipv4Addr>().is_err()
}
