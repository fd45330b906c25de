//! A plugin that panics, in the running engine: the request is answered, and the process goes on.
#![expect(clippy::panic, reason = "a test says what went wrong by panicking")]

use std::{net::SocketAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use plugin_api::{
    Address, BuildCx, Chain, ConfigError, Cx, Link, Peer, Phases, Plugin, PluginError, ResponseHead, Step, Terminal,
    Verdict,
};
use proxy_core::{ClientTimeouts, Config, Engine, HeadLimits, Listener, Metric, Route, Wording};
use test_support::{Connection, Origin};

/// Passes requests on, but panics where the path says so.
struct Fragile(Peer);

impl Plugin for Fragile {
    const NAME: &'static str = "fragile";
    const PHASES: Phases = Phases::REQUEST.and(Phases::RESPONSE).and(Phases::RESPONSE_BODY);
    const TERMINAL: Terminal = Terminal::Always;
    type Config = ();
    type State = String;

    fn build((): (), _: &mut BuildCx<'_>) -> Result<Self, ConfigError> {
        Err(ConfigError::table("made by hand"))
    }

    fn request<'a>(&'a self, cx: &'a mut Cx<'_>, query: &'a mut String) -> Step<'a> {
        *query = cx.request().uri.query().unwrap_or_default().to_owned();
        match query.as_str() {
            "request" => panic!("in a request hook"),
            "future" => Step::wait(async { panic!("in a polled future") }),
            "error" => Step::broken("out of order"),
            _ => Step::done(Verdict::Upstream(self.0.clone())),
        }
    }

    fn response<'a>(&'a self, _: &'a mut Cx<'_>, query: &'a mut String, _: &'a mut dyn ResponseHead) -> Step<'a, ()> {
        assert_ne!(query, "response", "in a response hook");
        Step::done(())
    }

    fn response_body(&self, _: &mut Cx<'_>, query: &mut String, _: plugin_api::Body<'_>) -> Result<(), PluginError> {
        assert_ne!(query, "body", "in a body hook");
        Ok(())
    }
}

#[test]
fn a_panic_is_a_500_or_a_cut_and_the_process_goes_on() {
    let origin = Origin::start().unwrap();
    let fragile = Link::new(Fragile(Peer::builder(vec![Address::Socket(origin.address())]).build()));
    let engine = Engine::start(Config {
        listeners: vec![Listener::new("a", vec![SocketAddr::from(([127, 0, 0, 1], 0))])],
        routes: vec![Route::all(Arc::new(Chain::compile("a", vec![fragile]).unwrap()))],
        trusted_proxies: Vec::new(),
        timeouts: ClientTimeouts::default(),
        limits: HeadLimits::default(),
        shards: NonZeroUsize::MIN,
        max_clients: None,
        wording: Wording::Plain,
        half_closed_clients: false,
        counters: Arc::default(),
        log: None,
    })
    .unwrap();
    let address = engine.addresses()[0].1.inet().unwrap();
    let ask = |query: &str| {
        let mut connection = Connection::open(address).unwrap();
        connection.exchange(format!("GET /?{query} HTTP/1.1\r\nHost: a\r\n\r\n"))
    };
    for query in ["request", "future", "error", "response"] {
        assert_eq!(ask(query).unwrap().status, 500, "{query}");
        assert_eq!(ask("").unwrap().status, 200, "after {query}");
    }
    // The head may be on its way already when a body hook breaks: then the answer is cut short, never passed off as whole.
    assert!(ask("body").map_or(true, |response| response.status == 500));
    assert_eq!(ask("").unwrap().status, 200);
    assert_eq!(engine.metrics().get(Metric::BrokenHooks), 5);
    engine.drain(Duration::from_secs(5));
}
