//! `reverse-path`: maps paths to applications on other servers.

mod config;
mod mapping;
mod segment;
mod target;

use std::sync::Arc;

use plugin_api::{
    Bind, BuildCx, ConfigError, Cx, Fault, Form, Peer, Phases, Plugin, Request, RequestHead, Response, ResponseHead,
    Step, Terminal, Timeouts, TlsKeys, Verdict,
    http::{HeaderValue, StatusCode, header},
    way_out::{self, Parents},
};

pub use config::{Config, Path};
use mapping::{Chosen, Found, Mapping, Way};
use target::{Target, TargetError};

/// Takes the requests whose path is mapped, and names the application that gets them.
pub struct ReversePath {
    mappings: Vec<Mapping>,
    /// One for each mapping that leads somewhere.
    peers: Vec<Option<Peer>>,
    /// What tinyproxy's log says about the way to each.
    ways: Vec<String>,
    /// One for each mapping that a cookie can remember, when cookies remember paths.
    cookies: Option<Vec<Option<HeaderValue>>>,
    /// Ends with `/`.
    base_url: Option<String>,
    only: bool,
}

/// What the plugin remembers about a request.
#[derive(Default)]
pub struct State {
    chosen: Option<Chosen>,
    /// Whether the request was passed on: only then is the response the application's.
    passed_on: bool,
}

impl Plugin for ReversePath {
    const NAME: &'static str = "reverse-path";
    const PHASES: Phases = Phases::REQUEST.and(Phases::UPSTREAM_REQUEST).and(Phases::RESPONSE);
    const TERMINAL: Terminal = Terminal::Sometimes;

    type Config = Config;
    type State = State;

    fn build(mut config: Config, cx: &mut BuildCx<'_>) -> Result<Self, ConfigError> {
        if config.paths.is_empty() && !config.only {
            return Err(ConfigError::key("paths", "there must be at least one path"));
        }
        let mappings = mappings(&config, cx)?;
        let cookies = mappings.iter().map(|mapping| mapping::cookie(&mapping.path)).collect::<Result<_, _>>();
        let cookies = cookies.map_err(|error| ConfigError::key("paths", error.to_string()))?;
        let bind = way_out::source(std::mem::take(&mut config.bind), config.bind_same, config.bind_order)?;
        let parents = Parents::build(std::mem::take(&mut config.parents), config.bind_same, cx)?;
        Ok(Self {
            ways: mappings.iter().map(|mapping| way(mapping, &parents)).collect(),
            peers: peers(&config, &mappings, &parents, &bind)?,
            cookies: config.magic.then_some(cookies),
            base_url: config.base_url.map(base_url).transpose()?,
            only: config.only,
            mappings,
        })
    }

    fn terminal(&self) -> Terminal {
        if self.only { Terminal::Always } else { Self::TERMINAL }
    }

    fn request<'a>(&'a self, cx: &'a mut Cx<'_>, state: &'a mut State) -> Step<'a> {
        let request = cx.request();
        let found = match request.form {
            Form::Origin => self.find(request),
            // A client that names a host asks for that host, not for a path here.
            Form::Absolute(_) | Form::Authority => Found::Nowhere,
        };
        match found {
            Found::In(chosen) => self.enter(request, chosen, state),
            Found::WithoutSlash(index) => {
                let location = HeaderValue::try_from(&self.mappings[index].path).expect("a path is visible ASCII");
                // The type is that of an empty page, as tinyproxy says it.
                let html = HeaderValue::from_static("text/html");
                let moved = Response::new(StatusCode::MOVED_PERMANENTLY).with_header(header::CONTENT_TYPE, html);
                Step::respond(moved.with_header(header::LOCATION, location).with_fault(Fault::Request))
            }
            Found::Nowhere if self.only => Step::respond(Response::refuse(StatusCode::BAD_REQUEST, UNMAPPED)),
            Found::Nowhere => Step::NEXT,
        }
    }

    fn upstream_request<'a>(
        &'a self,
        cx: &'a mut Cx<'_>,
        state: &'a mut State,
        head: &'a mut dyn RequestHead,
    ) -> Step<'a, ()> {
        let Some(chosen) = state.chosen else { return Step::done(()) };
        state.passed_on = true;
        if let Some(url) = self.mappings[chosen.index].target() {
            head.set_target(url.rewrite(target(cx.request()), chosen.replaced).as_bytes());
            head.set(header::HOST, url.host.clone());
        }
        Step::done(())
    }

    fn response<'a>(&'a self, _: &'a mut Cx<'_>, state: &'a mut State, head: &'a mut dyn ResponseHead) -> Step<'a, ()> {
        let Some(chosen) = state.chosen.filter(|_| state.passed_on) else { return Step::done(()) };
        if let Some(cookie) = self.cookies.as_ref().and_then(|cookies| cookies[chosen.index].as_ref()) {
            // Before those of the origin, as tinyproxy does it.
            let theirs: Vec<_> = head.headers().get_all(header::SET_COOKIE).iter().cloned().collect();
            head.set(header::SET_COOKIE, cookie.clone());
            theirs.into_iter().for_each(|cookie| head.append(header::SET_COOKIE, cookie));
        }
        if let Some(base_url) = &self.base_url
            && let Some(location) = head.headers().get(header::LOCATION)
            && let Some(moved) = mapping::relocate(&self.mappings, base_url, location.as_bytes())
        {
            head.set(header::LOCATION, moved);
        }
        Step::done(())
    }
}

impl ReversePath {
    fn enter<'a>(&'a self, request: &Request<'_>, chosen: Chosen, state: &mut State) -> Step<'a> {
        match (&self.mappings[chosen.index].way, &self.peers[chosen.index]) {
            (Way::To(target), Some(peer)) => {
                if target.is_left_by(request.path(), chosen.replaced) {
                    return Step::respond(Response::refuse(StatusCode::BAD_REQUEST, CLIMBS));
                }
                state.chosen = Some(chosen);
                tracing::info!(target: "lockgate::narrative", "{}", self.ways[chosen.index]);
                Step::done(Verdict::Upstream(peer.clone()))
            }
            (Way::Refused(StatusCode::NOT_IMPLEMENTED), _) => {
                Step::respond(Response::refuse(StatusCode::NOT_IMPLEMENTED, UNSUPPORTED))
            }
            (Way::Refused(StatusCode::INTERNAL_SERVER_ERROR), _) => {
                let refusal = Response::refuse(StatusCode::INTERNAL_SERVER_ERROR, UNREACHABLE);
                Step::respond(refusal.with_phrase("Unable to connect"))
            }
            (Way::Refused(status), _) => Step::respond(Response::refuse(*status, NOBODY)),
            (Way::To(_), None) => Step::respond(Response::refuse(StatusCode::BAD_GATEWAY, NOBODY)),
        }
    }

    fn find(&self, request: &Request<'_>) -> Found {
        let target = target(request);
        match mapping::find(&self.mappings, target) {
            Found::Nowhere if self.cookies.is_some() && target.starts_with('/') => {
                mapping::remembered(&self.mappings, request.headers).map_or(Found::Nowhere, Found::In)
            }
            found => found,
        }
    }
}

/// Path and query, as the client sent them.
fn target<'a>(request: &Request<'a>) -> &'a str {
    request.uri.path_and_query().map_or("/", |target| target.as_str())
}

fn mappings(config: &Config, cx: &mut BuildCx<'_>) -> Result<Vec<Mapping>, ConfigError> {
    let mapping = |(index, one): (usize, &Path)| {
        let wrong = |message: String| ConfigError::key("paths", message).index(index);
        let path = Mapping::path(&one.path).map_err(|error| wrong(error.to_string()))?;
        let to = match (&one.to, one.status) {
            (Some(to), None) => to,
            (None, Some(status)) => {
                let status = error_status(status).ok_or_else(|| wrong(format!("`status` {NO_ERROR}")))?;
                return Ok(Mapping { path, way: Way::Refused(status) });
            }
            _ => return Err(wrong("a path has either `to` or `status`".to_owned())),
        };
        let parsed = Target::parse(to);
        let mut target = parsed.map_err(|error: TargetError| wrong(error.to_string()).with_hint(FORMS))?;
        let keys = tls_keys(one);
        match &target.tls {
            None => {
                if let Some(key) = keys.given() {
                    return Err(wrong(format!("`{key}` is about TLS, and `to` has no `https://`")));
                }
            }
            Some(tls) => {
                let name = keys.server_name.or(tls.server_name.as_deref());
                let tls = TlsKeys { server_name: name, ..keys }.read(cx);
                target.tls = Some(tls.map_err(|(key, error)| wrong(format!("`{key}`: {error}")))?);
            }
        }
        Ok(Mapping { path, way: Way::To(target) })
    };
    config.paths.iter().enumerate().map(mapping).collect()
}

fn tls_keys(path: &Path) -> TlsKeys<'_> {
    TlsKeys {
        server_name: path.server_name.as_deref(),
        is_unverified: !path.verify,
        ca: path.ca.as_deref(),
        certificate: path.certificate.as_deref(),
        key: path.key.as_deref(),
    }
}

/// What tinyproxy's log says about the way to an application.
fn way(mapping: &Mapping, parents: &Parents) -> String {
    mapping.destination().map(|destination| parents.way(&destination).to_string()).unwrap_or_default()
}

fn peers(
    config: &Config,
    mappings: &[Mapping],
    parents: &Parents,
    bind: &Bind,
) -> Result<Vec<Option<Peer>>, ConfigError> {
    let timeouts = Timeouts {
        connect: config.connect_timeout.0,
        read: config.read_timeout.0,
        write: config.write_timeout.0,
        idle: config.idle_timeout.0,
        upgraded_idle: config.upgraded_idle_timeout.map(|timeout| timeout.0),
    };
    let unreachable = config.unreachable_status.map(|status| {
        error_status(status).ok_or_else(|| ConfigError::key("unreachable_status", format!("this {NO_ERROR}")))
    });
    let unreachable = unreachable.transpose()?;
    let peer = |mapping: &Mapping| {
        let target = mapping.target()?;
        let mut peer = Peer::builder(vec![target.address.clone()]);
        peer = peer.timeouts(timeouts).forwarded(config.forwarded).bind(bind.clone());
        if let Some(parent) = mapping.destination().as_ref().and_then(|destination| parents.towards(destination)) {
            peer = peer.parent(Arc::clone(parent));
        }
        if let Some(tls) = &target.tls {
            peer = peer.tls(tls.clone());
        }
        if let Some(status) = unreachable {
            peer = peer.unreachable_status(status);
        }
        Some(peer.build())
    };
    Ok(mappings.iter().map(peer).collect())
}

fn error_status(status: u16) -> Option<StatusCode> {
    StatusCode::from_u16(status).ok().filter(|status| status.is_client_error() || status.is_server_error())
}

fn base_url(mut url: String) -> Result<String, ConfigError> {
    if HeaderValue::try_from(&url).is_err() || url.trim_ascii().is_empty() {
        return Err(ConfigError::key("base_url", "this is not a URL").with_hint("write \"http://site.example/\""));
    }
    if !url.ends_with('/') {
        url.push('/');
    }
    Ok(url)
}

const NO_ERROR: &str = "must be a status from 400 to 599";
const UNSUPPORTED: &str = "Unknown method or unsupported protocol.";
/// What tinyproxy says where it reaches nobody, which is a 500.
const UNREACHABLE: &str = "Tinyproxy was unable to connect to the remote web server.";
const NOBODY: &str = "Nobody answers requests for this path.";
const UNMAPPED: &str = "No mapping found for requested url";
const CLIMBS: &str = "The path leaves the part of the site that it starts in.";
const FORMS: &str = "write \"http://127.0.0.1:8080/\" or \"https://app.internal/path/\"";
