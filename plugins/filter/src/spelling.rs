//! The ways to write the same host or URL: whoever could get past a pattern with another of them would not be filtered.

use std::net::IpAddr;

use plugin_api::way_out::{Destination, Host};

use crate::{
    config::Subject,
    subject::{bare, split},
};

/// The other ways in which `subject` can be written that leave host and letters as they are: without the dot at the end of a name,
/// and of a URL without the zeros in front of a port, without the port that the scheme has anyway, and without the slash of a path
/// that is nothing else (RFC 9110 §4.2.3).
pub(crate) fn others(kind: Subject, subject: &str) -> Vec<String> {
    all(kind, subject, |host| vec![without_dot(host).to_owned()])
}

/// Beside these the ones with the host in small letters, and with an address as addresses are usually written.
pub(crate) fn all_others(kind: Subject, subject: &str) -> Vec<String> {
    all(kind, subject, |host| {
        let usual = usual(host);
        let mut hosts = vec![without_dot(host).to_owned()];
        hosts.extend(usual.into_iter().filter(|usual| *usual != without_dot(host)));
        hosts
    })
}

/// The one way in which everybody who writes the same host means the same: in small letters, without a dot at its end, an address as
/// IPv4 where it is that, and its port without zeros.
pub(crate) fn canonical(kind: Subject, subject: &str) -> String {
    let host = |host: &str| usual(host).into_iter().next().unwrap_or_default();
    match kind {
        Subject::Host => bare(&host(subject)).to_owned(),
        Subject::Url => {
            let url = Url::of(subject);
            format!("{}{}", url.start(&host(url.host), url.port), url.path)
        }
    }
}

fn all(kind: Subject, subject: &str, hosts: impl Fn(&str) -> Vec<String>) -> Vec<String> {
    let mut spellings = match kind {
        Subject::Host => hosts(subject).iter().map(|host| bare(host).to_owned()).collect(),
        Subject::Url => {
            let url = Url::of(subject);
            hosts(url.host).iter().flat_map(|host| url.with_host(host)).collect::<Vec<_>>()
        }
    };
    spellings.retain(|spelling| spelling != subject);
    spellings
}

/// A URL, or host and port of a tunnel.
struct Url<'u> {
    scheme: Option<&'u str>,
    /// With brackets.
    host: &'u str,
    /// Without zeros in front of it.
    port: Option<&'u str>,
    path: &'u str,
}

impl<'u> Url<'u> {
    fn of(url: &'u str) -> Self {
        let (scheme, rest) = match url.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, url),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (host, port) = split(authority);
        let port = port.map(|port| port.trim_start_matches('0')).filter(|port| !port.is_empty());
        Self { scheme, host, port, path }
    }

    fn with_host(&self, host: &str) -> Vec<String> {
        let mut starts = vec![self.start(host, self.port)];
        if matches!((self.scheme, self.port), (Some("http"), Some("80")) | (Some("https"), Some("443"))) {
            starts.push(self.start(host, None));
        }
        let mut spellings: Vec<_> = starts.iter().map(|start| format!("{start}{}", self.path)).collect();
        if let Some(rest) = self.path.strip_prefix('/').filter(|rest| rest.is_empty() || rest.starts_with('?')) {
            spellings.extend(starts.iter().map(|start| format!("{start}{rest}")));
        }
        spellings
    }

    fn start(&self, host: &str, port: Option<&str>) -> String {
        let front = self.scheme.map_or(String::new(), |scheme| format!("{scheme}://"));
        port.map_or(format!("{front}{host}"), |port| format!("{front}{host}:{port}"))
    }
}

/// The usual ways to write a host, the most usual one first; IPv6 in brackets.
fn usual(host: &str) -> Vec<String> {
    let name = without_dot(host).to_ascii_lowercase();
    let Some(address) = address(&name) else { return vec![name] };
    let written = |address: IpAddr| match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    let mut spellings = vec![written(address.to_canonical())];
    spellings.extend(Some(written(address)).filter(|_| address != address.to_canonical()));
    spellings
}

/// The address that a host is, also as inet_aton(3) reads it.
fn address(host: &str) -> Option<IpAddr> {
    let bare = bare(host);
    if let Ok(address) = bare.parse() {
        return Some(address);
    }
    match Destination::parse(bare, 80)?.host {
        Host::Ip(address) => Some(address),
        Host::Name(_) => None,
    }
}

fn without_dot(host: &str) -> &str {
    host.strip_suffix('.').filter(|name| !name.is_empty()).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_few_other_spellings() {
        for (url, expected) in [
            ("http://a.example/x", &[][..]),
            ("http://A.example/x", &[]),
            ("http://a.example/", &["http://a.example"]),
            ("http://a.example/?q", &["http://a.example?q"]),
            ("http://a.example:80/x", &["http://a.example/x"]),
            ("https://a.example:443/", &["https://a.example/", "https://a.example:443", "https://a.example"]),
            ("http://a.example.:0081/x", &["http://a.example:81/x"]),
            ("http://[::1]:080/x", &["http://[::1]:80/x", "http://[::1]/x"]),
            ("http://a.example:443/x?http://b:80/", &[]),
            ("a.example:0443", &["a.example:443"]),
            ("a.example:443", &[]),
        ] {
            assert_eq!(others(Subject::Url, url), expected, "{url}");
        }
        assert_eq!(others(Subject::Host, "A.example."), ["A.example"]);
        assert_eq!(others(Subject::Host, "a.example"), [""; 0]);
        assert_eq!(others(Subject::Host, "."), [""; 0]);
    }

    #[test]
    fn a_host_is_known_in_capitals_and_an_address_in_every_form() {
        for (host, expected) in [
            ("a.example", &[][..]),
            ("A.Example.", &["A.Example", "a.example"]),
            ("127.0.0.1", &[]),
            ("127.1", &["127.0.0.1"]),
            ("2130706433", &["127.0.0.1"]),
            ("0X7f.0.0.1.", &["0X7f.0.0.1", "127.0.0.1"]),
            ("0177.0.0.1", &["127.0.0.1"]),
            ("::ffff:127.0.0.1", &["127.0.0.1"]),
            ("::FFFF:7f00:1", &["127.0.0.1", "::ffff:127.0.0.1"]),
            ("0:0::1", &["::1"]),
            ("::1", &[]),
        ] {
            assert_eq!(all_others(Subject::Host, host), expected, "{host}");
        }
        for (url, expected) in [
            ("http://A.Example/X", &["http://a.example/X"][..]),
            ("http://127.1:80/x", &["http://127.1/x", "http://127.0.0.1:80/x", "http://127.0.0.1/x"]),
            ("[::ffff:127.0.0.1]:443", &["127.0.0.1:443"]),
            ("http://[0::1]/x", &["http://[::1]/x"]),
        ] {
            assert_eq!(all_others(Subject::Url, url), expected, "{url}");
        }
    }

    #[test]
    fn one_spelling_stands_for_all() {
        for (kind, subject, expected) in [
            (Subject::Host, "A.Example.", "a.example"),
            (Subject::Host, "0x7f.1", "127.0.0.1"),
            (Subject::Host, "::ffff:7f00:1", "127.0.0.1"),
            (Subject::Host, "0:0::1", "::1"),
            (Subject::Url, "http://A.Example.:080/X/", "http://a.example:80/X/"),
            (Subject::Url, "http://[0::1]/", "http://[::1]/"),
            (Subject::Url, "127.1:0443", "127.0.0.1:443"),
        ] {
            assert_eq!(canonical(kind, subject), expected, "{subject}");
        }
    }
}
