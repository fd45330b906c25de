//! What the edge accepts is served, and what it refuses never reaches a server.

use std::{net::SocketAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use plugin_api::{Address, BuildCx, Chain, ConfigError, Cx, Link, Peer, Phases, Plugin, Step, Terminal, Verdict};
use proxy_core::{ClientTimeouts, Config, Engine, HeadLimits, Listener, Route, Wording};
use test_support::{Connection, Origin};

/// Passes every request on.
struct Pass(Peer);

impl Plugin for Pass {
    const NAME: &'static str = "pass";
    const PHASES: Phases = Phases::REQUEST;
    const TERMINAL: Terminal = Terminal::Always;
    type Config = ();
    type State = ();

    fn build((): (), _: &mut BuildCx<'_>) -> Result<Self, ConfigError> {
        Err(ConfigError::table("made by hand"))
    }

    fn request<'a>(&'a self, _: &'a mut Cx<'_>, (): &'a mut ()) -> Step<'a> {
        Step::done(Verdict::Upstream(self.0.clone()))
    }
}

#[test]
fn a_url_without_a_path_takes_the_route_of_the_root() {
    let origin = Origin::start().unwrap();
    let chain = |to: u16| {
        let address = Address::Socket(([127, 0, 0, 1], to).into());
        let pass = Link::new(Pass(Peer::builder(vec![address]).build()));
        Arc::new(Chain::compile("a", vec![pass]).unwrap())
    };
    // The first route takes every path; who slips past it meets a port on which nobody listens.
    let root = Route { path: Some("/".into()), ..Route::all(chain(origin.address().port())) };
    let engine = Engine::start(config(vec![root, Route::all(chain(1))])).unwrap();
    let address = engine.addresses()[0].1.inet().unwrap();
    for (target, status) in [("/", 200), ("http://a/", 200), ("http://a", 200), ("http://a?q", 200)] {
        let answer = Connection::open(address).unwrap().exchange(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(answer.unwrap().status, status, "{target}");
    }
    engine.drain(Duration::from_secs(5));
}

#[test]
fn a_connection_field_cannot_take_away_what_must_arrive() {
    let origin = Origin::start().unwrap();
    let pass = Link::new(Pass(Peer::builder(vec![Address::Socket(origin.address())]).build()));
    let engine = Engine::start(config(vec![Route::all(Arc::new(Chain::compile("a", vec![pass]).unwrap()))])).unwrap();
    let address = engine.addresses()[0].1.inet().unwrap();
    for (field, status) in [
        ("x-own", 200),
        ("host", 400),
        ("X-Forwarded-For", 400),
        (":authority", 400),
        ("\"close\"", 400),
        ("a,b,c,d,e,f,g,h,i,j,k", 400),
    ] {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {field}\r\n\r\n");
        assert_eq!(Connection::open(address).unwrap().exchange(head).unwrap().status, status, "{field}");
    }
    assert_eq!(origin.requests(), 1, "what is refused reaches no server");
    engine.drain(Duration::from_secs(5));
}

fn config(routes: Vec<Route>) -> Config {
    Config {
        listeners: vec![Listener::new("a", vec![SocketAddr::from(([127, 0, 0, 1], 0))])],
        routes,
        trusted_proxies: Vec::new(),
        timeouts: ClientTimeouts::default(),
        limits: HeadLimits::default(),
        shards: NonZeroUsize::MIN,
        max_clients: None,
        wording: Wording::Plain,
        half_closed_clients: false,
        counters: Arc::default(),
        log: None,
    }
}
