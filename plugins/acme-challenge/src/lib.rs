//! `acme-challenge`: answers `/.well-known/acme-challenge/<token>`, or sends the prefix to another ACME client.
//!
//! What it does not know goes on down the chain: the application may serve challenges of its own. It belongs before
//! redirects, authentication and limits, because certificate authorities come from anywhere and follow nothing.

mod config;
mod forward;
mod path;

use std::sync::Arc;

use authenticator_api::{Authenticator, DomainName, KeyAuthorization, Lookup};
use plugin_api::{
    BuildCx, ConfigError, Cx, Peer, Phases, Plugin, RequestHead, Response, Step, Terminal, Verdict,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
};

pub use config::Config;
use path::Asked;

/// Answers challenges from an authenticator, or passes them on.
pub struct AcmeChallenge {
    source: Source,
}

/// Where answers come from.
enum Source {
    /// An authenticator of this process.
    Authenticator(Arc<dyn Authenticator>),
    /// Another ACME client's own server.
    Forward(Peer),
}

impl Plugin for AcmeChallenge {
    const NAME: &'static str = "acme-challenge";
    const PHASES: Phases = Phases::REQUEST.and(Phases::UPSTREAM_REQUEST);
    const TERMINAL: Terminal = Terminal::Sometimes;

    type Config = Config;
    /// Whether this request was sent to the other client.
    type State = bool;

    fn build(config: Config, cx: &mut BuildCx<'_>) -> Result<Self, ConfigError> {
        let source = match (config.authenticator, config.forward) {
            (Some(name), None) => {
                let found = cx.named::<dyn Authenticator>(&name).ok_or_else(|| unknown(&name, cx))?;
                Source::Authenticator(found)
            }
            (None, Some(url)) => Source::Forward(forward::peer(&url)?),
            (Some(_), Some(_)) => {
                return Err(ConfigError::key(
                    "forward",
                    "answers come from `authenticator` or from `forward`, not both",
                ));
            }
            (None, None) => {
                return Err(ConfigError::table("`acme-challenge` needs `authenticator` or `forward`")
                    .with_hint("add `authenticator = \"name\"` of an `[[authenticator]]`, or `forward = \"http://127.0.0.1:12346\"`"));
            }
        };
        Ok(Self { source })
    }

    fn request<'a>(&'a self, cx: &'a mut Cx<'_>, forwarded: &'a mut bool) -> Step<'a> {
        let request = *cx.request();
        let token = match path::asked(request.path()) {
            // What is malformed cannot be ours either: the application may know better.
            Asked::Other | Asked::Malformed => return Step::NEXT,
            Asked::Token(token) => token,
        };
        if *request.method != Method::GET && *request.method != Method::HEAD {
            return Step::NEXT;
        }
        let authenticator = match &self.source {
            Source::Authenticator(authenticator) => authenticator,
            Source::Forward(_) if request.headers.contains_key(HOP) => {
                let reason = "The challenge was forwarded by this proxy, to itself or to another that sent it back.";
                return Step::respond(Response::refuse(StatusCode::LOOP_DETECTED, reason));
            }
            Source::Forward(peer) => {
                *forwarded = true;
                return Step::done(Verdict::Upstream(peer.clone()));
            }
        };
        let host = request.host.and_then(|host| DomainName::parse(host).ok());
        // The two need a place to live in while the look-up borrows them.
        if let Lookup::Ready(answer) = authenticator.lookup(host.as_ref(), &token) {
            return Step::done(verdict(answer));
        }
        Step::wait(async move { Ok(verdict(authenticator.lookup(host.as_ref(), &token).wait().await)) })
    }

    fn upstream_request<'a>(
        &'a self,
        _: &'a mut Cx<'_>,
        forwarded: &'a mut bool,
        head: &'a mut dyn RequestHead,
    ) -> Step<'a, ()> {
        // Also when the chain went on: then the application sees the mark, which does it no harm.
        if *forwarded {
            head.set(HOP, HeaderValue::from_static("1"));
        }
        Step::done(())
    }
}

fn verdict(answer: Option<KeyAuthorization>) -> Verdict {
    let Some(answer) = answer else { return Verdict::Next };
    let response = Response::new(StatusCode::OK)
        .with_header(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))
        .with_header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
        .with_body(answer.as_str().to_owned());
    Verdict::Respond(Box::new(response))
}

fn unknown(name: &str, cx: &BuildCx<'_>) -> ConfigError {
    let error = ConfigError::key("authenticator", format!("there is no authenticator `{name}`"));
    error.with_hint(match cx.names::<dyn Authenticator>().as_slice() {
        [] => "add an `[[authenticator]]` with that name".to_owned(),
        names => format!("there are: {}", names.join(", ")),
    })
}

/// Marks what was forwarded, so that a circle of proxies is noticed.
const HOP: HeaderName = HeaderName::from_static("lockgate-acme-hop");
