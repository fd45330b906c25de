//! What a hook returns.

use std::{future::Future, pin::Pin};

use crate::{Peer, Response, Target};

/// A future that a hook returns: boxed, and free to move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The result of a hook: there already, or waited for. Only a hook that really waits allocates.
pub enum Step<'a, T = Verdict> {
    /// The result is there.
    Done(Result<T, PluginError>),
    /// The result needs waiting. The future is dropped when the client goes away.
    Wait(BoxFuture<'a, Result<T, PluginError>>),
}

impl<'a, T> Step<'a, T> {
    /// A result that is there.
    pub const fn done(value: T) -> Self {
        Self::Done(Ok(value))
    }

    /// The plugin is broken: the request is answered with 500 and the error is logged with the plugin's name.
    pub fn broken(error: impl Into<PluginError>) -> Self {
        Self::Done(Err(error.into()))
    }

    /// A result that `future` will bring.
    pub fn wait(future: impl Future<Output = Result<T, PluginError>> + Send + 'a) -> Self {
        Self::Wait(Box::pin(future))
    }
}

impl Step<'_, Verdict> {
    /// Nothing to say: the next plugin of the chain is asked.
    pub const NEXT: Self = Self::Done(Ok(Verdict::Next));

    /// Ends the request with this response.
    pub fn respond(response: Response) -> Self {
        Self::done(Verdict::Respond(Box::new(response)))
    }
}

/// What a plugin decided about a request. The chain obeys; a plugin never writes to the client itself.
#[derive(Debug)]
pub enum Verdict {
    /// Go on with the next plugin.
    Next,
    /// Answer this. Later plugins do not see the request.
    Respond(Box<Response>),
    /// Pass the request on to this peer.
    Upstream(Peer),
    /// Turn the connection into a tunnel to this target (`CONNECT` requests only).
    Tunnel(Target),
}

/// The plugin is broken: not "this request is refused" (that is [`Verdict::Respond`]) but "I cannot do my work".
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct PluginError(Box<dyn std::error::Error + Send + Sync>);

impl PluginError {
    /// Wraps the error that stopped the plugin.
    pub fn new(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

impl From<&str> for PluginError {
    fn from(message: &str) -> Self {
        Self(message.into())
    }
}

impl From<String> for PluginError {
    fn from(message: String) -> Self {
        Self(message.into())
    }
}

impl From<std::io::Error> for PluginError {
    fn from(error: std::io::Error) -> Self {
        Self(error.into())
    }
}
