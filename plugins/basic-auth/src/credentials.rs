//! A name and a password, as a header field carries them.

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use plugin_api::http::{HeaderMap, HeaderName};

/// A name and a password, `name:password`. No `Debug`: nobody shall print them.
pub(crate) struct Credentials {
    text: Vec<u8>,
    colon: usize,
}

/// What a request says about who sent it.
pub(crate) enum Presented {
    Nothing,
    /// Something that is not what [RFC 7617](https://www.rfc-editor.org/rfc/rfc7617) describes.
    Nonsense,
    Credentials(Credentials),
}

impl Presented {
    /// Reads the field of this name.
    pub(crate) fn read(headers: &HeaderMap, name: &HeaderName) -> Self {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Nothing,
            (Some(value), None) => Credentials::parse(value.as_bytes()).map_or(Self::Nonsense, Self::Credentials),
            // Whoever sends two may want one to be seen here and the other elsewhere.
            (Some(_), Some(_)) => Self::Nonsense,
        }
    }
}

impl Credentials {
    fn parse(value: &[u8]) -> Option<Self> {
        let (scheme, rest) = value.split_at_checked("Basic".len())?;
        let token = rest.trim_ascii();
        if !scheme.eq_ignore_ascii_case(b"Basic") || !rest.starts_with(b" ") {
            return None;
        }
        let text = BASE64_STANDARD.decode(token).ok()?;
        let colon = text.iter().position(|byte| *byte == b':')?;
        Some(Self { text, colon })
    }

    /// The name, read as Latin-1 where it is not UTF-8: clients choose one of the two (RFC 7617 §2.1).
    pub(crate) fn user(&self) -> Cow<'_, str> {
        let bytes = self.text.get(..self.colon).unwrap_or_default();
        std::str::from_utf8(bytes).map_or_else(|_error| bytes.iter().copied().map(char::from).collect(), Cow::Borrowed)
    }

    pub(crate) fn password(&self) -> &[u8] {
        self.text.get(self.colon + 1..).unwrap_or_default()
    }

    /// Both, with a colon between them.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(value: &str) -> Option<(String, String)> {
        let credentials = Credentials::parse(value.as_bytes())?;
        let password = String::from_utf8_lossy(credentials.password()).into_owned();
        Some((credentials.user().into_owned(), password))
    }

    #[test]
    fn a_name_ends_at_the_first_colon() {
        let both = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        for (text, expected) in [
            ("u:p", both("u", "p")),
            ("u:p:q:", both("u", "p:q:")),
            ("u:", both("u", "")),
            (":p", both("", "p")),
            ("test:123£", both("test", "123£")),
            ("bücher:x", both("bücher", "x")),
            ("u", None),
            ("", None),
        ] {
            assert_eq!(parsed(&format!("Basic {}", BASE64_STANDARD.encode(text))), expected, "{text}");
        }
        let latin1 = format!("Basic {}", BASE64_STANDARD.encode(b"b\xfccher:p"));
        assert_eq!(parsed(&latin1), both("bücher", "p"));
    }

    #[test]
    fn only_this_scheme_is_understood() {
        for value in ["Basic dTpw", "basic dTpw", "BASIC dTpw", "Basic   dTpw "] {
            assert_eq!(parsed(value), Some(("u".to_owned(), "p".to_owned())), "{value}");
        }
        for value in [
            "",
            "Basic",
            "Basic ",
            "BasicdTpw",
            "Basic:dTpw",
            "Digest dTpw",
            "Bearer dTpw",
            "Basic dTpw=",
            "Basic dTp",
            "Basic dTpx dTpw",
            "Basic dTpw, Basic dTpw",
            "Basic u:p",
            "Bäsic dTpw",
        ] {
            assert_eq!(parsed(value), None, "{value}");
        }
    }
}
