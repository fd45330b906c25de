//! Where a request is led.

use std::fmt::Write as _;

use plugin_api::http::{
    HeaderValue,
    uri::{Authority, InvalidUri},
};

/// The https URL of what was asked for: this host, this port, and the target as it was sent. `None` when no URL can be made of
/// the host. The engine has checked hosts, but this is where the client's bytes become a header of ours.
pub(crate) fn secure(host: &str, port: u16, target: &str) -> Option<HeaderValue> {
    let authority = host.parse::<Authority>().map_err(|_error: InvalidUri| ()).ok()?;
    // Neither user information nor a port: the host and nothing else.
    if authority.host() != host {
        return None;
    }
    let mut url = String::with_capacity(SCHEME.len() + host.len() + ":65535".len() + target.len());
    url.push_str(SCHEME);
    url.push_str(host);
    if port != HTTPS {
        let _ = write!(url, ":{port}");
    }
    // A slash ends the host; behind anything else the host would go on. Without one it is `*`, which asks about the server as a
    // whole, and the URL of that has no path (RFC 9112 §3.3).
    if target.starts_with('/') {
        for byte in target.bytes() {
            match byte.is_ascii() {
                true => url.push(char::from(byte)),
                // Targets may come with bytes that no URL has; these stand for them (RFC 3987 §3.1).
                false => {
                    let _ = write!(url, "%{byte:02X}");
                }
            }
        }
    }
    HeaderValue::try_from(url).ok()
}

const SCHEME: &str = "https://";
const HTTPS: u16 = 443;

#[cfg(test)]
mod tests {
    use super::*;

    fn url(host: &str, target: &str) -> Option<String> {
        Some(secure(host, 443, target)?.to_str().unwrap().to_owned())
    }

    #[test]
    fn nothing_but_a_path_follows_the_host() {
        assert_eq!(url("site.example", "/a?b").as_deref(), Some("https://site.example/a?b"));
        for target in ["", "*", ".evil.example", "@evil.example", ":81/", "?a"] {
            assert_eq!(url("site.example", target).as_deref(), Some("https://site.example"), "{target}");
        }
        assert_eq!(url("site.example", "/a\r\nSet-Cookie: b"), None);
    }

    #[test]
    fn only_a_host_is_a_host() {
        for host in ["site.example", "192.0.2.1", "[::1]", "_a-b.example."] {
            assert_eq!(url(host, "/"), Some(format!("https://{host}/")));
        }
        for host in
            ["", "a:1", "a:", "u@a", "a/b", "a\\b", "a?b", "a#b", "a b", "a\n", "[::1", "::1", "[::1]:1", "a%2fb"]
        {
            assert_eq!(url(host, "/"), None, "{host}");
        }
    }
}
