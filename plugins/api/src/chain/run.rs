//! One request's run through a chain.

use std::{any::Any, sync::Arc};

use super::Chain;
use crate::{
    Bag, Body, Connection, Cx, FallThrough, Outcome, Page, Peer, PluginError, Rendered, Request, RequestHead, Response,
    ResponseHead, Target, Verdict, guard,
};

/// What the plugins of a chain remember about one request. The chain is pinned until the run is dropped.
pub struct Run {
    chain: Arc<Chain>,
    states: Box<[Box<dyn Any + Send + Sync>]>,
    bag: Bag,
    /// Links whose turn came, as bits.
    ran: u64,
    /// Links that failed: their later hooks are skipped.
    broken: u64,
    /// The first link whose turn has not come.
    next: usize,
}

/// What the request hooks of a chain decided.
#[derive(Debug)]
pub enum Decision {
    /// Answer this.
    Respond {
        /// The response.
        response: Box<Response>,
        /// The plugin that made it.
        by: &'static str,
    },
    /// Pass the request on.
    Upstream {
        /// To this peer.
        peer: Peer,
        /// The plugin that named it.
        by: &'static str,
    },
    /// Open a tunnel.
    Tunnel {
        /// To this target.
        target: Target,
        /// The plugin that named it.
        by: &'static str,
    },
    /// No plugin ended the chain: the last one broke its promise to.
    Exhausted,
}

/// A plugin failed.
#[derive(Debug, thiserror::Error)]
#[error("plugin `{plugin}` is broken")]
pub struct Broken {
    /// Its name.
    pub plugin: &'static str,
    /// What happened; a panic says so.
    pub source: PluginError,
}

impl Run {
    /// A run that has not started.
    pub fn new(chain: Arc<Chain>) -> Self {
        let states = chain.links.iter().map(super::Link::state).collect();
        Self { chain, states, bag: Bag::default(), ran: 0, broken: 0, next: 0 }
    }

    /// The chain.
    pub fn chain(&self) -> &Arc<Chain> {
        &self.chain
    }

    /// Runs request hooks until one ends the chain. Called again, it goes on behind the plugin that ended it: that is
    /// how a chain goes on behind a peer that [falls through](FallThrough).
    ///
    /// # Errors
    ///
    /// A plugin failed.
    pub async fn request(&mut self, request: Request<'_>, connection: &Connection) -> Result<Decision, Broken> {
        let chain = Arc::clone(&self.chain);
        let from = self.next;
        for &index in chain.hooks.request.iter().skip_while(|&&index| index < from) {
            let link = &chain.links[index];
            self.reach(index);
            let mut cx = Cx::new(request, connection, &mut self.bag);
            let state = &mut *self.states[index];
            let verdict = guard::run(|| link.plugin().request(&mut cx, state)).await;
            match self.check(index, verdict)? {
                Verdict::Next => {}
                Verdict::Respond(response) => return Ok(Decision::Respond { response, by: link.name() }),
                Verdict::Upstream(peer) => return Ok(Decision::Upstream { peer, by: link.name() }),
                Verdict::Tunnel(target) => return Ok(Decision::Tunnel { target, by: link.name() }),
            }
        }
        Ok(Decision::Exhausted)
    }

    /// Runs request-body hooks for one piece. A response stops the upload.
    ///
    /// # Errors
    ///
    /// A plugin failed, or gave a verdict that has no meaning here.
    pub async fn request_body(
        &mut self,
        request: Request<'_>,
        connection: &Connection,
        mut body: Body<'_>,
    ) -> Result<Option<Box<Response>>, Broken> {
        let chain = Arc::clone(&self.chain);
        for index in self.alive(&chain.hooks.request_body) {
            let mut cx = Cx::new(request, connection, &mut self.bag);
            let (state, piece) = (&mut *self.states[index], body.reborrow());
            let verdict = guard::run(|| chain.links[index].plugin().request_body(&mut cx, state, piece)).await;
            match self.check(index, verdict)? {
                Verdict::Next => {}
                Verdict::Respond(response) => return Ok(Some(response)),
                Verdict::Upstream(_) | Verdict::Tunnel(_) => {
                    return self.check(index, Err("a body hook cannot choose an upstream".into()));
                }
            }
        }
        Ok(None)
    }

    /// Runs the hooks that change the head for the upstream server.
    ///
    /// # Errors
    ///
    /// A plugin failed.
    pub async fn upstream_request(
        &mut self,
        request: Request<'_>,
        connection: &Connection,
        head: &mut dyn RequestHead,
    ) -> Result<(), Broken> {
        let chain = Arc::clone(&self.chain);
        for index in self.alive(&chain.hooks.upstream_request) {
            let mut cx = Cx::new(request, connection, &mut self.bag);
            let (state, head) = (&mut *self.states[index], &mut *head);
            let done = guard::run(|| chain.links[index].plugin().upstream_request(&mut cx, state, head)).await;
            self.check(index, done)?;
        }
        Ok(())
    }

    /// Runs the hooks that change the head for the client, last plugin first.
    ///
    /// # Errors
    ///
    /// A plugin failed.
    pub async fn response(
        &mut self,
        request: Request<'_>,
        connection: &Connection,
        head: &mut dyn ResponseHead,
    ) -> Result<(), Broken> {
        let chain = Arc::clone(&self.chain);
        for index in self.alive(&chain.hooks.response) {
            let mut cx = Cx::new(request, connection, &mut self.bag);
            let (state, head) = (&mut *self.states[index], &mut *head);
            let done = guard::run(|| chain.links[index].plugin().response(&mut cx, state, head)).await;
            self.check(index, done)?;
        }
        Ok(())
    }

    /// Runs the hooks that see pieces of the response body, last plugin first.
    ///
    /// # Errors
    ///
    /// A plugin failed.
    pub fn response_body(
        &mut self,
        request: Request<'_>,
        connection: &Connection,
        mut body: Body<'_>,
    ) -> Result<(), Broken> {
        let chain = Arc::clone(&self.chain);
        for index in self.alive(&chain.hooks.response_body) {
            let mut cx = Cx::new(request, connection, &mut self.bag);
            let (state, piece) = (&mut *self.states[index], body.reborrow());
            let done = guard::call(|| chain.links[index].plugin().response_body(&mut cx, state, piece));
            self.check(index, done.flatten())?;
        }
        Ok(())
    }

    /// Runs the hooks that render an error page, until one does. A failure comes back beside the page.
    pub async fn page(
        &mut self,
        request: Request<'_>,
        connection: &Connection,
        page: &Page<'_>,
    ) -> (Option<Rendered>, Vec<Broken>) {
        let chain = Arc::clone(&self.chain);
        let mut failures = Vec::new();
        for &index in chain.hooks.page.iter().filter(|index| self.broken & (1 << **index) == 0) {
            let mut cx = Cx::new(request, connection, &mut self.bag);
            let state = &mut *self.states[index];
            match guard::run(|| chain.links[index].plugin().page(&mut cx, state, page)).await {
                Ok(Some(rendered)) => return (Some(rendered), failures),
                Ok(None) => {}
                Err(source) => failures.push(Broken { plugin: chain.links[index].name(), source }),
            }
        }
        (None, failures)
    }

    /// Runs the hooks that see the end. Every plugin has its turn, also when one of them fails; the failures come back.
    pub fn log(&mut self, request: Request<'_>, connection: &Connection, outcome: &Outcome) -> Vec<Broken> {
        let chain = Arc::clone(&self.chain);
        let mut failures = Vec::new();
        for index in self.alive(&chain.hooks.log) {
            let cx = Cx::new(request, connection, &mut self.bag);
            let state = &*self.states[index];
            if let Err(source) = guard::call(|| chain.links[index].plugin().log(&cx, state, outcome)) {
                failures.push(Broken { plugin: chain.links[index].name(), source });
            }
        }
        failures
    }

    /// The turn of this link has come, and with it that of the links before it.
    fn reach(&mut self, index: usize) {
        self.next = index + 1;
        self.ran |= u64::MAX >> (u64::BITS as usize - 1 - index);
    }

    /// Those of `hooks` whose plugin's turn has come and that have not failed.
    fn alive<'h>(&self, hooks: &'h [usize]) -> impl Iterator<Item = usize> + use<'h> {
        let alive = self.ran & !self.broken;
        hooks.iter().copied().filter(move |index| alive & (1 << index) != 0)
    }

    fn check<T>(&mut self, index: usize, result: Result<T, PluginError>) -> Result<T, Broken> {
        result.map_err(|source| {
            self.broken |= 1 << index;
            Broken { plugin: self.chain.links[index].name(), source }
        })
    }
}

impl Decision {
    /// How the peer of this decision falls through; `Never` for other decisions.
    pub fn fall_through(&self) -> FallThrough {
        match self {
            Self::Upstream { peer, .. } => peer.settings().fall_through,
            _ => FallThrough::Never,
        }
    }
}
