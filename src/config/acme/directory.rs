//! The directory URL of a certificate authority
//! ([RFC 8555 §7.1.1](https://www.rfc-editor.org/rfc/rfc8555#section-7.1.1)).

use certificates::Authority;
use plugin_api::{
    config::{Problem, Span, did_you_mean},
    http::Uri,
};

/// The directory URL of a certificate authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) struct Directory(String);

impl Directory {
    /// Takes a URL, or the short name of one. `span` is where it stands.
    pub(super) fn parse(text: &str, span: Span) -> Result<Self, Problem> {
        if let Some((_, url)) = SHORT_NAMES.iter().find(|(name, _)| *name == text) {
            return Ok(Self((*url).to_owned()));
        }
        let wrong = |message: &str, hint: String| Problem::new(span.clone(), message).with_hint(hint);
        let Some((scheme, rest)) = text.split_once("://") else {
            let is_address = text.contains(['.', '/']);
            let (names, example) = (SHORT_NAMES.map(|(name, _)| name), format!("write \"https://{text}\""));
            let hint = match did_you_mean(text, &names) {
                Some(hint) => hint,
                None if text == "internal" => "write `issuer = \"internal\"` in each `[[certificate]]`".to_owned(),
                None if is_address => example,
                None => format!("write a URL, \"{}\"", names.join("\" or \"")),
            };
            return Err(wrong(&format!("`{text}` is not the URL of a certificate authority's directory"), hint));
        };
        if !scheme.eq_ignore_ascii_case("https") {
            let message = "certificate authorities are asked over TLS: the URL must start with `https://`";
            return Err(wrong(message, format!("write \"https://{rest}\"")));
        }
        // The library drops a fragment without a word.
        let uri = text.parse::<Uri>().ok().filter(|uri| !text.contains(['@', '#']) && uri.host().is_some());
        let Some(uri) = uri else {
            let hint = "write a URL such as \"https://acme-v02.api.letsencrypt.org/directory\"";
            return Err(wrong(&format!("`{text}` is not a URL that can be asked"), hint.to_owned()));
        };
        // Nothing else is served there, and a web page is what is found most easily.
        let known = SHORT_NAMES.iter().find(|(_, url)| url.parse::<Uri>().is_ok_and(|url| url.host() == uri.host()));
        match known {
            Some((name, url)) if *url != text => Err(wrong(
                &format!("this is not the directory of that authority, which is {url}"),
                format!("write \"{name}\""),
            )),
            _ => Ok(Self(text.to_owned())),
        }
    }

    /// That of an authority which was made from one.
    pub(in crate::config) fn of(authority: &Authority) -> Self {
        Self(authority.directory.clone())
    }

    /// The URL.
    pub(in crate::config) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is one of Let's Encrypt's.
    pub(in crate::config) fn is_lets_encrypt(&self) -> bool {
        SHORT_NAMES.iter().any(|(_, url)| *url == self.0)
    }

    /// Whether its certificates are for tests, and nobody's browser believes them.
    pub(in crate::config) fn is_for_tests(&self) -> bool {
        self.0 == STAGING
    }
}

/// Let's Encrypt.
impl Default for Directory {
    fn default() -> Self {
        Self(PRODUCTION.to_owned())
    }
}

const SHORT_NAMES: [(&str, &str); 2] = [("letsencrypt", PRODUCTION), ("letsencrypt-staging", STAGING)];
const PRODUCTION: &str = "https://acme-v02.api.letsencrypt.org/directory";
const STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Directory, (String, String)> {
        Directory::parse(text, 0..1).map_err(|problem| (problem.message, problem.hint.unwrap()))
    }

    #[test]
    fn short_names_stand_for_urls() {
        assert_eq!(parse("letsencrypt").unwrap().as_str(), PRODUCTION);
        assert_eq!(parse(PRODUCTION), Ok(Directory::default()));
        let staging = parse("letsencrypt-staging").unwrap();
        assert!(staging.is_for_tests() && staging.is_lets_encrypt() && !Directory::default().is_for_tests());
        let own = parse("https://127.0.0.1:14000/dir").unwrap();
        assert!(!own.is_lets_encrypt() && own.as_str() == "https://127.0.0.1:14000/dir");
    }

    #[test]
    fn what_is_no_directory_comes_with_what_to_write() {
        for (text, message, hint) in [
            ("letsencript", "not the URL", "did you mean `letsencrypt`?"),
            ("internal", "not the URL", "issuer = \"internal\""),
            ("ca.example/dir", "not the URL", "write \"https://ca.example/dir\""),
            ("step", "not the URL", "\"letsencrypt\" or \"letsencrypt-staging\""),
            ("", "not the URL", "\"letsencrypt\" or \"letsencrypt-staging\""),
            ("http://ca.example/dir", "over TLS", "write \"https://ca.example/dir\""),
            ("https://", "not a URL", "acme-v02"),
            ("https://me:secret@ca.example/dir", "not a URL", "acme-v02"),
            ("https://ca.example/dir#terms", "not a URL", "acme-v02"),
            ("https://acme-v02.api.letsencrypt.org/", "not the directory of that authority", "write \"letsencrypt\""),
        ] {
            let (told, advice) = parse(text).unwrap_err();
            assert!(told.contains(message), "{text}: {told}");
            assert!(advice.contains(hint), "{text}: {advice}");
        }
    }
}
