//! Tells people how an order goes, and lets interception begin and end with its validation.

use std::sync::Mutex;

use authenticator_api::{BoxFuture, Challenge};
use certificates::{BoxError, Observer, Progress};

use crate::{
    cli::report,
    intercept::{Doorway, Intercept},
};

/// Watches one order.
pub(super) struct Watch {
    quiet: bool,
    doorway: Option<Doorway>,
    started: std::time::Instant,
    /// What was last said, so that an interruption can say how far it got.
    stage: Mutex<&'static str>,
}

impl Watch {
    pub(super) fn new(quiet: bool, plan: Option<Intercept>) -> Self {
        let doorway = plan.map(Doorway::new);
        Self { quiet, doorway, started: std::time::Instant::now(), stage: Mutex::new("the start") }
    }

    /// Ready when the gate closed although nobody asked it to.
    pub(super) async fn lost(&self) {
        match &self.doorway {
            Some(doorway) => doorway.lost().await,
            None => std::future::pending().await,
        }
    }

    /// Ends interception, if it is on.
    pub(super) async fn close(&self) -> Result<(), BoxError> {
        let Some(doorway) = &self.doorway else { return Ok(()) };
        let Some(cut) = doorway.close().await? else { return Ok(()) };
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
            let Some(doorway) = &self.doorway else { return Ok(()) };
            let text = doorway.open(challenges).await?;
            self.say("interception on", &text);
            Ok(())
        })
    }

    fn after_validation(&self) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(self.close())
    }
}
