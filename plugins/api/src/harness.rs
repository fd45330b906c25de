//! A chain in memory, for the tests of plugin authors: no sockets, no engine, no runtime of its own.
//!
//! ```
//! use plugin_api::{harness::Harness, http::StatusCode};
//! # use plugin_api::*;
//! # #[derive(serde::Deserialize, schemars::JsonSchema)]
//! # #[serde(crate = "plugin_api::serde")]
//! # #[schemars(crate = "plugin_api::schemars")]
//! # struct Config { secret: String }
//! # struct Gatekeeper(String);
//! # impl Plugin for Gatekeeper {
//! #     const NAME: &'static str = "gatekeeper";
//! #     const PHASES: Phases = Phases::REQUEST;
//! #     type Config = Config;
//! #     type State = ();
//! #     fn build(config: Config, _: &mut BuildCx<'_>) -> Result<Self, ConfigError> { Ok(Self(config.secret)) }
//! #     fn request<'a>(&'a self, cx: &'a mut Cx<'_>, _: &'a mut ()) -> Step<'a> {
//! #         match cx.request().headers.get("secret") {
//! #             Some(secret) if *secret == *self.0 => Step::NEXT,
//! #             _ => Step::respond(Response::refuse(StatusCode::FORBIDDEN, "no")),
//! #         }
//! #     }
//! # }
//! let harness = Harness::of::<Gatekeeper>("secret = \"sesame\"").unwrap();
//! assert_eq!(harness.get("/").status(), StatusCode::FORBIDDEN);
//! let exchange = harness.request("GET", "/").header("secret", "sesame").send();
//! assert_eq!(exchange.status(), StatusCode::OK); // the application behind the chain answered
//! ```

mod heads;
mod target;
mod wait;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode, Uri, Version};

use self::heads::{Head, Outgoing};
use crate::{
    Body, BuildCx, Chain, Connection, Content, Cx, Ending, FallThrough, Form, Kind, Link, Named, Outcome, Page, Peer,
    Phases, Plugin, Rendered, Request, Response, SharedStore, Step, Target, Terminal, Verdict,
    chain::{Broken, Decision, Run},
    config::{ConfigError, Problems, Source, parse},
};

/// A chain whose last link is an application in memory: it answers 200 with the body `the application`.
pub struct Harness {
    chain: Arc<Chain>,
    connection: Connection,
}

/// A request that is being put together.
pub struct Sending<'h> {
    harness: &'h Harness,
    method: Method,
    uri: Uri,
    form: Form,
    headers: HeaderMap,
    body: Vec<Bytes>,
    unreachable: bool,
    application: Response,
}

/// What came of a request.
#[derive(Debug)]
pub struct Exchange {
    /// What the client got.
    pub response: Response,
    /// What went to the upstream server, when a plugin chose one.
    pub upstream: Option<Forwarded>,
    /// Where a tunnel was asked for.
    pub tunnel: Option<Target>,
    /// Hooks that failed, in order.
    pub broken: Vec<Broken>,
}

/// What a chain passed on.
#[derive(Debug)]
pub struct Forwarded {
    /// The peer; `None` for the application at the end of the chain.
    pub peer: Option<Peer>,
    /// The request target.
    pub target: String,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body, as request-body hooks left it.
    pub body: Bytes,
}

impl Harness {
    /// One plugin, built from its keys as TOML, in front of the application.
    ///
    /// # Errors
    ///
    /// What `lockgate check` would print.
    pub fn of<P: Plugin>(keys: &str) -> Result<Self, Problems> {
        Self::with::<P>(keys, &Named::default())
    }

    /// The same, where the plugin finds these things by name.
    ///
    /// # Errors
    ///
    /// What `lockgate check` would print.
    pub fn with<P: Plugin>(keys: &str, named: &Named) -> Result<Self, Problems> {
        let mut links = vec![link::<P>(keys, named)?];
        if links[0].terminal() != Terminal::Always {
            links.push(Link::new(Application));
        }
        Ok(Self::chain(links))
    }

    /// A chain of links, which must end in one that ends every request.
    ///
    /// # Panics
    ///
    /// When they make no chain.
    pub fn chain(links: Vec<Link>) -> Self {
        let chain = Chain::compile("harness", links).expect("the links of a harness make a chain");
        let local = std::net::SocketAddr::from(([192, 0, 2, 1], 80));
        let client = std::net::SocketAddr::from(([192, 0, 2, 99], 50_000));
        Self { chain: Arc::new(chain), connection: Connection::new(client.into(), "harness".into(), local) }
    }

    /// The connection that requests come on; change it as you need.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// A GET request, sent.
    pub fn get(&self, target: &str) -> Exchange {
        self.request("GET", target).send()
    }

    /// A request with `Host: site.example`, to be completed and sent. The target may be a URL (absolute form) and, for
    /// `CONNECT`, host and port; then these are the `Host` field.
    ///
    /// # Panics
    ///
    /// When the method or the target cannot stand in a request line.
    pub fn request(&self, method: &str, target: &str) -> Sending<'_> {
        let target = target::Target::parse(target);
        let mut headers = HeaderMap::new();
        headers.insert(http::header::HOST, target.host);
        Sending {
            harness: self,
            method: method.parse().expect("a method"),
            uri: target.uri,
            form: target.form,
            headers,
            body: Vec::new(),
            unreachable: false,
            application: Response::new(StatusCode::OK).with_body("the application"),
        }
    }
}

impl Exchange {
    /// The status that the client got.
    pub fn status(&self) -> StatusCode {
        self.response.status
    }

    /// The body that the client got, as text.
    pub fn text(&self) -> String {
        match &self.response.body {
            Content::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Content::Page(reason) => reason.clone(),
        }
    }
}

impl Sending<'_> {
    /// Adds a header field.
    ///
    /// # Panics
    ///
    /// When name or value cannot stand in a head.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.append(name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value"));
        self
    }

    /// Replaces the `Host` field.
    ///
    /// # Panics
    ///
    /// When it cannot stand in a head.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.headers.insert(http::header::HOST, host.parse().expect("a host"));
        self
    }

    /// Adds a piece of the body.
    #[must_use]
    pub fn body(mut self, piece: impl Into<Bytes>) -> Self {
        self.body.push(piece.into());
        self
    }

    /// Lets every peer that a plugin names be unreachable.
    #[must_use]
    pub fn with_unreachable_peers(mut self) -> Self {
        self.unreachable = true;
        self
    }

    /// What upstream servers answer.
    #[must_use]
    pub fn answered_with(mut self, response: Response) -> Self {
        self.application = response;
        self
    }

    /// Sends it on this thread.
    ///
    /// # Panics
    ///
    /// When a hook waits for more than ten seconds, or needs a tokio runtime and there is none (use
    /// [`send_async`](Self::send_async) then).
    pub fn send(self) -> Exchange {
        wait::block_on(self.send_async())
    }

    /// Sends it within the caller's runtime.
    pub async fn send_async(self) -> Exchange {
        let Self { harness, method, uri, form, headers, body, unreachable, application } = self;
        let host = target::host(&headers);
        let (version, host) = (Version::HTTP_11, host.as_deref());
        let request = Request { method: &method, uri: &uri, version, headers: &headers, host, form };
        let mut flight = Flight {
            run: Run::new(Arc::clone(&harness.chain)),
            request,
            connection: &harness.connection,
            exchange: Exchange { response: application, upstream: None, tunnel: None, broken: Vec::new() },
        };
        flight.request(body, unreachable).await;
        flight.response().await;
        let outcome = Outcome::new(Some(flight.exchange.response.status), 0, Duration::ZERO, Ending::Complete);
        let failed = flight.run.log(request, &harness.connection, &outcome);
        flight.exchange.broken.extend(failed);
        flight.exchange
    }
}

/// One request on its way through the chain, as the engine would drive it.
struct Flight<'a> {
    run: Run,
    request: Request<'a>,
    connection: &'a Connection,
    exchange: Exchange,
}

impl Flight<'_> {
    async fn request(&mut self, body: Vec<Bytes>, unreachable: bool) {
        loop {
            match self.run.request(self.request, self.connection).await {
                Ok(Decision::Respond { response, .. }) => self.exchange.response = *response,
                Ok(Decision::Tunnel { target, .. }) => self.exchange.tunnel = Some(target),
                Ok(Decision::Upstream { peer, .. }) => {
                    let fall_through = peer.settings().fall_through;
                    let is_application = peer.addresses().next().is_none();
                    let declined = !is_application
                        && (unreachable && fall_through != FallThrough::Never
                            || fall_through == FallThrough::UnreachableOr(self.exchange.response.status));
                    if declined {
                        self.exchange.response = Response::new(StatusCode::OK).with_body("the application");
                        continue;
                    }
                    if unreachable && !is_application {
                        self.exchange.response = Response::refuse(StatusCode::BAD_GATEWAY, "unreachable");
                        return;
                    }
                    self.forward((!is_application).then_some(peer), body).await;
                }
                Ok(Decision::Exhausted) => {
                    self.exchange.response =
                        Response::refuse(StatusCode::INTERNAL_SERVER_ERROR, "no plugin ended the request");
                }
                Err(broken) => self.fail(broken),
            }
            return;
        }
    }

    async fn forward(&mut self, peer: Option<Peer>, body: Vec<Bytes>) {
        let target = self.request.uri.to_string().into_bytes();
        let mut head = Outgoing { target, headers: self.request.headers.clone() };
        if let Err(broken) = self.run.upstream_request(self.request, self.connection, &mut head).await {
            return self.fail(broken);
        }
        let mut sent = Vec::new();
        let pieces = body.len().max(1);
        for index in 0..pieces {
            let mut piece = body.get(index).cloned();
            let view = Body::new(&mut piece, index + 1 == pieces);
            match self.run.request_body(self.request, self.connection, view).await {
                Ok(None) => sent.extend_from_slice(piece.as_deref().unwrap_or_default()),
                Ok(Some(response)) => {
                    self.exchange.response = *response;
                    return;
                }
                Err(broken) => return self.fail(broken),
            }
        }
        let target = String::from_utf8_lossy(&head.target).into_owned();
        self.exchange.upstream = Some(Forwarded { peer, target, headers: head.headers, body: sent.into() });
    }

    async fn response(&mut self) {
        self.page().await;
        let mut head = Head { status: self.exchange.response.status, headers: self.exchange.response.headers.clone() };
        if let Err(broken) = self.run.response(self.request, self.connection, &mut head).await {
            return self.fail(broken);
        }
        (self.exchange.response.status, self.exchange.response.headers) = (head.status, head.headers);
        if let Content::Bytes(bytes) = &self.exchange.response.body {
            let mut piece = Some(bytes.clone());
            if let Err(broken) = self.run.response_body(self.request, self.connection, Body::new(&mut piece, true)) {
                return self.fail(broken);
            }
            self.exchange.response.body = Content::Bytes(piece.unwrap_or_default());
        }
    }

    async fn page(&mut self) {
        let response = &mut self.exchange.response;
        let Content::Page(reason) = &response.body else { return };
        let phrase = response.phrase.or(response.status.canonical_reason()).unwrap_or_default();
        let page = Page::new(response.status, phrase, reason);
        let (rendered, broken) = self.run.page(self.request, self.connection, &page).await;
        self.exchange.broken.extend(broken);
        if let Some(Rendered { body, content_type }) = rendered {
            response.body = Content::Bytes(body);
            response.headers.insert(http::header::CONTENT_TYPE, content_type);
        }
    }

    fn fail(&mut self, broken: Broken) {
        self.exchange.broken.push(broken);
        self.exchange.response = Response::refuse(StatusCode::INTERNAL_SERVER_ERROR, "a plugin is broken");
    }
}

/// The end of the chain: a peer without addresses stands for the application in memory.
struct Application;

impl Plugin for Application {
    const NAME: &'static str = "application";
    const PHASES: Phases = Phases::REQUEST;
    const TERMINAL: Terminal = Terminal::Always;
    type Config = ();
    type State = ();

    fn build((): (), _: &mut BuildCx<'_>) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    fn request<'a>(&'a self, _: &'a mut Cx<'_>, (): &'a mut ()) -> Step<'a> {
        Step::done(Verdict::Upstream(Peer::builder(Vec::new()).build()))
    }
}

/// Builds a link from its keys as TOML.
///
/// # Errors
///
/// What `lockgate check` would print.
pub fn link<P: Plugin>(keys: &str, named: &Named) -> Result<Link, Problems> {
    let source = Source::new("harness", keys);
    let mut problems = Problems::new(source.clone());
    let table = parse(&source, &mut problems);
    let shared = SharedStore::default();
    let link = Kind::of::<P>().build(table, &mut BuildCx::new(named, &shared), &mut problems);
    problems.or_ok(link)
}
