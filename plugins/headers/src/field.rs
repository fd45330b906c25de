//! Names and values that may stand in a head, and those that are not an operator's to change.

use plugin_api::{
    ConfigError, Spelled,
    http::{
        HeaderName, HeaderValue,
        header::{self, InvalidHeaderName, InvalidHeaderValue},
        uri::Authority,
    },
};

use crate::config;

/// A header field that can be sent.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: Spelled,
    pub(crate) value: HeaderValue,
}

/// Why a field is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FieldError {
    #[error("this is no name of a header field")]
    Name,
    #[error("the value holds a character that no header field may hold")]
    Value,
    #[error("the proxy itself decides about this field")]
    Reserved,
    #[error("`Host` can be set, but neither added nor removed")]
    Host,
    #[error("this is no host: neither a name nor an address, with or without a port")]
    HostValue,
    #[error("this field is set twice")]
    Twice,
}

/// Fields to be added.
pub(crate) fn added(key: &str, fields: &[config::Field]) -> Result<Vec<Field>, ConfigError> {
    each(key, fields, |field, _| {
        let field = parse(field)?;
        if field.name.name() == header::HOST { Err(FieldError::Host) } else { Ok(field) }
    })
}

/// Fields to be set: each name once, or the first would be lost.
pub(crate) fn set(key: &str, fields: &[config::Field]) -> Result<Vec<Field>, ConfigError> {
    each(key, fields, |field, before: &[Field]| {
        let field = parse(field)?;
        if before.iter().any(|other| other.name.name() == field.name.name()) {
            return Err(FieldError::Twice);
        }
        if field.name.name() == header::HOST && !is_host(&field.value) {
            return Err(FieldError::HostValue);
        }
        Ok(field)
    })
}

/// Names of fields to be removed.
pub(crate) fn removed(key: &str, names: &[String]) -> Result<Vec<HeaderName>, ConfigError> {
    each(key, names, |text, _| changeable(text))
}

/// Names of fields that pass; what passes in any case may be named too.
pub(crate) fn kept(key: &str, names: &[String]) -> Result<Vec<HeaderName>, ConfigError> {
    each(key, names, |text, _| name(text))
}

/// The name of a field that the proxy fills in.
pub(crate) fn filled(key: &str, text: &str) -> Result<HeaderName, ConfigError> {
    let name = changeable(text).map_err(|error| refused(key, error))?;
    if name == header::VIA { Err(refused(key, FieldError::Reserved)) } else { Ok(name) }
}

/// The value of a field.
pub(crate) fn value(text: &str) -> Result<HeaderValue, FieldError> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_error: InvalidHeaderValue| FieldError::Value)
}

/// The error about a key, with what to do instead.
pub(crate) fn refused(key: &str, error: FieldError) -> ConfigError {
    let refused = ConfigError::key(key, error.to_string());
    match error {
        FieldError::Name => refused.with_hint("a name has letters, digits and any of !#$%&'*+-.^_`|~"),
        FieldError::Reserved => refused.with_hint(RESERVED_HINT),
        FieldError::Host => refused.with_hint("write `set = [{ name = \"Host\", value = \"…\" }]`"),
        FieldError::Value | FieldError::HostValue | FieldError::Twice => refused,
    }
}

fn each<T, R>(key: &str, items: &[T], read: impl Fn(&T, &[R]) -> Result<R, FieldError>) -> Result<Vec<R>, ConfigError> {
    let mut all = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        all.push(read(item, &all).map_err(|error| refused(key, error).index(index))?);
    }
    Ok(all)
}

fn parse(field: &config::Field) -> Result<Field, FieldError> {
    let name = Spelled::new(&field.name).map_err(|_error: InvalidHeaderName| FieldError::Name)?;
    if is_reserved(name.name()) {
        return Err(FieldError::Reserved);
    }
    Ok(Field { name, value: value(&field.value)? })
}

fn changeable(text: &str) -> Result<HeaderName, FieldError> {
    match name(text)? {
        name if is_reserved(&name) => Err(FieldError::Reserved),
        header::HOST => Err(FieldError::Host),
        name => Ok(name),
    }
}

fn name(text: &str) -> Result<HeaderName, FieldError> {
    HeaderName::from_bytes(text.as_bytes()).map_err(|_error: InvalidHeaderName| FieldError::Name)
}

fn is_host(value: &HeaderValue) -> bool {
    let authority = Authority::try_from(value.as_bytes()).ok();
    // A port that is no port makes `port()` empty.
    authority.is_some_and(|authority| {
        let text = authority.as_str();
        !text.contains('@') && (authority.port().is_some() || text == authority.host())
    })
}

/// Fields that say how the message is framed, or that concern one connection only (RFC 9110 §7.6.1): a proxy that let them
/// be changed would lose track of where a message ends.
fn is_reserved(name: &HeaderName) -> bool {
    RESERVED.contains(&name.as_str())
}

const RESERVED: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

const RESERVED_HINT: &str = "leave it out: it belongs to one connection or frames the message";

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, value: &str) -> config::Field {
        config::Field { name: name.into(), value: value.into() }
    }

    fn error<T>(result: Result<T, ConfigError>) -> String {
        result.err().expect("it is refused").to_string()
    }

    #[test]
    fn what_frames_a_message_is_not_changed() {
        for name in RESERVED.iter().flat_map(|name| [(*name).to_owned(), name.to_ascii_uppercase()]) {
            let reserved = FieldError::Reserved.to_string();
            assert_eq!(error(added("add", &[field(&name, "1")])), reserved, "{name}");
            assert_eq!(error(set("set", &[field(&name, "1")])), reserved, "{name}");
            assert_eq!(error(removed("remove", std::slice::from_ref(&name))), reserved, "{name}");
            assert_eq!(error(filled("client_address", &name)), reserved, "{name}");
            assert!(kept("keep", &[name]).is_ok());
        }
    }

    #[test]
    fn the_host_is_set_or_left_alone() {
        for value in ["a.example", "a.example:8080", "[::1]:1", "192.0.2.1"] {
            assert!(set("set", &[field("host", value)]).is_ok(), "{value}");
        }
        for value in ["", "u@a", "a:65536", "a:b", "a/b", "a b"] {
            assert_eq!(error(set("set", &[field("host", value)])), FieldError::HostValue.to_string(), "{value}");
        }
        assert_eq!(error(added("add", &[field("Host", "a")])), FieldError::Host.to_string());
        assert_eq!(error(removed("remove", &["HOST".into()])), FieldError::Host.to_string());
    }

    #[test]
    fn only_what_can_stand_in_a_head_is_taken() {
        for wrong in ["", "a b", "a:", "ä", "a\r\nb"] {
            assert_eq!(error(added("add", &[field(wrong, "1")])), FieldError::Name.to_string(), "{wrong:?}");
        }
        for wrong in ["a\r\nX-B: 1", "a\0", "\u{7f}"] {
            assert_eq!(error(added("add", &[field("X-A", wrong)])), FieldError::Value.to_string(), "{wrong:?}");
        }
        for right in ["", "a\tb", "ä", "\"quoted\""] {
            assert!(added("add", &[field("X-A", right)]).is_ok(), "{right:?}");
        }
        let twice = [field("X-A", "1"), field("x-a", "2")];
        assert_eq!(error(set("set", &twice)), FieldError::Twice.to_string());
        assert!(added("add", &twice).is_ok());
    }
}
