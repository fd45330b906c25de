//! Lockgate in front of the application, for as long as a validation lasts.

mod doorway;

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

use authenticator_api::{Authenticator, Challenge, DomainName, KeyAuthorization, Token};
use certificates::BoxError;
use interception::{Gate, Method, Plan, Preference, Question, own_addresses, probe};
use plugin_acme_challenge::AcmeChallenge;
use plugin_api::{BuildCx, Chain, Link, Named, Plugin, SharedStore};
use plugin_upstream::Upstream;
use proxy_core::{ClientTimeouts, Config, Engine, Entrance, HeadLimits, Listener, Route, Wording};

pub(crate) use self::doorway::Doorway;

/// How to step in front of the application.
pub(crate) struct Intercept {
    /// The application's port.
    pub(crate) port: u16,
    /// How connections are led to us.
    pub(crate) method: Preference,
    /// Where they are led to.
    pub(crate) front: Front,
    /// How long visitors who came through may take to finish.
    pub(crate) drain: Duration,
    /// Who answers challenges; at least one.
    pub(crate) authenticators: Vec<Arc<dyn Authenticator>>,
}

/// What serves visitors while they do not reach the application.
pub(crate) enum Front {
    /// A proxy of its own, for as long as it lasts, that passes them on to this server; `None` for where they wanted to go.
    Own { upstream: Option<String> },
    /// A listener of the running proxy.
    Listener(Entrance),
}

/// Lockgate stands in front of the application.
struct Interception {
    stand: Stand,
    gate: Gate,
    port: u16,
    drain: Duration,
}

/// What serves them at the moment.
enum Stand {
    Engine(Box<Engine>),
    Listener(Entrance),
}

impl Intercept {
    /// Starts what serves visitors, opens the gate, and proves that it leads here.
    async fn open(&self, challenges: &[Challenge]) -> Result<Interception, BoxError> {
        let stand = self.stand().await?;
        match self.open_gate(stand.port(), challenges).await {
            Ok(gate) => Ok(Interception { stand, gate, port: self.port, drain: self.drain }),
            Err((error, gate)) => {
                // Visitors may have come in the meantime: they are served to the end like any other.
                let stopped = match gate {
                    Some(gate) => {
                        Interception { stand, gate, port: self.port, drain: self.drain }.close().await.map(drop)
                    }
                    None => stand.empty(self.drain, Method::Tproxy).await.map(drop),
                };
                if let Err(also) = stopped {
                    tracing::warn!(target: "lockgate::interception", error = %also, "the gate did not close as it should");
                }
                Err(error)
            }
        }
    }

    async fn stand(&self) -> Result<Stand, BoxError> {
        Ok(match &self.front {
            Front::Own { upstream } => {
                let config = self.config(free_port()?, upstream.clone())?;
                Stand::Engine(tokio::task::spawn_blocking(|| Engine::start(config)).await??.into())
            }
            Front::Listener(entrance) => Stand::Listener(entrance.clone()),
        })
    }

    /// Opens the gate by the first method whose probe comes through.
    async fn open_gate(&self, listener_port: u16, challenges: &[Challenge]) -> Result<Gate, (BoxError, Option<Gate>)> {
        let first = self.method;
        let mut preference = first;
        loop {
            let mut plan = Plan::new(self.port, listener_port);
            plan.method = preference;
            let gate = Gate::open(plan).await.map_err(|error| (hinted(error), None))?;
            let Err(error) = self.prove(challenges).await else {
                self.log(&gate).await;
                return Ok(gate);
            };
            if first != Preference::Auto || gate.method() != Method::Tproxy {
                return Err((error, Some(gate)));
            }
            // A container engine that publishes the port itself is in the way of TPROXY, but not of a redirect.
            // Connections that TPROXY brought in outlive its table.
            tracing::warn!(target: "lockgate::interception", %error, "TPROXY does not lead here, a redirect is tried");
            gate.close().await.map_err(|error| (error.into(), None))?;
            preference = Preference::Only(Method::Redirect);
        }
    }

    fn config(&self, listen: Vec<SocketAddr>, upstream: Option<String>) -> Result<Config, BoxError> {
        let mut named = Named::default();
        let names: Vec<String> = (0..self.authenticators.len()).map(|index| format!("{NAME}-{index}")).collect();
        for (name, authenticator) in names.iter().zip(&self.authenticators) {
            named.insert::<dyn Authenticator>(name, Arc::clone(authenticator));
        }
        let shared = SharedStore::default();
        let mut cx = BuildCx::new(&named, &shared);
        let server = upstream.unwrap_or_else(|| "original-destination".into());
        let mut links = Vec::new();
        for name in names {
            // A token that one does not know is the next one's, and at last the application's.
            let challenge = plugin_acme_challenge::Config { authenticator: Some(name), ..Default::default() };
            links.push(Link::new(AcmeChallenge::build(challenge, &mut cx)?));
        }
        links.push(Link::new(Upstream::build(plugin_upstream::Config::new(vec![server]), &mut cx)?));
        let mut listener = Listener::new(NAME, listen);
        listener.transparent = true;
        listener.redirected = true;
        // Whoever came through the gate shall come back to the application.
        listener.keep_alive = false;
        listener.accept_grace = ACCEPT_GRACE;
        Ok(Config {
            listeners: vec![listener],
            routes: vec![Route::all(Arc::new(Chain::compile(NAME, links)?))],
            trusted_proxies: Vec::new(),
            timeouts: ClientTimeouts::default(),
            limits: HeadLimits::default(),
            shards: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            max_clients: None,
            wording: Wording::Plain,
            // What the application does about them is its own affair, and most serve them.
            half_closed_clients: true,
            counters: Arc::default(),
            log: None,
        })
    }

    /// Fetches a token that only we can know through the gate, on every address of this machine.
    async fn prove(&self, challenges: &[Challenge]) -> Result<(), BoxError> {
        let (Some(first), Some(authenticator)) = (challenges.first(), self.authenticators.first()) else {
            return Ok(());
        };
        let token = Token::parse(&format!("lockgate-probe-{}", first.token))?;
        let key_authorization = KeyAuthorization::parse(&format!("{token}.lockgate"))?;
        let domain: DomainName = first.domain.clone();
        let question = Question {
            host: domain.to_string(),
            path: format!("/.well-known/acme-challenge/{token}"),
            expected: key_authorization.as_str().to_owned(),
        };
        let challenge = Challenge { domain, token, key_authorization };
        authenticator.present(&challenge).await?;
        let probed = match own_addresses() {
            Ok(addresses) => probe(&addresses, self.port, &question, PROBE_TIME).await.map_err(BoxError::from),
            Err(error) => Err(error.into()),
        };
        authenticator.cleanup(&challenge).await?;
        probed
    }

    async fn log(&self, gate: &Gate) {
        if let Some(reason) = gate.fallback_reason() {
            tracing::warn!(target: "lockgate::interception", reason, "TPROXY does not serve, a redirect is used");
        }
        if let Ok(counters) = gate.counters().await {
            tracing::info!(target: "lockgate::interception", ?counters, "the probe came through");
        }
        tracing::warn!(
            target: "lockgate::interception",
            "while this lasts the application sees this machine's address; X-Forwarded-For has the visitor's"
        );
    }
}

impl Interception {
    fn died(&self) -> impl Future<Output = ()> + Send + use<> {
        let died = self.gate.died();
        async move {
            let _ = died.await;
        }
    }

    fn describe(&self) -> String {
        format!("new connections to port {} come here ({:?}), a probe came through", self.port, self.gate.method())
    }

    /// Leads no more connections here, lets those that came finish, and leaves. Returns how many had to be cut.
    async fn close(self) -> Result<u64, BoxError> {
        let Self { stand, mut gate, drain, .. } = self;
        let (stopped, method) = (gate.stop_intercepting().await, gate.method());
        let cut = stand.empty(drain, method).await?;
        stopped?;
        gate.close().await?;
        Ok(cut)
    }
}

impl Stand {
    fn port(&self) -> u16 {
        match self {
            Self::Engine(engine) => {
                engine.addresses().first().and_then(|(_, address)| address.inet()).map(|a| a.port())
            }
            Self::Listener(entrance) => entrance.port(),
        }
        .unwrap_or(0)
    }

    /// Lets those finish who came, within this time, once nobody more is led here. Returns how many are cut.
    async fn empty(self, drain: Duration, method: Method) -> Result<u64, BoxError> {
        match self {
            Self::Engine(engine) => Ok(tokio::task::spawn_blocking(move || engine.drain(drain)).await?.cut),
            Self::Listener(entrance) => {
                tokio::time::sleep(ACCEPT_GRACE).await;
                // Those whom TPROXY led here outlive the table; those of a redirect do not.
                if method == Method::Tproxy || tokio::time::timeout(drain, entrance.empty()).await.is_ok() {
                    return Ok(0);
                }
                Ok(entrance.open())
            }
        }
    }
}

/// A port that is free for both families, or for IPv4 where there is no IPv6.
fn free_port() -> std::io::Result<Vec<SocketAddr>> {
    let mut held = Vec::new();
    loop {
        let v4 = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let port = v4.local_addr()?.port();
        let both = vec![(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()];
        let v6 = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None);
        let Ok(v6) = v6 else { return Ok(vec![(Ipv4Addr::UNSPECIFIED, port).into()]) };
        v6.set_only_v6(true)?;
        match v6.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into()) {
            Ok(()) => return Ok(both),
            // Taken for IPv6 only: keep it, so that another one is drawn.
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && held.len() < 64 => held.push(v4),
            Err(error) => return Err(error),
        }
    }
}

fn hinted(error: interception::OpenError) -> BoxError {
    match error.hint() {
        Some(hint) => format!("{}\n  hint: {hint}", crate::cli::report::sentence(&error)).into(),
        None => error.into(),
    }
}

const NAME: &str = "interception";
/// A client whose SYN came before the rules went may send its ACK a round trip later, or two when one is lost.
const ACCEPT_GRACE: Duration = Duration::from_secs(1);
const PROBE_TIME: Duration = Duration::from_secs(5);
