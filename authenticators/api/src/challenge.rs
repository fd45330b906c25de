//! The values of an HTTP-01 challenge, parsed once and then known to be safe.

use std::fmt;

/// What one authorization asks us to make retrievable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Challenge {
    /// The name that the certificate authority will connect to.
    pub domain: DomainName,
    /// The last path segment that it will ask for.
    pub token: Token,
    /// The body that it expects.
    pub key_authorization: KeyAuthorization,
}

/// A challenge token: one to 256 characters of the base64url alphabet `[A-Za-z0-9_-]`.
///
/// Because nothing else can be a `Token`, it can be used as a file name: it holds no separator, no dot, no NUL.
/// [RFC 8555 §8.3](https://www.rfc-editor.org/rfc/rfc8555#section-8.3) fixes the alphabet; the length is our bound.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(Box<str>);

impl Token {
    /// The longest token that is accepted, in bytes. Certificate authorities use 43.
    pub const MAX_LEN: usize = 256;

    /// Accepts `text` when it is a token.
    ///
    /// # Errors
    ///
    /// Says which rule `text` breaks.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        if text.is_empty() {
            return Err(TokenError::Empty);
        }
        if text.len() > Self::MAX_LEN {
            return Err(TokenError::TooLong { length: text.len() });
        }
        match text.bytes().position(|byte| !is_base64url(byte)) {
            Some(position) => Err(TokenError::Alphabet { position }),
            None => Ok(Self(text.into())),
        }
    }

    /// The token as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is not a [`Token`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is no character.
    #[error("the token is empty")]
    Empty,
    /// There are more than [`Token::MAX_LEN`] bytes.
    #[error("the token has {length} bytes; at most {max} are accepted", max = Token::MAX_LEN)]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// A byte is not in the base64url alphabet.
    #[error("byte {position} of the token is not in the base64url alphabet")]
    Alphabet {
        /// Index of the first such byte.
        position: usize,
    },
}

/// The answer to a challenge: `<token>.<thumbprint of the account key>`
/// ([RFC 8555 §8.1](https://www.rfc-editor.org/rfc/rfc8555#section-8.1)).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyAuthorization(Box<str>);

impl KeyAuthorization {
    /// The longest key authorization that is accepted, in bytes.
    pub const MAX_LEN: usize = 512;

    /// Accepts `text` when it is `token.thumbprint`, both of the base64url alphabet. Trailing white space, which
    /// RFC 8555 §8.3 lets a server send, is taken off, so that files written by other clients parse too.
    ///
    /// # Errors
    ///
    /// Says which rule `text` breaks; positions count from the start of `text`.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let text = text.trim_end();
        if text.len() > Self::MAX_LEN {
            return Err(TokenError::TooLong { length: text.len() });
        }
        let Some((token, thumbprint)) = text.split_once('.') else {
            return Err(if text.is_empty() {
                TokenError::Empty
            } else {
                TokenError::Alphabet { position: text.len() }
            });
        };
        if token.is_empty() || thumbprint.is_empty() {
            return Err(TokenError::Empty);
        }
        for (part, start) in [(token, 0), (thumbprint, token.len() + 1)] {
            if let Some(position) = part.bytes().position(|byte| !is_base64url(byte)) {
                return Err(TokenError::Alphabet { position: start + position });
            }
        }
        Ok(Self(text.into()))
    }

    /// The body of the answer, without a line end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A DNS name in the form in which certificates carry it: lower case, A-labels, no trailing dot, no wildcard.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DomainName(Box<str>);

impl DomainName {
    /// Accepts `text` when it is a host name with at least two labels or is `localhost`; upper case is lowered and one
    /// trailing dot is dropped. Limits are those of [RFC 1035 §2.3.4](https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4).
    ///
    /// # Errors
    ///
    /// Says which rule `text` breaks.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if name.is_empty() || name.len() > 253 {
            return Err(NameError::Length);
        }
        if name.starts_with("*.") {
            return Err(NameError::Wildcard);
        }
        if name.parse::<std::net::IpAddr>().is_ok() {
            return Err(NameError::Address);
        }
        for label in name.split('.') {
            let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if label.is_empty()
                || label.len() > 63
                || label.starts_with('-')
                || label.ends_with('-')
                || !label.bytes().all(inner)
            {
                return Err(NameError::Label);
            }
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for DomainName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

/// Why a text is not a [`DomainName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty, or longer than 253 characters.
    #[error("a domain name has 1 to 253 characters")]
    Length,
    /// HTTP-01 cannot prove control of a wildcard.
    #[error("HTTP-01 cannot validate a wildcard name; name each host")]
    Wildcard,
    /// An address, not a name.
    #[error("an IP address is not a domain name")]
    Address,
    /// A label is empty, too long, or has a character other than letters, digits and hyphens.
    #[error("each label has 1 to 63 letters, digits or inner hyphens (write international names as xn--…)")]
    Label,
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_base64url_and_nothing_else() {
        assert_eq!(
            Token::parse("evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA").map(|t| t.to_string()).as_deref(),
            Ok("evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA")
        );
        assert_eq!(Token::parse(""), Err(TokenError::Empty));
        assert_eq!(Token::parse(&"a".repeat(257)), Err(TokenError::TooLong { length: 257 }));
        for hostile in ["../etc/passwd", "a/b", "a%2eb", "a\0b", "..", ".", "a.b", "ä", "a b", "a^b"] {
            assert!(matches!(Token::parse(hostile), Err(TokenError::Alphabet { .. })), "{hostile:?}");
        }
    }

    #[test]
    fn key_authorizations_have_two_parts() {
        assert_eq!(KeyAuthorization::parse("tok.thumb\r\n").map(|k| k.as_str().to_owned()).as_deref(), Ok("tok.thumb"));
        for wrong in ["", "tok", ".thumb", "tok.", "tok.a.b", "t/k.a", "tok.a\n."] {
            assert!(KeyAuthorization::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn names_are_normalised() {
        assert_eq!(DomainName::parse("Example.COM.").map(|n| n.to_string()).as_deref(), Ok("example.com"));
        assert_eq!(DomainName::parse("*.example.com"), Err(NameError::Wildcard));
        assert_eq!(DomainName::parse("192.0.2.1"), Err(NameError::Address));
        for wrong in ["-a.example", "a..b", "a_b.example", "ex ample.com", "/etc", "a.b/", &"a".repeat(64)] {
            assert!(matches!(DomainName::parse(wrong), Err(NameError::Label)), "{wrong:?}");
        }
        assert_eq!(DomainName::parse(""), Err(NameError::Length));
    }
}
