//! `https-redirect`: leads visitors of plain HTTP to the same place over TLS.
//!
//! It leads nobody to another host, never to where he is already, and never away from an ACME challenge.

mod config;
mod location;
mod status;

use plugin_api::{
    BuildCx, ConfigError, Cx, Form, Phases, Plugin, Request, Response, Scheme, Step, Terminal,
    http::{HeaderName, HeaderValue, StatusCode, header},
};

pub use config::{Config, Otherwise};
use status::Status;

/// Redirects requests that came in the clear.
pub struct HttpsRedirect {
    status: Status,
    port: u16,
    trust_forwarded_proto: bool,
    otherwise: Otherwise,
}

impl Plugin for HttpsRedirect {
    const NAME: &'static str = "https-redirect";
    const PHASES: Phases = Phases::REQUEST;
    const TERMINAL: Terminal = Terminal::Sometimes;

    type Config = Config;
    type State = ();

    fn build(config: Config, _: &mut BuildCx<'_>) -> Result<Self, ConfigError> {
        let Config { status, port, trust_forwarded_proto, otherwise } = config;
        if port == 0 {
            let nowhere = ConfigError::key("port", "nobody can connect to port 0");
            return Err(nowhere.with_hint("leave it out for the port of https, 443"));
        }
        Ok(Self { status: Status::parse(status)?, port, trust_forwarded_proto, otherwise })
    }

    fn terminal(&self) -> Terminal {
        match self.otherwise {
            Otherwise::Next => Self::TERMINAL,
            Otherwise::Refuse => Terminal::Always,
        }
    }

    fn request<'a>(&'a self, cx: &'a mut Cx<'_>, (): &'a mut ()) -> Step<'a> {
        let request = cx.request();
        let is_secure = cx.connection().scheme == Scheme::Https || self.trust_forwarded_proto && came_over_tls(request);
        // What names a URL or a tunnel is asked of a proxy, and means somebody else's site.
        if is_secure || is_challenge(request) || request.form != Form::Origin {
            return self.let_go(request);
        }
        let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
        let Some(location) = request.host.and_then(|host| location::secure(host, self.port, target)) else {
            return Step::respond(Response::refuse(StatusCode::BAD_REQUEST, NO_HOST));
        };
        let mut moved = Response::new(self.status.of(request.method)).with_header(header::LOCATION, location);
        if self.trust_forwarded_proto {
            // A cache between the two proxies would show the redirect to visitors who are on TLS already, in a circle.
            moved = moved.with_header(header::VARY, HeaderValue::from_static("X-Forwarded-Proto"));
        }
        Step::respond(moved)
    }
}

impl HttpsRedirect {
    fn let_go(&self, request: &Request<'_>) -> Step<'_> {
        match (self.otherwise, request.form) {
            (Otherwise::Next, _) => Step::NEXT,
            // The same as where no route takes the request.
            (Otherwise::Refuse, Form::Authority) => {
                Step::respond(Response::refuse(StatusCode::METHOD_NOT_ALLOWED, NO_TUNNELS))
            }
            (Otherwise::Refuse, _) => Step::respond(Response::refuse(StatusCode::NOT_FOUND, NO_SITE)),
        }
    }
}

/// Whether the visitor's own connection was over TLS, as a proxy in front tells it. Where several proxies have written a list,
/// the visitor's is the first.
fn came_over_tls(request: &Request<'_>) -> bool {
    let told = request.header(&X_FORWARDED_PROTO).unwrap_or_default();
    let first = told.split(',').next().unwrap_or_default().trim();
    // Traefik calls a WebSocket over TLS `wss`.
    first.eq_ignore_ascii_case("https") || first.eq_ignore_ascii_case("wss")
}

/// Compared as it was sent, as `acme-challenge` does: a path that only decodes to this is no challenge for that one either.
fn is_challenge(request: &Request<'_>) -> bool {
    request.path().starts_with(CHALLENGES)
}

/// RFC 8555 §8.3.
const CHALLENGES: &str = "/.well-known/acme-challenge/";
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const NO_HOST: &str = "The request names no host to which it could be led over TLS.";
const NO_SITE: &str = "No site is served under this address.";
const NO_TUNNELS: &str = "This listener opens no tunnels.";
