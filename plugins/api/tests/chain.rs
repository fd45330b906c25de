//! The properties of chains that plugin authors rely on.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what went wrong by panicking")]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError},
};

use plugin_api::{
    Body, BuildCx, Chain, Client, ConfigError, Connection, Cx, Key, Link, Named, Outcome, Phases, Plugin, PluginError,
    RequestHead, Response, ResponseHead, Step, Terminal, Verdict,
    chain::ChainError,
    harness::{Harness, link},
    http::{HeaderName, HeaderValue, StatusCode},
    schemars::JsonSchema,
    serde::Deserialize,
};

const SEEN: Key<Vec<String>> = Key::new("probe.seen");
const ALL: Phases = Phases::REQUEST
    .and(Phases::REQUEST_BODY)
    .and(Phases::UPSTREAM_REQUEST)
    .and(Phases::RESPONSE)
    .and(Phases::RESPONSE_BODY)
    .and(Phases::LOG);

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "plugin_api::serde")]
#[schemars(crate = "plugin_api::schemars")]
struct Config {
    name: String,
    #[serde(default)]
    does: String,
}

/// Writes down every call, and does one thing at one point.
struct Probe(Config);

static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl Plugin for Probe {
    const NAME: &'static str = "probe";
    const PHASES: Phases = ALL;
    const TERMINAL: Terminal = Terminal::Sometimes;
    const PROVIDES: &'static [&'static str] = &["probe.seen"];
    type Config = Config;
    type State = u32;

    fn build(config: Config, _: &mut BuildCx<'_>) -> Result<Self, ConfigError> {
        if config.does == "refuse to build" {
            return Err(ConfigError::key("does", "cannot do that"));
        }
        Ok(Self(config))
    }

    fn request<'a>(&'a self, cx: &'a mut Cx<'_>, state: &'a mut u32) -> Step<'a> {
        *state = 7;
        let mut seen = cx.get(&SEEN).cloned().unwrap_or_default();
        seen.push(self.0.name.clone());
        cx.set(&SEEN, seen);
        match self.0.does.as_str() {
            "respond" => Step::respond(Response::new(StatusCode::IM_A_TEAPOT)),
            "panic" => panic!("probe {} broke", self.0.name),
            "fail" => Step::broken("out of order"),
            "panic later" => Step::wait(async { panic!("in a future") }),
            "wait" => Step::wait(async {
                Yield(false).await;
                Ok(Verdict::Next)
            }),
            _ => Step::NEXT,
        }
    }

    fn request_body<'a>(&'a self, _: &'a mut Cx<'_>, _: &'a mut u32, mut body: Body<'a>) -> Step<'a> {
        match self.0.does.as_str() {
            "refuse bodies" if !body.bytes().is_empty() => {
                Step::respond(Response::refuse(StatusCode::PAYLOAD_TOO_LARGE, "no bodies here"))
            }
            "shout" => {
                let loud = body.bytes().to_ascii_uppercase();
                body.replace(loud.into());
                Step::NEXT
            }
            _ => Step::NEXT,
        }
    }

    fn upstream_request<'a>(
        &'a self,
        cx: &'a mut Cx<'_>,
        state: &'a mut u32,
        head: &'a mut dyn RequestHead,
    ) -> Step<'a, ()> {
        assert_eq!(*state, 7, "the state is the request's");
        let seen = cx.get(&SEEN).map(|seen| seen.join(",")).unwrap_or_default();
        head.set(HeaderName::from_static("seen"), HeaderValue::try_from(seen).unwrap());
        Step::done(())
    }

    fn response<'a>(&'a self, _: &'a mut Cx<'_>, _: &'a mut u32, head: &'a mut dyn ResponseHead) -> Step<'a, ()> {
        head.append(HeaderName::from_static("back"), HeaderValue::try_from(&self.0.name).unwrap());
        if self.0.does == "panic on the way back" {
            panic!("late")
        }
        Step::done(())
    }

    fn response_body(&self, _: &mut Cx<'_>, _: &mut u32, mut body: Body<'_>) -> Result<(), PluginError> {
        let text = format!("{}({})", self.0.name, String::from_utf8_lossy(body.bytes()));
        body.replace(text.into());
        Ok(())
    }

    fn log(&self, _: &Cx<'_>, _: &u32, outcome: &Outcome) {
        let line = format!("{} {}", self.0.name, outcome.status.map_or(0, |status| status.as_u16()));
        LOGGED.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

/// Not ready the first time.
struct Yield(bool);

impl Future for Yield {
    type Output = ();

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    }
}

/// Ends every chain here.
struct End;

impl Plugin for End {
    const NAME: &'static str = "end";
    const PHASES: Phases = Phases::REQUEST;
    const TERMINAL: Terminal = Terminal::Always;
    const REQUIRES: &'static [&'static str] = &["probe.seen"];
    type Config = ();
    type State = ();

    fn build((): (), _: &mut BuildCx<'_>) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn request<'a>(&'a self, _: &'a mut Cx<'_>, (): &'a mut ()) -> Step<'a> {
        Step::respond(Response::new(StatusCode::OK).with_body("end"))
    }
}

/// Turns away whoever comes from a privileged port; panics at port 1.
struct Door;

impl Plugin for Door {
    const NAME: &'static str = "door";
    const PHASES: Phases = Phases::CLIENT;
    type Config = ();
    type State = ();

    fn build((): (), _: &mut BuildCx<'_>) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn client<'a>(&'a self, connection: &'a Connection) -> Step<'a, Option<Box<Response>>> {
        let Client::Inet(client) = connection.client else { return Step::done(None) };
        assert_ne!(client.port(), 1, "a panic of a hook");
        let refusal = || Box::new(Response::refuse(StatusCode::FORBIDDEN, "no"));
        Step::done((client.port() < 1024).then(refusal))
    }
}

/// The result of a future that does not wait.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut cx) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("it waits"),
    }
}

fn probe(name: &str, does: &str) -> Link {
    link::<Probe>(&format!("name = \"{name}\"\ndoes = \"{does}\""), &Named::default()).unwrap()
}

fn chain(probes: &[(&str, &str)]) -> Harness {
    Harness::chain(probes.iter().map(|(name, does)| probe(name, does)).chain([Link::new(End)]).collect())
}

fn back(exchange: &plugin_api::harness::Exchange) -> Vec<&str> {
    exchange.response.headers.get_all("back").iter().map(|value| value.to_str().unwrap()).collect()
}

#[test]
fn requests_run_in_order_and_responses_in_reverse() {
    let exchange = chain(&[("a", ""), ("b", "wait"), ("c", "")]).get("/");
    assert_eq!(back(&exchange), ["c", "b", "a"]);
    assert_eq!(exchange.text(), "a(b(c(end)))");
}

#[test]
fn clients_are_turned_away_only_where_nothing_could_serve_them() {
    let from = |port: u16| {
        let client = std::net::SocketAddr::from(([192, 0, 2, 1], port));
        Connection::new(client.into(), "a".into(), ([192, 0, 2, 2], 80).into())
    };
    let ask = |chain: &Chain, port| match now(chain.client(&from(port))) {
        Ok(refusal) => refusal.map(|response| response.status.as_u16()),
        Err(broken) => panic!("{broken}: {}", broken.source),
    };
    let chain = Chain::compile("a", vec![Link::new(Door), probe("p", ""), Link::new(End)]).unwrap();
    assert!(chain.sees_clients());
    assert_eq!((ask(&chain, 1000), ask(&chain, 2000)), (Some(403), None));
    assert!(now(chain.client(&from(1))).is_err_and(|broken| broken.plugin == "door"));
    let behind = Chain::compile("a", vec![probe("p", ""), Link::new(Door), Link::new(End)]).unwrap();
    assert!(!behind.sees_clients());
    assert_eq!((ask(&behind, 1000), ask(&behind, 1)), (None, None));
}

#[test]
fn plugins_behind_the_answer_never_see_the_request() {
    let exchange = chain(&[("a", ""), ("b", "respond"), ("c", "panic")]).get("/");
    assert_eq!(exchange.status(), StatusCode::IM_A_TEAPOT);
    assert_eq!(back(&exchange), ["b", "a"]);
    assert!(exchange.broken.is_empty());
}

#[test]
fn a_broken_plugin_is_a_500_and_its_later_hooks_are_skipped() {
    for does in ["panic", "fail", "panic later"] {
        let exchange = chain(&[("a", ""), ("b", does)]).get("/");
        assert_eq!(exchange.status(), StatusCode::INTERNAL_SERVER_ERROR, "{does}");
        assert_eq!(back(&exchange), ["a"], "{does}");
        assert_eq!(exchange.broken.len(), 1);
        assert_eq!(exchange.broken[0].plugin, "probe");
    }
    let exchange = chain(&[("a", "panic on the way back"), ("b", "")]).get("/");
    assert_eq!(exchange.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(exchange.broken[0].source.to_string().contains("panicked: late"));
}

#[test]
fn shared_values_and_bodies_reach_the_upstream_server() {
    let harness = Harness::of::<Probe>("name = \"a\"\ndoes = \"shout\"").unwrap();
    let exchange = harness.request("POST", "/x?y").body("hello ").body("world").send();
    let upstream = exchange.upstream.unwrap();
    assert_eq!(upstream.headers["seen"], "a");
    assert_eq!((&*upstream.body, upstream.target.as_str()), (&b"HELLO WORLD"[..], "/x?y"));
    let harness = Harness::of::<Probe>("name = \"a\"\ndoes = \"refuse bodies\"").unwrap();
    assert_eq!(harness.request("POST", "/").body("x").send().status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[test]
fn log_hooks_see_the_end_once_for_plugins_whose_turn_came() {
    chain(&[("logged-1", ""), ("logged-2", "respond"), ("logged-3", "")]).get("/");
    let logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let ours: Vec<_> = logged.iter().filter(|line| line.starts_with("logged-")).collect();
    assert_eq!(ours, ["logged-1 418", "logged-2 418"]);
}

#[test]
fn chains_that_cannot_work_are_refused() {
    let end = || Link::new(End);
    let compile = |links| Chain::compile("x", links).map(|_| ()).unwrap_err();
    assert_eq!(compile(vec![]), ChainError::Empty);
    assert_eq!(compile(vec![probe("a", "")]), ChainError::Open { index: 0, plugin: "probe" });
    assert_eq!(
        compile(vec![probe("a", ""), end(), probe("b", "")]),
        ChainError::Unreachable { index: 2, plugin: "end" }
    );
    assert_eq!(compile(vec![end()]), ChainError::Requires { index: 0, plugin: "end", key: "probe.seen" });
    assert_eq!(compile((0..65).map(|_| probe("a", "")).collect()), ChainError::TooLong { index: 64 });
}

#[test]
fn a_plugin_that_cannot_be_built_says_where() {
    let error = |keys: &str| link::<Probe>(keys, &Named::default()).unwrap_err().to_string();
    assert!(error("name = \"a\"\ndoes = \"refuse to build\"").starts_with("harness:2:8: cannot do that\n"));
    assert!(error("name = \"a\"\nnmae = 1").contains("harness:2:1: unknown key `nmae`"));
    assert!(error("").contains("missing field `name`"));
}

/// Third parties' plugins live in this process: with `panic = "abort"` one of them could end it.
#[test]
fn panics_unwind() {
    assert!(catch_unwind(AssertUnwindSafe(|| panic!("caught"))).is_err());
}
