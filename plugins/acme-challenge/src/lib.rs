//! `acme-challenge`: answers `/.well-known/acme-challenge/<token>`, or sends the prefix to other ACME clients.
//!
//! What it does not know goes on down the chain: the application may serve challenges of its own. It belongs before
//! redirects, authentication and limits, because certificate authorities come from anywhere and follow nothing.

mod config;
mod forward;
mod path;
mod stateless;

use std::sync::Arc;

use authenticator_api::{Authenticator, DomainName, KeyAuthorization, Lookup};
use plugin_api::{
    BuildCx, ConfigError, Cx, Peer, Phases, Plugin, RequestHead, Response, Step, Terminal, Verdict,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
};

pub use config::{Config, Urls};
use path::Asked;
use stateless::Stateless;

/// Answers challenges from an authenticator, or passes them on.
pub struct AcmeChallenge {
    source: Source,
}

/// Where answers come from.
enum Source {
    /// An authenticator of this process.
    Authenticator(Arc<dyn Authenticator>),
    /// The servers of other ACME clients.
    Forward(Peer),
    /// What is known of an account.
    Stateless(Stateless),
}

impl Plugin for AcmeChallenge {
    const NAME: &'static str = "acme-challenge";
    const PHASES: Phases = Phases::REQUEST.and(Phases::UPSTREAM_REQUEST);
    const TERMINAL: Terminal = Terminal::Sometimes;

    type Config = Config;
    /// Whether this request was sent to another client.
    type State = bool;

    fn build(config: Config, cx: &mut BuildCx<'_>) -> Result<Self, ConfigError> {
        Ok(Self { source: Source::parse(config, cx)? })
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
            Source::Stateless(stateless) => return Step::done(verdict(stateless.answer(request.host, &token))),
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

impl Source {
    fn parse(config: Config, cx: &BuildCx<'_>) -> Result<Self, ConfigError> {
        let Config { authenticator, forward, thumbprint, hosts } = config;
        if hosts.is_some() && thumbprint.is_none() {
            let error = ConfigError::key("hosts", "`hosts` are those that a `thumbprint` is answered for");
            return Err(error.with_hint("take it away, or add `thumbprint`"));
        }
        let several = |key| Err(ConfigError::key(key, ONE_OF).with_hint("write two `acme-challenge` in the chain"));
        match (authenticator, forward, thumbprint) {
            (Some(name), None, None) => {
                let found = cx.named::<dyn Authenticator>(&name).ok_or_else(|| unknown(&name, cx))?;
                Ok(Self::Authenticator(found))
            }
            (None, Some(urls), None) => forward::peer(urls.as_slice(), cx).map(Self::Forward),
            (None, None, Some(thumbprint)) => Stateless::parse(thumbprint, hosts).map(Self::Stateless),
            (_, _, Some(_)) => several("thumbprint"),
            (Some(_), Some(_), None) => several("forward"),
            (None, None, None) => {
                let error = "`acme-challenge` needs `authenticator`, `forward` or `thumbprint`";
                Err(ConfigError::table(error).with_hint(
                    "add `authenticator = \"name\"` of an `[[authenticator]]`, `forward = \"http://127.0.0.1:12346\"`, \
                     or `thumbprint` with `hosts`",
                ))
            }
        }
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

const ONE_OF: &str = "answers come from one of `authenticator`, `forward` and `thumbprint`, not from several";

/// Marks what was forwarded, so that a circle of proxies is noticed.
const HOP: HeaderName = HeaderName::from_static("lockgate-acme-hop");
