//! A compiled chain of plugins, and one request's run through it.

mod run;

use std::{fmt, sync::Arc};

pub use run::{Broken, Decision, Run};

use crate::{Connection, Link, Phases, Response, Terminal, guard};

/// Plugins in order, with the list of those that have each hook worked out at load.
pub struct Chain {
    name: Arc<str>,
    links: Box<[Link]>,
    hooks: Hooks,
}

/// Indices of the links that have a hook, in the order in which it is called.
#[derive(Default)]
struct Hooks {
    /// Only those that nothing before them might take a request from.
    client: Box<[usize]>,
    request: Box<[usize]>,
    request_body: Box<[usize]>,
    upstream_request: Box<[usize]>,
    response: Box<[usize]>,
    response_body: Box<[usize]>,
    log: Box<[usize]>,
    page: Box<[usize]>,
}

impl Chain {
    /// The most links that a chain may have: which of them ran is kept in the bits of one word.
    pub const MAX_LINKS: usize = 64;

    /// Compiles a chain.
    ///
    /// # Errors
    ///
    /// When the last link does not end every request, when something follows a link that does, when a link requires a
    /// key that no earlier link provides, or when there are too many links.
    pub fn compile(name: impl Into<Arc<str>>, links: Vec<Link>) -> Result<Self, ChainError> {
        check(&links)?;
        let having = |phase: Phases| -> Vec<usize> {
            links.iter().enumerate().filter(|(_, link)| link.phases().contains(phase)).map(|(index, _)| index).collect()
        };
        let reversed = |phase: Phases| having(phase).into_iter().rev().collect();
        let decides = |link: &Link| link.phases().contains(Phases::REQUEST) && !link.phases().contains(Phases::CLIENT);
        let first = links.iter().position(decides).unwrap_or(links.len());
        let hooks = Hooks {
            client: having(Phases::CLIENT).into_iter().filter(|index| *index < first).collect(),
            request: having(Phases::REQUEST).into(),
            request_body: having(Phases::REQUEST_BODY).into(),
            upstream_request: having(Phases::UPSTREAM_REQUEST).into(),
            response: reversed(Phases::RESPONSE),
            response_body: reversed(Phases::RESPONSE_BODY),
            log: having(Phases::LOG).into(),
            page: having(Phases::PAGE).into(),
        };
        Ok(Self { name: name.into(), links: links.into(), hooks })
    }

    /// The name of the route that the chain belongs to.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The links, in order.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Whether any plugin may turn clients away before they ask for anything.
    pub fn sees_clients(&self) -> bool {
        !self.hooks.client.is_empty()
    }

    /// Asks the plugins that may turn a client away, until one does.
    ///
    /// # Errors
    ///
    /// A plugin failed.
    pub async fn client(&self, connection: &Connection) -> Result<Option<Box<Response>>, Broken> {
        for &index in &self.hooks.client {
            let link = &self.links[index];
            match guard::run(|| link.plugin().client(connection)).await {
                Ok(None) => {}
                Ok(refusal) => return Ok(refusal),
                Err(source) => return Err(Broken { plugin: link.name(), source }),
            }
        }
        Ok(None)
    }

    /// Whether any plugin wants to see pieces of the request body.
    pub fn sees_request_bodies(&self) -> bool {
        !self.hooks.request_body.is_empty()
    }

    /// Whether any plugin wants to see how a request ended.
    pub fn sees_the_end(&self) -> bool {
        !self.hooks.log.is_empty()
    }

    /// Whether any plugin renders error pages.
    pub fn renders_pages(&self) -> bool {
        !self.hooks.page.is_empty()
    }

    /// Whether any plugin wants to see pieces of the response body.
    pub fn sees_response_bodies(&self) -> bool {
        !self.hooks.response_body.is_empty()
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("name", &self.name).field("links", &self.links).finish_non_exhaustive()
    }
}

fn check(links: &[Link]) -> Result<(), ChainError> {
    if links.len() > Chain::MAX_LINKS {
        return Err(ChainError::TooLong { index: Chain::MAX_LINKS });
    }
    let Some(last) = links.len().checked_sub(1) else { return Err(ChainError::Empty) };
    let mut provided: Vec<&str> = Vec::new();
    for (index, link) in links.iter().enumerate() {
        if let Some(key) = link.requires().iter().find(|key| !provided.contains(key)) {
            return Err(ChainError::Requires { index, plugin: link.name(), key });
        }
        provided.extend(link.provides());
        match link.terminal() {
            Terminal::Always if index != last => {
                return Err(ChainError::Unreachable { index: index + 1, plugin: link.name() });
            }
            Terminal::Never | Terminal::Sometimes if index == last => {
                return Err(ChainError::Open { index, plugin: link.name() });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Why links do not make a chain. [`index`](Self::index) says which of them is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// There is no link.
    #[error("the chain is empty")]
    Empty,
    /// There are more than [`Chain::MAX_LINKS`].
    #[error("a chain has at most {max} plugins", max = Chain::MAX_LINKS)]
    TooLong {
        /// The first link too many.
        index: usize,
    },
    /// The last link may let a request go on.
    #[error("`{plugin}` is the last plugin of the chain but does not end every request")]
    Open {
        /// The last link.
        index: usize,
        /// Its plugin.
        plugin: &'static str,
    },
    /// A link follows one that ends every request.
    #[error("this plugin is never reached: `{plugin}` before it ends every request")]
    Unreachable {
        /// The link that is never reached.
        index: usize,
        /// The plugin before it.
        plugin: &'static str,
    },
    /// A link requires a key that nothing before it provides.
    #[error("`{plugin}` requires `{key}`, which no earlier plugin of the chain provides")]
    Requires {
        /// The link that requires it.
        index: usize,
        /// Its plugin.
        plugin: &'static str,
        /// The name of the key.
        key: &'static str,
    },
}

impl ChainError {
    /// The index of the link at fault.
    pub const fn index(&self) -> usize {
        match *self {
            Self::Empty => 0,
            Self::TooLong { index }
            | Self::Open { index, .. }
            | Self::Unreachable { index, .. }
            | Self::Requires { index, .. } => index,
        }
    }
}
