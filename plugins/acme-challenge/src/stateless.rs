//! Answers without any state: whoever knows the account's thumbprint can answer every challenge of that account.

use std::{collections::BTreeSet, net::IpAddr};

use authenticator_api::{DomainName, KeyAuthorization, NameError, Token};
use plugin_api::ConfigError;

/// What is answered, and for which hosts.
pub(crate) struct Stateless {
    thumbprint: Thumbprint,
    hosts: BTreeSet<DomainName>,
}

/// The SHA-256 thumbprint of an account's key ([RFC 7638](https://www.rfc-editor.org/rfc/rfc7638)), base64url as in key
/// authorizations.
struct Thumbprint(String);

impl Stateless {
    /// Of these two keys.
    pub(crate) fn parse(thumbprint: String, hosts: Option<Vec<String>>) -> Result<Self, ConfigError> {
        let thumbprint = Thumbprint::parse(thumbprint)?;
        // Without names, whoever lets a name of theirs lead here could have certificates for it from our account.
        let example = "add `hosts = [\"a.example\"]`";
        let texts = hosts.ok_or_else(|| {
            ConfigError::key("thumbprint", "a thumbprint is answered for the names in `hosts` only, and there is none")
                .with_hint(example)
        })?;
        if texts.is_empty() {
            return Err(ConfigError::key("hosts", "there must be at least one host").with_hint(example));
        }
        let mut hosts = BTreeSet::new();
        for (index, text) in texts.iter().enumerate() {
            let wrong = |message: String| ConfigError::key("hosts", message).index(index);
            let name = name(text).map_err(|error| match error {
                NameError::Wildcard => wrong(format!("`{text}`: HTTP-01 cannot prove control of all names below one"))
                    .with_hint("name each host"),
                error => wrong(format!("`{text}` is not a host: {error}"))
                    .with_hint("write a name such as \"a.example\" or an address, without a port"),
            })?;
            if !hosts.insert(name) {
                return Err(wrong(format!("`{text}` is there twice")).with_hint("take one of them away"));
            }
        }
        Ok(Self { thumbprint, hosts })
    }

    /// The answer for a token on a host as requests have it: without port, an IPv6 address in brackets.
    pub(crate) fn answer(&self, host: Option<&str>, token: &Token) -> Option<KeyAuthorization> {
        let host = name(host?).ok()?;
        let is_ours = self.hosts.contains(&host);
        is_ours.then(|| KeyAuthorization::parse(&format!("{token}.{}", self.thumbprint.0)).ok()).flatten()
    }
}

impl Thumbprint {
    fn parse(text: String) -> Result<Self, ConfigError> {
        let wrong = |message: &str, hint: &str| Err(ConfigError::key("thumbprint", message).with_hint(hint));
        if text.contains('.') {
            let hint = "of a key authorization, write only what stands behind the dot";
            return wrong("this is no thumbprint: there is a dot in it", hint);
        }
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            let hint = "it is base64url without padding: letters, digits, `-` and `_`";
            return wrong("this is no thumbprint: there are other characters in it than those of base64url", hint);
        }
        // 32 octets are 42 characters and four bits of another one, so that the last two bits of that are none.
        let ends_well = |text: &str| text.ends_with(|last| "AEIMQUYcgkosw048".contains(last));
        if text.len() != LENGTH || !ends_well(&text) {
            let hint = "it has 43 characters; `lockgate account list` and `acme.sh --register-account` print it";
            return wrong("this is no thumbprint: it is not the base64url form of a SHA-256", hint);
        }
        Ok(Self(text))
    }
}

/// A host as configurations and requests have it. An IPv6 address may be in brackets.
fn name(text: &str) -> Result<DomainName, NameError> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    match bare.unwrap_or(text).parse::<IpAddr>() {
        Ok(address) => Ok(DomainName::from_address(address)),
        Err(_) => DomainName::parse(text),
    }
}

const LENGTH: usize = 43;

#[cfg(test)]
mod tests {
    use super::*;

    const THUMBPRINT: &str = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";

    fn stateless(hosts: &[&str]) -> Stateless {
        let hosts = hosts.iter().map(|&host| host.to_owned()).collect();
        Stateless::parse(THUMBPRINT.to_owned(), Some(hosts)).unwrap()
    }

    #[test]
    fn a_host_is_the_same_however_it_is_written_and_no_other_is() {
        let stateless = stateless(&["A.example", "192.0.2.1", "2001:db8::1"]);
        let token = Token::parse("token").unwrap();
        let answer = |host| stateless.answer(host, &token);
        let expected = KeyAuthorization::parse(&format!("token.{THUMBPRINT}")).unwrap();
        for host in ["a.example", "A.EXAMPLE", "a.example.", "192.0.2.1", "[2001:db8::1]", "[2001:DB8:0::1]"] {
            assert_eq!(answer(Some(host)), Some(expected.clone()), "{host}");
        }
        for host in ["b.example", "x.a.example", "a.example.net", "example", "192.0.2.2", "[2001:db8::2]", "", "*"] {
            assert_eq!(answer(Some(host)), None, "{host}");
        }
        assert_eq!(answer(None), None);
    }

    #[test]
    fn a_thumbprint_is_that_of_a_sha_256() {
        assert!(Thumbprint::parse(THUMBPRINT.to_owned()).is_ok());
        let padded = format!("{THUMBPRINT}=");
        let pasted = format!("token.{THUMBPRINT}");
        let short = THUMBPRINT.trim_end_matches('s');
        let bits_too_many = THUMBPRINT.replace("Xs", "Xt");
        let standard = THUMBPRINT.replace('_', "/");
        for wrong in ["", short, &padded, &pasted, &bits_too_many, &standard, &"0".repeat(64)] {
            assert!(Thumbprint::parse(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
