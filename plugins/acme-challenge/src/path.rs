//! Which requests are challenges.

use authenticator_api::Token;

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Something else.
    Other,
    /// It lies where challenges lie, but what follows is no token.
    Malformed,
    /// This challenge.
    Token(Token),
}

/// Reads a path as it was sent: an encoded character is no character of a token, so nothing is decoded.
pub(crate) fn asked(path: &str) -> Asked {
    match path.strip_prefix(PREFIX) {
        None => Asked::Other,
        Some(token) => Token::parse(token).map_or(Asked::Malformed, Asked::Token),
    }
}

/// RFC 8555 §8.3.
const PREFIX: &str = "/.well-known/acme-challenge/";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tokens_are_challenges() {
        assert_eq!(asked("/.well-known/acme-challenge/a-B_9"), Asked::Token(Token::parse("a-B_9").unwrap()));
        assert_eq!(asked("/.well-known/acme-challenge"), Asked::Other);
        assert_eq!(asked("/x/.well-known/acme-challenge/a"), Asked::Other);
        for hostile in ["", "a/b", "..", "../x", "%2e%2e", "a%00", "a.b", &"a".repeat(5000)] {
            assert_eq!(asked(&format!("/.well-known/acme-challenge/{hostile}")), Asked::Malformed, "{hostile}");
        }
    }
}
