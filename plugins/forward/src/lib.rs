//! `forward`: passes requests on to the servers that clients name, and opens tunnels to them.

mod config;

use std::sync::Arc;

use plugin_api::{
    Address, Bind, BuildCx, ConfigError, Cx, Fault, Form, Peer, PeerBuilder, Phases, Plugin, Request, Response, Scheme,
    Step, Target, Terminal, Timeouts, Tls, TlsKeys, Verdict,
    http::{StatusCode, header},
    way_out::{self, Destination, Parents},
};

pub use config::Config;

/// Ends every chain that it stands in: names the server that the client asked for.
pub struct Forward {
    connect_ports: Option<Vec<u16>>,
    transparent: bool,
    own_hosts: Vec<String>,
    public_only: bool,
    bind: Bind,
    parents: Parents,
    /// For `https` URLs.
    tls: Tls,
    timeouts: Timeouts,
    unreachable_status: Option<StatusCode>,
}

impl Plugin for Forward {
    const NAME: &'static str = "forward";
    const PHASES: Phases = Phases::REQUEST;
    const TERMINAL: Terminal = Terminal::Always;

    type Config = Config;
    type State = ();

    fn build(config: Config, cx: &mut BuildCx<'_>) -> Result<Self, ConfigError> {
        if let Some(index) = config.connect_ports.iter().flatten().position(|port| *port == 0) {
            let message = "no port is 0; an empty list opens no tunnels";
            return Err(ConfigError::key("connect_ports", message).index(index));
        }
        let tls = tls(&config, cx)?;
        let is_error = |status: &StatusCode| status.is_client_error() || status.is_server_error();
        let unreachable_status = config.unreachable_status.map(|status| {
            let status = StatusCode::from_u16(status).ok().filter(is_error);
            status.ok_or_else(|| ConfigError::key("unreachable_status", "this must be a status from 400 to 599"))
        });
        Ok(Self {
            connect_ports: config.connect_ports,
            transparent: config.transparent,
            own_hosts: config.own_hosts,
            public_only: config.public_only,
            bind: way_out::source(config.bind, config.bind_same, config.bind_order)?,
            parents: Parents::build(config.parents, config.bind_same, cx)?,
            tls,
            timeouts: Timeouts {
                connect: config.connect_timeout.0,
                read: config.read_timeout.0,
                write: config.write_timeout.0,
                upgraded_idle: Some(config.idle_timeout.0),
                ..Timeouts::default()
            },
            unreachable_status: unreachable_status.transpose()?,
        })
    }

    fn request<'a>(&'a self, cx: &'a mut Cx<'_>, (): &'a mut ()) -> Step<'a> {
        match self.decide(cx.request()) {
            Ok(verdict) => Step::done(verdict),
            Err(refusal) => Step::done(Verdict::Respond(refusal)),
        }
    }
}

impl Forward {
    fn decide(&self, request: &Request<'_>) -> Result<Verdict, Box<Response>> {
        let scheme = match request.form {
            Form::Authority => return self.tunnel(request),
            Form::Absolute(scheme) => scheme,
            Form::Origin if self.transparent => Scheme::Http,
            Form::Origin => return Err(bad_request("This is a proxy: requests to it name a whole URL.")),
        };
        let default_port = if scheme == Scheme::Https { 443 } else { 80 };
        let host = request.header(&header::HOST).ok_or_else(|| bad_request(OWN))?;
        let destination = Destination::parse(host, default_port).ok_or_else(|| bad_request(MALFORMED))?;
        let is_own = || self.own_hosts.iter().any(|own| own.eq_ignore_ascii_case(&destination.host.text()));
        if request.form == Form::Origin && is_own() {
            return Err(bad_request(OWN));
        }
        let mut peer = self.peer(&destination, destination.address());
        if scheme == Scheme::Https {
            peer = peer.tls(self.tls.clone().server_name(destination.host.text()));
        }
        Ok(Verdict::Upstream(peer.build()))
    }

    fn peer(&self, destination: &Destination<'_>, address: Address) -> PeerBuilder {
        let mut peer = Peer::builder(vec![address])
            .timeouts(self.timeouts)
            .bind(self.bind.clone())
            // A stranger's server has no business with the client's address.
            .forwarded(false)
            .public_only(self.public_only);
        let way = self.parents.way(destination);
        tracing::info!(target: "lockgate::narrative", "{way}");
        if let Some(parent) = way.parent {
            peer = peer.parent(Arc::clone(parent));
        }
        if let Some(status) = self.unreachable_status {
            peer = peer.unreachable_status(status);
        }
        peer
    }

    fn tunnel(&self, request: &Request<'_>) -> Result<Verdict, Box<Response>> {
        let authority = request.uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        let destination = Destination::parse(authority, 443).ok_or_else(|| bad_request(MALFORMED))?;
        if self.connect_ports.as_ref().is_some_and(|ports| !ports.contains(&destination.port)) {
            tracing::info!(target: "lockgate::narrative", "Refused CONNECT method on port {}", destination.port);
            let reason = "The CONNECT method not allowed with the port you tried to use.";
            let refusal = Response::refuse(StatusCode::FORBIDDEN, reason).with_phrase("Access violation");
            return Err(Box::new(refusal.with_fault(Fault::Request)));
        }
        let mut target = Target::new(destination.address());
        let way = self.parents.way(&destination);
        tracing::info!(target: "lockgate::narrative", "{way}");
        target.parent = way.parent.cloned();
        target.bind = self.bind.clone();
        target.connect_timeout = self.timeouts.connect;
        target.idle_timeout = self.timeouts.upgraded_idle;
        target.unreachable_status = self.unreachable_status;
        target.public_only = self.public_only;
        Ok(Verdict::Tunnel(target))
    }
}

fn tls(config: &Config, cx: &mut BuildCx<'_>) -> Result<Tls, ConfigError> {
    if config.certificate.is_some() && config.ca.is_none() {
        let message = "every server could ask for this certificate; say with `ca` which servers are yours";
        return Err(ConfigError::key("certificate", message));
    }
    let keys = TlsKeys {
        ca: config.ca.as_deref(),
        certificate: config.certificate.as_deref(),
        key: config.key.as_deref(),
        ..TlsKeys::default()
    };
    keys.read(cx).map_err(|(key, error)| ConfigError::key(key, error.to_string()))
}

fn bad_request(reason: &str) -> Box<Response> {
    Box::new(Response::refuse(StatusCode::BAD_REQUEST, reason))
}

/// Who names no host, or one of ours, without a URL, may take this for a server.
const OWN: &str = "You tried to connect to the machine the proxy is running on";
const MALFORMED: &str = "The host or port in the request is malformed.";
