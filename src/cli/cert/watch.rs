//! Tells people how an order goes, and lets interception begin and end with its validation.

use std::sync::{Arc, Mutex};

use authenticator_api::{BoxFuture, Challenge};
use certificates::{BoxError, Observer, Progress};
use tokio::{sync::watch, task::JoinHandle};

use super::interception::{Intercept, Interception};
use crate::cli::report;

/// Watches one order.
pub(super) struct Watch {
    quiet: bool,
    plan: Option<Arc<Intercept>>,
    /// Locked by whoever opens or closes, in a task of its own: an order that is dropped in the middle does not drop a gate
    /// with visitors in it, and the next one who wants to close waits.
    open: Arc<tokio::sync::Mutex<Option<Open>>>,
    lost: watch::Sender<bool>,
    started: std::time::Instant,
    /// What was last said, so that an interruption can say how far it got.
    stage: Mutex<&'static str>,
}

struct Open {
    interception: Interception,
    guard: JoinHandle<()>,
}

impl Watch {
    pub(super) fn new(quiet: bool, plan: Option<Intercept>) -> Self {
        let (lost, _) = watch::channel(false);
        let (plan, open) = (plan.map(Arc::new), Arc::default());
        Self { quiet, plan, open, lost, started: std::time::Instant::now(), stage: Mutex::new("the start") }
    }

    /// Ready when the gate closed although nobody asked it to.
    pub(super) async fn lost(&self) {
        let mut lost = self.lost.subscribe();
        let _ = lost.wait_for(|lost| *lost).await;
    }

    /// Ends interception, if it is on.
    pub(super) async fn close(&self) -> Result<(), BoxError> {
        let mut held = Arc::clone(&self.open).lock_owned().await;
        let Some(open) = held.take() else { return Ok(()) };
        // From here on the end of the gate is what we want.
        open.guard.abort();
        let closing = tokio::spawn(async move {
            let cut = open.interception.close().await;
            drop(held);
            cut
        });
        let cut = closing.await??;
        let text = match cut {
            0 => "interception ended, nobody was cut off".to_owned(),
            cut => format!("interception ended, {cut} connection(s) were cut at the end of --drain"),
        };
        self.say("interception ended", &text);
        Ok(())
    }

    /// How far the order got.
    pub(super) fn stage(&self) -> &'static str {
        *self.stage.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(super) fn say(&self, stage: &'static str, text: &str) {
        *self.stage.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = stage;
        if !self.quiet {
            report::progress(self.started.elapsed(), text);
        }
    }
}

impl Observer for Watch {
    fn progress(&self, progress: Progress) {
        match progress {
            Progress::AccountCreated { url } => self.say("account", &format!("new account {url}")),
            Progress::AccountReused { url } => self.say("account", &format!("account {url}")),
            Progress::OrderPlaced { to_prove } => {
                self.say("order placed", &format!("order placed, {to_prove} name(s) to prove"))
            }
            Progress::ChallengesPresented => self.say("challenges presented", "challenges can be answered"),
            Progress::ValidationStarted => self.say("validation started", "the certificate authority was told to come"),
            Progress::Validated { domain } => self.say("validated", &format!("{domain} is proven")),
            Progress::GivenUp { failure } => {
                self.say("order placed", &format!("going on without {}: {}", failure.domain, failure.detail))
            }
            Progress::AuthorityFailed { directory, message, .. } => {
                self.say("authority failed", &format!("{directory} failed ({message}), asking the next one"))
            }
            Progress::Finalized => self.say("finalized", "the certificate is being issued"),
            Progress::Saved { live } => self.say("saved", &format!("saved in {}", live.display())),
        }
    }

    fn before_validation<'a>(&'a self, challenges: &'a [Challenge]) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            let Some(plan) = &self.plan else { return Ok(()) };
            let mut held = Arc::clone(&self.open).lock_owned().await;
            let (plan, challenges, lost) = (Arc::clone(plan), challenges.to_vec(), self.lost.clone());
            let opening = tokio::spawn(async move {
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
            let text = opening.await??;
            self.say("interception on", &text);
            Ok(())
        })
    }

    fn after_validation(&self) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(self.close())
    }
}
