//! The trait that plugins implement; its documentation is the contract.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{
    Body, BuildCx, ConfigError, Connection, Cx, Outcome, Page, Phases, PluginError, Rendered, RequestHead, Response,
    ResponseHead, StartCx, Step,
};

/// A link of a proxy chain.
///
/// # Life
///
/// [`build`](Self::build) makes one instance per place in the configuration; [`start`](Self::start) runs once, after the
/// whole configuration was accepted; then hooks are called from many threads at once; the instance is dropped when the
/// last request that started on its configuration has ended.
///
/// # Hooks
///
/// For one request, hooks are called one after the other, never at the same time. `request` hooks run in the order of the
/// chain until one ends it. `response` and `response_body` run in reverse order, and only for plugins whose `request` hook
/// ran (or that have none but stand before the plugin that ended the chain). They also run for responses that plugins and
/// the engine make. `log` runs exactly once for each plugin whose turn came, also when the client went away.
///
/// A future returned by a hook is dropped when the client goes away or the engine stops; a plugin that must finish
/// something hands it to a task of its own (see [`StartCx::spawn`]).
///
/// # Failure
///
/// A refusal is a value: [`Verdict::Respond`](crate::Verdict::Respond). An `Err` means that the plugin is broken. It and
/// a panic are answered with 500 (or the connection is cut when the head is already out), counted, and logged with the
/// plugin's name; that plugin's later hooks are skipped for this request. The process goes on.
///
/// # What a plugin must not do
///
/// Block the thread (file work, name resolution, locks held over a wait), or keep state of one request outside `State`.
pub trait Plugin: Sized + Send + Sync + 'static {
    /// The word after `use =`.
    const NAME: &'static str;
    /// The hooks that this plugin has; others are never called.
    const PHASES: Phases;
    /// Whether the `request` hook ends the chain.
    const TERMINAL: Terminal = Terminal::Never;
    /// Names of the [`Key`](crate::Key)s that this plugin sets.
    const PROVIDES: &'static [&'static str] = &[];
    /// Names of the keys that an earlier plugin of the chain must set.
    const REQUIRES: &'static [&'static str] = &[];

    /// The other keys of the plugin's table. Unknown keys are refused by the decoder, not by each author.
    type Config: DeserializeOwned + JsonSchema;
    /// What the plugin remembers between the hooks of one request. `()` costs nothing.
    type State: Default + Send + Sync + 'static;

    /// Makes the plugin. Without side effects: it runs in `lockgate check`, so it may read a file that its keys name, but opens no
    /// socket, writes nothing and starts nothing.
    ///
    /// # Errors
    ///
    /// Names the key whose value cannot be used; it is reported with its line and column.
    fn build(config: Self::Config, cx: &mut BuildCx<'_>) -> Result<Self, ConfigError>;

    /// Whether this instance ends the chain: [`TERMINAL`](Self::TERMINAL), unless its keys say more than its kind can.
    fn terminal(&self) -> Terminal {
        Self::TERMINAL
    }

    /// Starts what the plugin needs in the background, after the whole configuration was accepted.
    fn start<'a>(&'a self, cx: &'a StartCx) -> Step<'a, ()> {
        let _ = cx;
        Step::done(())
    }

    /// Sees who has connected, before anything is read, and turns him away with a response, or lets him ask: `None`.
    ///
    /// Nobody is turned away whom another chain, or an earlier plugin of this one, might serve: the hook is called only when no
    /// plugin before this one has a `request` hook without having this one too, and its answer counts only if every chain that the client could get to
    /// says the same. It may therefore never be called at all: what it refuses, `request` must refuse as well.
    fn client<'a>(&'a self, connection: &'a Connection) -> Step<'a, Option<Box<Response>>> {
        let _ = connection;
        Step::done(None)
    }

    /// Sees the request head and decides; `CONNECT` and upgrade requests come here like any other. May be called once more for the plugins after one whose peer let the chain
    /// go on (see [`FallThrough`](crate::FallThrough)), never twice for one plugin.
    fn request<'a>(&'a self, cx: &'a mut Cx<'_>, state: &'a mut Self::State) -> Step<'a> {
        let _ = (cx, state);
        Step::NEXT
    }

    /// Sees a piece of the request body. Only `Next` and `Respond` are possible verdicts; `Respond` stops the upload.
    fn request_body<'a>(&'a self, cx: &'a mut Cx<'_>, state: &'a mut Self::State, body: Body<'a>) -> Step<'a> {
        let _ = (cx, state, body);
        Step::NEXT
    }

    /// Changes the head that goes to the upstream server. Called again on every retry, so it must be idempotent.
    fn upstream_request<'a>(
        &'a self,
        cx: &'a mut Cx<'_>,
        state: &'a mut Self::State,
        head: &'a mut dyn RequestHead,
    ) -> Step<'a, ()> {
        let _ = (cx, state, head);
        Step::done(())
    }

    /// Changes the head that goes to the client.
    fn response<'a>(
        &'a self,
        cx: &'a mut Cx<'_>,
        state: &'a mut Self::State,
        head: &'a mut dyn ResponseHead,
    ) -> Step<'a, ()> {
        let _ = (cx, state, head);
        Step::done(())
    }

    /// Sees a piece of the response body. Not called after an upgrade (101) or `CONNECT`.
    ///
    /// # Errors
    ///
    /// The plugin is broken; the connection is cut.
    fn response_body(&self, cx: &mut Cx<'_>, state: &mut Self::State, body: Body<'_>) -> Result<(), PluginError> {
        let _ = (cx, state, body);
        Ok(())
    }

    /// Renders an error page; `None` leaves it to the next plugin, and in the end to the engine. Asked of every plugin of the
    /// chain in order, wherever the request ended: a page may be about a refusal by an earlier plugin. A plugin that fails
    /// here leaves the page to the others.
    fn page<'a>(
        &'a self,
        cx: &'a mut Cx<'_>,
        state: &'a mut Self::State,
        page: &'a Page<'a>,
    ) -> Step<'a, Option<Rendered>> {
        let _ = (cx, state, page);
        Step::done(None)
    }

    /// Sees the end of the request.
    fn log(&self, cx: &Cx<'_>, state: &Self::State, outcome: &Outcome) {
        let _ = (cx, state, outcome);
    }
}

/// Whether a plugin ends the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// Always lets the next plugin go on.
    Never,
    /// For some requests; another plugin must follow.
    Sometimes,
    /// For every request; no plugin may follow.
    Always,
}
