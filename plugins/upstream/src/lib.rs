//! `upstream`: passes requests on to one server, or to several in turn.

mod config;
mod server;

use std::sync::atomic::{AtomicUsize, Ordering};

use plugin_api::{
    BuildCx, ConfigError, Cx, Health, Peer, Phases, Plugin, Protocol, Step, Terminal, Timeouts, TlsKeys, Verdict,
};

pub use config::{Config, Version};
use server::Server;

/// Ends every chain that it stands in: names the server that gets the request.
pub struct Upstream {
    peer: Peer,
    /// The server that the next request starts with.
    turn: AtomicUsize,
    servers: usize,
}

impl Plugin for Upstream {
    const NAME: &'static str = "upstream";
    const PHASES: Phases = Phases::REQUEST;
    const TERMINAL: Terminal = Terminal::Always;

    type Config = Config;
    type State = ();

    fn build(config: Config, cx: &mut BuildCx<'_>) -> Result<Self, ConfigError> {
        let mut addresses = Vec::with_capacity(config.servers.len());
        let mut tls = None;
        for (index, text) in config.servers.iter().enumerate() {
            let server = Server::parse(text)
                .map_err(|error| ConfigError::key("servers", error.to_string()).index(index).with_hint(FORMS))?;
            if *tls.get_or_insert(server.tls) != server.tls {
                let message = "all servers of one `upstream` use TLS, or none";
                return Err(ConfigError::key("servers", message).index(index));
            }
            addresses.push(server.address);
        }
        let Some(tls) = tls else {
            return Err(ConfigError::key("servers", "there must be at least one server"));
        };
        let keys = tls_keys(&config);
        if let (Some(key), false) = (keys.given(), tls) {
            return Err(ConfigError::key(key, "only servers with `https://` have a certificate, and ask for one"));
        }
        let tls = tls.then(|| keys.read(cx)).transpose();
        let tls = tls.map_err(|(key, error)| ConfigError::key(key, error.to_string()))?;
        let health = Health::new(&addresses, ("server", &tls), config.fail_timeout.0, cx);
        let protocol = match config.protocol {
            Version::Http1 => Protocol::Http1,
            Version::Http2 => Protocol::Http2,
        };
        let mut peer = Peer::builder(addresses).protocol(protocol).health(health).timeouts(Timeouts {
            connect: config.connect_timeout.0,
            read: config.read_timeout.0,
            write: config.write_timeout.0,
            idle: config.idle_timeout.0,
            upgraded_idle: config.upgraded_idle_timeout.map(|timeout| timeout.0),
        });
        if let Some(tls) = tls {
            peer = peer.tls(tls);
        }
        Ok(Self { peer: peer.build(), turn: AtomicUsize::new(0), servers: config.servers.len() })
    }

    fn request<'a>(&'a self, _: &'a mut Cx<'_>, (): &'a mut ()) -> Step<'a> {
        let peer = self.peer.clone();
        Step::done(Verdict::Upstream(match self.servers {
            1 => peer,
            _ => peer.starting_at(self.turn.fetch_add(1, Ordering::Relaxed)),
        }))
    }
}

fn tls_keys(config: &Config) -> TlsKeys<'_> {
    TlsKeys {
        server_name: config.server_name.as_deref(),
        is_unverified: !config.verify,
        ca: config.ca.as_deref(),
        certificate: config.certificate.as_deref(),
        key: config.key.as_deref(),
    }
}

const FORMS: &str = "write \"host:port\", \"http://host\", \"https://host:port\", \"[2001:db8::1]:8080\", \
                     \"unix:/path/to.sock\" or \"original-destination\"";
