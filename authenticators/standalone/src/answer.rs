//! What a visitor gets: decided from the request's method and path alone.

use authenticator_api::Token;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Bytes,
    header::{self, HeaderValue},
};

use crate::tokens::Tokens;

/// The answer to `request`: the key authorization of a known token, 404 for everything else, 405 for methods that ask
/// for something to be done. The body of an answer to HEAD is left out by hyper, its length is not.
pub(crate) fn answer<B>(request: &Request<B>, tokens: &Tokens) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here\n");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    // A path that is no token, `..` or `%2e` for example, is not looked up at all.
    let token = request.uri().path().strip_prefix(PREFIX).and_then(|token| Token::parse(token).ok());
    match token.and_then(|token| tokens.get(&token)) {
        Some(key_authorization) => {
            let body = Bytes::copy_from_slice(key_authorization.as_str().as_bytes());
            // RFC 8555 §8.3 fixes no type; certbot's is this one, and no browser runs it.
            respond(StatusCode::OK, "application/octet-stream", body)
        }
        None => plain(StatusCode::NOT_FOUND, "no such challenge\n"),
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

fn respond(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    // A token is retrievable until its cleanup and not longer.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

const PREFIX: &str = "/.well-known/acme-challenge/";

#[cfg(test)]
mod tests {
    use authenticator_api::{Challenge, DomainName, KeyAuthorization};

    use super::*;

    fn status(method: Method, target: &str) -> StatusCode {
        let tokens = Tokens::default();
        tokens
            .insert(&Challenge {
                domain: DomainName::parse("a.test").unwrap(),
                token: Token::parse("known").unwrap(),
                key_authorization: KeyAuthorization::parse("known.thumb").unwrap(),
            })
            .unwrap();
        answer(&Request::builder().method(method).uri(target).body(()).unwrap(), &tokens).status()
    }

    #[test]
    fn known_tokens_are_answered_in_every_form_of_target() {
        for target in [
            "/.well-known/acme-challenge/known",
            "http://a.test/.well-known/acme-challenge/known",
            "/.well-known/acme-challenge/known?x=1",
        ] {
            assert_eq!(status(Method::GET, target), StatusCode::OK, "{target}");
            assert_eq!(status(Method::HEAD, target), StatusCode::OK, "{target}");
        }
    }

    #[test]
    fn anything_else_is_not_found() {
        for target in [
            "/",
            "/known",
            "/.well-known/acme-challenge",
            "/.well-known/acme-challenge/",
            "/.well-known/acme-challenge/unknown",
            "/.well-known/acme-challenge/known/",
            "/.well-known/acme-challenge/../acme-challenge/known",
            "/.well-known/acme-challenge/%6bnown",
            "/.well-known//acme-challenge/known",
        ] {
            assert_eq!(status(Method::GET, target), StatusCode::NOT_FOUND, "{target}");
        }
        assert_eq!(status(Method::POST, "/.well-known/acme-challenge/known"), StatusCode::METHOD_NOT_ALLOWED);
    }
}
