//! What a server answered: whether it is ACME, and what it says beside what the ACME library hands on.

use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Response, StatusCode, header, response::Parts};

use super::TransportError;
use crate::retry_after;

/// What an answer says and the ACME library does not hand on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// `None` where there was none.
    pub(crate) status: Option<StatusCode>,
    /// When the server wants to be asked again.
    pub(crate) retry_after: Option<SystemTime>,
    /// Where what was made is to be found.
    pub(crate) location: Option<String>,
    /// `Link: <…>;rel="alternate"` (RFC 8555 §7.4.2).
    pub(crate) alternates: Vec<String>,
    /// The document, when it came to its end.
    pub(crate) body: Bytes,
}

impl Answer {
    /// What the head says.
    pub(super) fn new(head: &Parts) -> Self {
        let retry_after = text(&head.headers, &header::RETRY_AFTER);
        Self {
            status: Some(head.status),
            retry_after: retry_after.and_then(|value| retry_after::header(value, SystemTime::now())),
            location: text(&head.headers, &header::LOCATION).map(str::to_owned),
            alternates: links(&head.headers, "alternate"),
            body: Bytes::new(),
        }
    }
}

/// The targets of links with this relation ([RFC 8288 §3](https://www.rfc-editor.org/rfc/rfc8288#section-3)).
pub(crate) fn links(headers: &HeaderMap, relation: &str) -> Vec<String> {
    let values = headers.get_all(header::LINK).into_iter().filter_map(|value| value.to_str().ok());
    // A comma within the target is no separator; those of ACME servers hold none, and one that did would not be fetched.
    let links = values.flat_map(|value| value.split(','));
    let target = |link: &str| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let mut parameters = parameters.split(';').filter_map(|parameter| parameter.trim().split_once('='));
        let matches = parameters.any(|(name, value)| {
            name.eq_ignore_ascii_case("rel") && value.trim_matches('"').split(' ').any(|one| one == relation)
        });
        matches.then(|| target.to_owned())
    };
    links.filter_map(target).collect()
}

/// Lets through what instant-acme understands.
pub(super) fn judge(host: &str, method: &Method, response: Response<Bytes>) -> Result<Response<Bytes>, TransportError> {
    let status = response.status();
    let failed = status.is_client_error() || status.is_server_error();
    let unavailable = |detail: &str| TransportError::Unavailable {
        host: host.to_owned(),
        status,
        detail: detail.to_owned(),
        retry_after: asked_again(&response),
    };
    // Only a nonce is asked for so. instant-acme would not say what came instead of it.
    if *method == Method::HEAD {
        return match response.headers().contains_key(REPLAY_NONCE) {
            _ if failed => Err(unavailable("it does not say why")),
            true => Ok(response),
            false => Err(not_acme(host, &response)),
        };
    }
    // Directories are fetched by GET. Everything else is a POST: a certificate, which is not JSON, too.
    let is_page = text(response.headers(), &header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/html"));
    if *method != Method::GET && !failed && !is_page {
        return Ok(response);
    }
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(response.body()) else {
        // A proxy on the way answered, with a page for people.
        return Err(not_acme(host, &response));
    };
    // instant-acme does not look at the status of a directory.
    if failed && *method == Method::GET {
        return Err(unavailable(value["detail"].as_str().unwrap_or("it does not say why")));
    }
    Ok(response)
}

pub(super) fn not_acme(host: &str, response: &Response<Bytes>) -> TransportError {
    let beginning = String::from_utf8_lossy(response.body());
    TransportError::NotAcme {
        host: host.to_owned(),
        status: response.status(),
        kind: text(response.headers(), &header::CONTENT_TYPE).unwrap_or("no content type").to_owned(),
        beginning: beginning.trim().chars().take(60).collect(),
        retry_after: asked_again(response),
    }
}

fn asked_again(response: &Response<Bytes>) -> Option<SystemTime> {
    retry_after::header(text(response.headers(), &header::RETRY_AFTER)?, SystemTime::now())
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

const REPLAY_NONCE: &str = "replay-nonce";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn links_are_found_by_their_relation() {
        let mut headers = HeaderMap::new();
        for value in [
            r#"<https://ca.example/dir>;rel="index""#,
            r#"<https://ca.example/1>;rel="alternate", <https://ca.example/2> ; title=x; REL="up alternate""#,
            "nonsense",
            "<https://ca.example/3>;rel=up",
        ] {
            headers.append(header::LINK, value.parse().unwrap());
        }
        assert_eq!(links(&headers, "alternate"), ["https://ca.example/1", "https://ca.example/2"]);
    }

    fn answer(status: u16, headers: &[(&str, &str)], body: &'static str) -> Response<Bytes> {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        response.body(Bytes::from_static(body.as_bytes())).unwrap()
    }

    fn judged(method: Method, status: u16, body: &'static str) -> Result<StatusCode, String> {
        let judged = judge("ca.example", &method, answer(status, &[], body));
        judged.map(|response| response.status()).map_err(|error| error.to_string())
    }

    #[test]
    fn answers_that_are_not_acme_are_told_apart() {
        let problem = r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"Service busy; retry later."}"#;
        assert_eq!(judged(Method::GET, 200, "{}"), Ok(StatusCode::OK));
        assert_eq!(judged(Method::POST, 200, "-----BEGIN CERTIFICATE-----"), Ok(StatusCode::OK));
        assert_eq!(judged(Method::POST, 429, problem), Ok(StatusCode::TOO_MANY_REQUESTS), "the ACME library tells it");
        let busy = judged(Method::GET, 503, problem).unwrap_err();
        assert!(busy.contains("ca.example") && busy.contains("503") && busy.contains("Service busy"), "{busy}");
        for (method, status) in [(Method::GET, 200), (Method::GET, 404), (Method::POST, 502)] {
            let page = judged(method, status, "<html>Hello").unwrap_err();
            assert!(page.contains("no ACME server") && page.contains("<html>Hello"), "{page}");
        }
        let portal = answer(200, &[("content-type", "text/html; charset=utf-8")], "<html>Log in");
        assert!(judge("ca.example", &Method::POST, portal).is_err(), "no authority sends such an order");
    }

    #[test]
    fn what_comes_instead_of_a_nonce_is_told() {
        let nonce = answer(200, &[("replay-nonce", "abc")], "");
        assert!(judge("ca.example", &Method::HEAD, nonce).is_ok());
        let busy = answer(429, &[("replay-nonce", "abc"), ("retry-after", "3600")], "");
        let error = judge("ca.example", &Method::HEAD, busy).unwrap_err();
        assert!(error.to_string().contains("429") && error.is_passing(), "{error}");
        let waits = error.retry_after().unwrap().duration_since(SystemTime::now()).unwrap();
        assert!((3590..=3600).contains(&waits.as_secs()) && waits < Duration::from_secs(3601));
        let portal = judge("ca.example", &Method::HEAD, answer(200, &[("content-type", "text/html")], ""));
        assert!(portal.unwrap_err().to_string().contains("no ACME server"));
    }
}
