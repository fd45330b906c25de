//! The names of a certificate.

use std::net::IpAddr;

use authenticator_api::{DomainName, NameError};
use plugin_api::config::{Problem, Problems, Span, Spans};

/// Names that are none, or are there twice, are problems; the others come with the number of their place.
pub(super) fn parse(texts: &[String], spans: &Spans, problems: &mut Problems) -> Vec<(usize, DomainName)> {
    if texts.is_empty() {
        let problem = Problem::new(spans.of("domains"), "a certificate is for at least one name");
        problems.push(problem.with_hint("write `domains = [\"example.com\", \"www.example.com\"]`"));
    }
    let mut domains: Vec<(usize, DomainName)> = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let span = spans.of_index("domains", index);
        match name(text, &span) {
            Ok(domain) if domains.iter().any(|(_, known)| *known == domain) => {
                let problem = Problem::new(span, format!("{domain} is in this certificate twice"));
                problems.push(problem.with_hint("take one of them away"));
            }
            Ok(domain) => domains.push((index, domain)),
            Err(problem) => problems.push(problem),
        }
    }
    domains
}

/// A name or an address.
fn name(text: &str, span: &Span) -> Result<DomainName, Problem> {
    let error = match DomainName::parse(text) {
        Ok(domain) => return Ok(domain),
        Err(error) => error,
    };
    if let Ok(address) = text.parse() {
        return Ok(DomainName::from_address(address));
    }
    let wrong = |message: String, hint: String| Err(Problem::new(span.clone(), message).with_hint(hint));
    if error == NameError::Wildcard {
        let message = format!("`{text}`: neither HTTP-01 nor TLS-ALPN-01 can prove control of all names below one");
        let below = text.trim_start_matches("*.");
        return wrong(message, format!("name each host, such as \"www.{below}\""));
    }
    let hint = match host_in(text) {
        Some(host) => format!("write \"{host}\""),
        None if !text.is_ascii() => {
            "write international names in their other form, which begins with `xn--`".to_owned()
        }
        None => "write a name such as \"example.com\", or an address such as \"192.0.2.1\"".to_owned(),
    };
    match error {
        NameError::Address => wrong(format!("`{text}` is not an address that a visitor can have"), hint),
        error => wrong(format!("`{text}` is not a domain name: {error}"), hint),
    }
}

/// The name in a URL, before a port, or in brackets.
fn host_in(text: &str) -> Option<String> {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest);
    let text = text.split_once('/').map_or(text, |(host, _)| host);
    let text = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => text.split_once(':').map_or(text, |(host, _)| host),
    };
    let is_host = text.contains('.') && DomainName::parse(text).is_ok() || text.parse::<IpAddr>().is_ok();
    is_host.then(|| text.to_owned())
}

/// Whether no public authority can reach the name, or is allowed to issue for it.
pub(super) fn is_private(domain: &DomainName) -> bool {
    match domain.address() {
        Some(IpAddr::V4(address)) => {
            address.is_private() || address.is_loopback() || address.is_link_local() || address.is_unspecified()
        }
        Some(IpAddr::V6(address)) => {
            address.is_loopback()
                || address.is_unspecified()
                || address.is_unique_local()
                || address.is_unicast_link_local()
        }
        None => {
            let last = domain.as_str().rsplit('.').next().unwrap_or_default();
            !domain.as_str().contains('.') || PRIVATE.contains(&last) || domain.as_str().ends_with(".home.arpa")
        }
    }
}

/// Names that nobody can own ([RFC 6761](https://www.rfc-editor.org/rfc/rfc6761) and its registry), and those of companies and
/// routers.
const PRIVATE: [&str; 9] = ["corp", "example", "home", "internal", "invalid", "lan", "local", "localhost", "test"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_name_comes_with_what_to_write() {
        for (text, message, hint) in [
            ("*.example.com", "neither HTTP-01 nor TLS-ALPN-01", "name each host, such as \"www.example.com\""),
            ("https://example.com/", "not a domain name", "write \"example.com\""),
            ("example.com:443", "not a domain name", "write \"example.com\""),
            ("[2001:db8::1]", "not a domain name", "write \"2001:db8::1\""),
            ("https://[2001:db8::1]:443/", "not a domain name", "write \"2001:db8::1\""),
            ("bücher.example", "not a domain name", "xn--"),
            ("a b", "not a domain name", "such as \"example.com\""),
            ("", "not a domain name", "such as \"example.com\""),
            ("192.0.2.1.", "not an address", "such as \"example.com\""),
        ] {
            let problem = name(text, &(0..1)).unwrap_err();
            assert!(problem.message.contains(message), "{text}: {}", problem.message);
            assert!(problem.hint.as_ref().unwrap().contains(hint), "{text}: {:?}", problem.hint);
        }
    }

    #[test]
    fn names_and_addresses_are_taken() {
        for (text, expected) in
            [("Example.COM.", "example.com"), ("192.0.2.1", "192.0.2.1"), ("2001:DB8::1", "2001:db8::1")]
        {
            assert_eq!(name(text, &(0..1)).unwrap().as_str(), expected);
        }
    }

    #[test]
    fn private_names_are_known() {
        let private = |text| is_private(&name(text, &(0..1)).unwrap());
        for text in
            ["localhost", "nas", "nas.local", "a.home.arpa", "10.0.0.1", "127.0.0.1", "::1", "fd00::1", "fe80::1"]
        {
            assert!(private(text), "{text}");
        }
        for text in ["example.com", "local.example.com", "192.0.2.1", "2001:db8::1", "arpa.com"] {
            assert!(!private(text), "{text}");
        }
    }
}
