//! A name and a password, as a header field carries them.

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
        let this = Self { text, colon };
        this.user().is_some().then_some(this)
    }

    /// The name, which is UTF-8.
    pub(crate) fn user(&self) -> Option<&str> {
        self.text.get(..self.colon).and_then(|user| std::str::from_utf8(user).ok())
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
        Some((credentials.user()?.to_owned(), password))
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
        assert_eq!(parsed(&format!("Basic {}", BASE64_STANDARD.encode(b"\xff:p"))), None);
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
