//! The form in which chains and the registry hold plugins of any type. Authors never see it.

use std::{any::Any, fmt, sync::Arc};

use crate::{
    Body, BuildCx, Connection, Cx, Outcome, Page, Phases, Plugin, PluginError, Rendered, RequestHead, Response,
    ResponseHead, StartCx, Step, Terminal,
    config::{self, KeyDoc},
};

/// A plugin that is compiled in, for the registry: `Kind::of::<Upstream>()`.
#[derive(Clone, Copy)]
pub struct Kind {
    name: &'static str,
    terminal: Terminal,
    build: BuildFn,
    keys: fn() -> Vec<KeyDoc>,
}

type BuildFn = fn(config::Table<'_>, &mut BuildCx<'_>, &mut config::Problems) -> Option<Link>;

impl Kind {
    /// The kind of plugin that `P` is.
    pub const fn of<P: Plugin>() -> Self {
        Self { name: P::NAME, terminal: P::TERMINAL, build: build::<P>, keys: config::describe::<P::Config> }
    }

    /// The word after `use =`.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it ends a chain.
    pub const fn terminal(&self) -> Terminal {
        self.terminal
    }

    /// Its keys, from the type that decodes them.
    pub fn keys(&self) -> Vec<KeyDoc> {
        (self.keys)()
    }

    /// Makes an instance from its table, with `use` already taken out. What is wrong goes to `problems`.
    pub fn build(
        &self,
        table: config::Table<'_>,
        cx: &mut BuildCx<'_>,
        problems: &mut config::Problems,
    ) -> Option<Link> {
        (self.build)(table, cx, problems)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kind({})", self.name)
    }
}

fn build<P: Plugin>(table: config::Table<'_>, cx: &mut BuildCx<'_>, problems: &mut config::Problems) -> Option<Link> {
    let spans = table.spans();
    let config = table.decode::<P::Config>(problems)?;
    match P::build(config, cx) {
        Ok(plugin) => Some(Link::new(plugin)),
        Err(error) => {
            problems.push(error.at(&spans));
            None
        }
    }
}

/// One plugin instance in a chain.
#[derive(Clone)]
pub struct Link(Arc<dyn Erased>);

impl Link {
    /// Wraps an instance.
    pub fn new<P: Plugin>(plugin: P) -> Self {
        Self(Arc::new(plugin))
    }

    /// The plugin's name.
    pub fn name(&self) -> &'static str {
        self.0.about().name
    }

    /// Whether it ends the chain.
    pub fn terminal(&self) -> Terminal {
        self.0.terminal()
    }

    /// Starts what the plugin needs in the background.
    ///
    /// # Errors
    ///
    /// What the plugin says, a panic included.
    pub async fn start(&self, cx: &StartCx) -> Result<(), PluginError> {
        crate::guard::run(|| self.0.start(cx)).await
    }

    pub(crate) fn phases(&self) -> Phases {
        self.0.about().phases
    }

    pub(crate) fn provides(&self) -> &'static [&'static str] {
        self.0.about().provides
    }

    pub(crate) fn requires(&self) -> &'static [&'static str] {
        self.0.about().requires
    }

    pub(crate) fn state(&self) -> State {
        self.0.state()
    }

    pub(crate) fn plugin(&self) -> &dyn Erased {
        &*self.0
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({})", self.name())
    }
}

pub(crate) type State = Box<dyn Any + Send + Sync>;

/// The constants of a plugin.
pub(crate) struct About {
    name: &'static str,
    phases: Phases,
    provides: &'static [&'static str],
    requires: &'static [&'static str],
}

pub(crate) trait Erased: Send + Sync {
    fn about(&self) -> &'static About;
    fn terminal(&self) -> Terminal;
    fn state(&self) -> State;
    fn start<'a>(&'a self, cx: &'a StartCx) -> Step<'a, ()>;
    fn client<'a>(&'a self, connection: &'a Connection) -> Step<'a, Option<Box<Response>>>;
    fn request<'a>(&'a self, cx: &'a mut Cx<'_>, state: &'a mut (dyn Any + Send + Sync)) -> Step<'a>;
    fn request_body<'a>(
        &'a self,
        cx: &'a mut Cx<'_>,
        state: &'a mut (dyn Any + Send + Sync),
        body: Body<'a>,
    ) -> Step<'a>;
    fn upstream_request<'a>(
        &'a self,
        cx: &'a mut Cx<'_>,
        state: &'a mut (dyn Any + Send + Sync),
        head: &'a mut dyn RequestHead,
    ) -> Step<'a, ()>;
    fn response<'a>(
        &'a self,
        cx: &'a mut Cx<'_>,
        state: &'a mut (dyn Any + Send + Sync),
        head: &'a mut dyn ResponseHead,
    ) -> Step<'a, ()>;
    fn response_body(
        &self,
        cx: &mut Cx<'_>,
        state: &mut (dyn Any + Send + Sync),
        body: Body<'_>,
    ) -> Result<(), PluginError>;
    fn page<'a>(
        &'a self,
        cx: &'a mut Cx<'_>,
        state: &'a mut (dyn Any + Send + Sync),
        page: &'a Page<'a>,
    ) -> Step<'a, Option<Rendered>>;
    fn log(&self, cx: &Cx<'_>, state: &(dyn Any + Send + Sync), outcome: &Outcome);
}

const OWN_STATE: &str = "a run gives each plugin the state that the plugin made";

impl<P: Plugin> Erased for P {
    fn about(&self) -> &'static About {
        const { &About { name: P::NAME, phases: P::PHASES, provides: P::PROVIDES, requires: P::REQUIRES } }
    }

    fn terminal(&self) -> Terminal {
        Plugin::terminal(self)
    }

    fn state(&self) -> State {
        Box::new(P::State::default())
    }

    fn start<'a>(&'a self, cx: &'a StartCx) -> Step<'a, ()> {
        Plugin::start(self, cx)
    }

    fn client<'a>(&'a self, connection: &'a Connection) -> Step<'a, Option<Box<Response>>> {
        Plugin::client(self, connection)
    }

    fn request<'a>(&'a self, cx: &'a mut Cx<'_>, state: &'a mut (dyn Any + Send + Sync)) -> Step<'a> {
        Plugin::request(self, cx, state.downcast_mut().expect(OWN_STATE))
    }

    fn request_body<'a>(
        &'a self,
        cx: &'a mut Cx<'_>,
        state: &'a mut (dyn Any + Send + Sync),
        body: Body<'a>,
    ) -> Step<'a> {
        Plugin::request_body(self, cx, state.downcast_mut().expect(OWN_STATE), body)
    }

    fn upstream_request<'a>(
        &'a self,
        cx: &'a mut Cx<'_>,
        state: &'a mut (dyn Any + Send + Sync),
        head: &'a mut dyn RequestHead,
    ) -> Step<'a, ()> {
        Plugin::upstream_request(self, cx, state.downcast_mut().expect(OWN_STATE), head)
    }

    fn response<'a>(
        &'a self,
        cx: &'a mut Cx<'_>,
        state: &'a mut (dyn Any + Send + Sync),
        head: &'a mut dyn ResponseHead,
    ) -> Step<'a, ()> {
        Plugin::response(self, cx, state.downcast_mut().expect(OWN_STATE), head)
    }

    fn response_body(
        &self,
        cx: &mut Cx<'_>,
        state: &mut (dyn Any + Send + Sync),
        body: Body<'_>,
    ) -> Result<(), PluginError> {
        Plugin::response_body(self, cx, state.downcast_mut().expect(OWN_STATE), body)
    }

    fn page<'a>(
        &'a self,
        cx: &'a mut Cx<'_>,
        state: &'a mut (dyn Any + Send + Sync),
        page: &'a Page<'a>,
    ) -> Step<'a, Option<Rendered>> {
        Plugin::page(self, cx, state.downcast_mut().expect(OWN_STATE), page)
    }

    fn log(&self, cx: &Cx<'_>, state: &(dyn Any + Send + Sync), outcome: &Outcome) {
        Plugin::log(self, cx, state.downcast_ref().expect(OWN_STATE), outcome);
    }
}
