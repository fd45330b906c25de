//! Who opens the gate before a validation and closes it after that, whatever becomes of the order in between.

use std::sync::Arc;

use authenticator_api::Challenge;
use certificates::BoxError;
use tokio::{sync::watch, task::JoinHandle};

use super::{Intercept, Interception};

/// A gate that may be open.
pub(crate) struct Doorway {
    plan: Arc<Intercept>,
    /// Locked by whoever opens or closes, in a task of its own: an order that is dropped in the middle does not drop a gate
    /// with visitors in it, and the next one who wants to close waits.
    open: Arc<tokio::sync::Mutex<Option<Open>>>,
    lost: watch::Sender<bool>,
}

struct Open {
    interception: Interception,
    guard: JoinHandle<()>,
}

impl Doorway {
    /// A closed one.
    pub(crate) fn new(plan: Intercept) -> Self {
        let (lost, _) = watch::channel(false);
        Self { plan: Arc::new(plan), open: Arc::default(), lost }
    }

    /// Opens it, and proves that it leads here. Says how.
    pub(crate) async fn open(&self, challenges: &[Challenge]) -> Result<String, BoxError> {
        let mut held = Arc::clone(&self.open).lock_owned().await;
        let (plan, challenges, lost) = (Arc::clone(&self.plan), challenges.to_vec(), self.lost.clone());
        let opening = tokio::spawn(async move {
            lost.send_replace(false);
            let interception = plan.open(&challenges).await?;
            let died = interception.died();
            let guard = tokio::spawn(async move {
                died.await;
                lost.send_replace(true);
            });
            let text = interception.describe();
            *held = Some(Open { interception, guard });
            Ok::<_, BoxError>(text)
        });
        opening.await?
    }

    /// Closes it, if it is open, and says how many visitors were cut at the end of the drain.
    pub(crate) async fn close(&self) -> Result<Option<u64>, BoxError> {
        let mut held = Arc::clone(&self.open).lock_owned().await;
        let Some(Open { interception, guard }) = held.take() else { return Ok(None) };
        // From here on the end of the gate is what we want; and its loss was somebody's business once.
        guard.abort();
        let _ = guard.await;
        self.lost.send_replace(false);
        let closing = tokio::spawn(async move {
            let cut = interception.close().await;
            drop(held);
            cut
        });
        closing.await?.map(Some)
    }

    /// Ready when it closed although nobody asked it to.
    pub(crate) async fn lost(&self) {
        let mut lost = self.lost.subscribe();
        let _ = lost.wait_for(|lost| *lost).await;
    }
}
