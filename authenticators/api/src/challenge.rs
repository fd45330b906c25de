//! The values of a challenge, parsed once and then known to be safe.

use std::{fmt, net::IpAddr};

/// How a certificate authority convinces itself that we control a name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChallengeKind {
    /// It fetches the key authorization by HTTP from port 80
    /// ([RFC 8555 §8.3](https://www.rfc-editor.org/rfc/rfc8555#section-8.3)).
    #[default]
    Http01,
    /// It shakes hands by TLS on port 443 and looks at the certificate it gets
    /// ([RFC 8737](https://www.rfc-editor.org/rfc/rfc8737)).
    TlsAlpn01,
}

impl ChallengeKind {
    /// The name that ACME has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
        }
    }
}

impl fmt::Display for ChallengeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The certificate with which a TLS-ALPN-01 challenge is answered, and its key.
#[derive(Clone, PartialEq, Eq)]
pub struct ChallengeCertificate {
    /// The certificate, DER. It is self-signed; there is no chain.
    pub certificate: Box<[u8]>,
    /// Its private key, PKCS #8 DER.
    pub private_key: Box<[u8]>,
}

impl ChallengeCertificate {
    /// What a client that wants to see it offers by ALPN, and it alone
    /// ([RFC 8737 §6.2](https://www.rfc-editor.org/rfc/rfc8737#section-6.2)).
    pub const PROTOCOL: &'static [u8] = b"acme-tls/1";
}

impl fmt::Debug for ChallengeCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChallengeCertificate").finish_non_exhaustive()
    }
}

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

/// What a certificate can be for and a visitor can connect to: a DNS name in the form in which certificates carry it (lower
/// case, A-labels, no trailing dot, no wildcard), or an IP address ([RFC 8738](https://www.rfc-editor.org/rfc/rfc8738)).
///
/// As text an address looks like `192.0.2.1` or `2001:db8::1`, without brackets; no DNS name looks like that.
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
        if name.parse::<IpAddr>().is_ok() {
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

    /// An IP address, for which some authorities issue certificates too. [`parse`](Self::parse) takes names only, so that
    /// an address is never taken by mistake.
    pub fn from_address(address: IpAddr) -> Self {
        Self(address.to_canonical().to_string().into())
    }

    /// The address, when it is one.
    pub fn address(&self) -> Option<IpAddr> {
        self.0.parse().ok()
    }

    /// How a TLS client names it in its handshake (SNI): a name as it is, an address as the name under which its reverse
    /// mapping is kept ([RFC 8738 §6](https://www.rfc-editor.org/rfc/rfc8738#section-6)).
    pub fn server_name(&self) -> String {
        match self.address() {
            None => self.0.to_string(),
            Some(IpAddr::V4(address)) => {
                let [a, b, c, d] = address.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            Some(IpAddr::V6(address)) => {
                let nibbles = address.octets().into_iter().rev().flat_map(|octet| [octet & 15, octet >> 4]);
                nibbles.map(|nibble| format!("{nibble:x}.")).chain(["ip6.arpa".to_owned()]).collect()
            }
        }
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
    /// Neither HTTP-01 nor TLS-ALPN-01 can prove control of a wildcard.
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
    fn addresses_are_kept_apart_from_names() {
        for (address, server_name) in [
            ("192.0.2.1", "1.2.0.192.in-addr.arpa"),
            ("2001:db8::1", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"),
        ] {
            let name = DomainName::from_address(address.parse().unwrap());
            assert_eq!((name.as_str(), name.address()), (address, address.parse().ok()));
            assert_eq!(name.server_name(), server_name);
            assert!(DomainName::parse(address).is_err());
        }
        let mapped = DomainName::from_address("::ffff:192.0.2.1".parse().unwrap());
        assert_eq!(mapped.as_str(), "192.0.2.1");
        let name = DomainName::parse("a.example").unwrap();
        assert_eq!((name.address(), name.server_name().as_str()), (None, "a.example"));
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
