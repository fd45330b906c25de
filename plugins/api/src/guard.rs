//! Keeps a panic in the plugin that caused it.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use crate::{BoxFuture, PluginError, Step};

/// Runs a hook and waits for it; a panic becomes an error.
///
/// `AssertUnwindSafe` is right because a plugin that panicked is not called again for this request, and what it shares
/// between requests is its own to keep sound, as with any thread that panics.
pub(crate) async fn run<'a, T>(hook: impl FnOnce() -> Step<'a, T>) -> Result<T, PluginError> {
    match call(hook)? {
        Step::Done(result) => result,
        Step::Wait(future) => Guarded(future).await,
    }
}

/// Runs a hook that does not wait; a panic becomes an error.
pub(crate) fn call<T>(hook: impl FnOnce() -> T) -> Result<T, PluginError> {
    catch_unwind(AssertUnwindSafe(hook)).map_err(|payload| panicked(&*payload))
}

struct Guarded<'a, T>(BoxFuture<'a, Result<T, PluginError>>);

impl<T> Future for Guarded<'_, T> {
    type Output = Result<T, PluginError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(poll) => poll,
            Err(payload) => Poll::Ready(Err(panicked(&*payload))),
        }
    }
}

fn panicked(payload: &(dyn Any + Send)) -> PluginError {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a value that is not text");
    PluginError::from(format!("panicked: {text}"))
}
