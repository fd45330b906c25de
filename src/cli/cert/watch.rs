//! Tells people how an order goes, and lets interception begin and end with its validation.

use std::sync::Mutex;

use authenticator_api::{BoxFuture, Challenge};
use certificates::{BoxError, Observer, Progress};
use tokio::{sync::watch, task::JoinHandle};

use super::interception::{Intercept, Interception};
use crate::cli::report;

/// Watches one order.
pub(super) struct Watch {
    quiet: bool,
    plan: Option<Intercept>,
    open: tokio::sync::Mutex<Option<Open>>,
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
        let open = tokio::sync::Mutex::new(None);
        Self { quiet, plan, open, lost, started: std::time::Instant::now(), stage: Mutex::new("the start") }
    }

    /// Ready when the gate closed although nobody asked it to.
    pub(super) async fn lost(&self) {
        let mut lost = self.lost.subscribe();
        let _ = lost.wait_for(|lost| *lost).await;
    }

    /// Ends interception, if it is on.
    pub(super) async fn close(&self) -> Result<(), BoxError> {
        let Some(open) = self.open.lock().await.take() else { return Ok(()) };
        // From here on the end of the gate is what we want.
        open.guard.abort();
        let cut = open.interception.close().await?;
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
            Progress::Finalized => self.say("finalized", "the certificate is being issued"),
            Progress::Saved { live } => self.say("saved", &format!("saved in {}", live.display())),
        }
    }

    fn before_validation<'a>(&'a self, challenges: &'a [Challenge]) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            let Some(plan) = &self.plan else { return Ok(()) };
            // Held over the whole opening: an interruption in the middle waits for it, and then closes what is open.
            let mut open = self.open.lock().await;
            let interception = plan.open(challenges).await?;
            let (died, lost) = (interception.died(), self.lost.clone());
            let guard = tokio::spawn(async move {
                died.await;
                lost.send_replace(true);
            });
            let text = interception.describe();
            *open = Some(Open { interception, guard });
            self.say("interception on", &text);
            Ok(())
        })
    }

    fn after_validation(&self) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(self.close())
    }
}
