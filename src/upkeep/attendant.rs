//! Watches orders, and steps in front of the application for those that need it.

use authenticator_api::{BoxFuture, Challenge};
use certificates::{BoxError, Observer, Progress};
use tokio::sync::Notify;

use crate::intercept::{Doorway, Intercept};

/// Watches the orders of one configuration.
pub(super) struct Attendant {
    doorway: Option<Doorway>,
}

/// Watches the orders for one certificate.
pub(super) struct Watching<'a> {
    pub(super) certificate: &'a str,
    /// Whether visitors have to be led to us while an authority validates.
    pub(super) doorway: Option<&'a Doorway>,
    /// Told when there is a new certificate on disk.
    pub(super) saved: &'a Notify,
}

impl Attendant {
    pub(super) fn new(intercept: Option<Intercept>) -> Self {
        Self { doorway: intercept.map(Doorway::new) }
    }

    pub(super) fn doorway(&self) -> Option<&Doorway> {
        self.doorway.as_ref()
    }

    /// Closes what may be open.
    pub(super) async fn leave(&self) {
        let Some(doorway) = &self.doorway else { return };
        if let Err(error) = doorway.close().await {
            tracing::error!(target: "lockgate::interception", error = &*error, "the gate did not close as it should");
        }
    }
}

impl Observer for Watching<'_> {
    fn progress(&self, progress: Progress) {
        let certificate = self.certificate;
        match progress {
            Progress::AccountCreated { url } => {
                tracing::info!(target: "lockgate::certificates", certificate, url, "there is a new account");
            }
            Progress::GivenUp { failure } => tracing::warn!(
                target: "lockgate::certificates", certificate, domain = failure.domain, kind = failure.kind,
                detail = failure.detail, "a name is given up for now"
            ),
            Progress::AuthorityFailed { directory, message, .. } => tracing::warn!(
                target: "lockgate::certificates", certificate, directory, message, "an authority failed, asking the next one"
            ),
            other => {
                if let Progress::Saved { .. } = other {
                    self.saved.notify_one();
                }
                tracing::debug!(target: "lockgate::certificates", certificate, progress = ?other, "an order goes on")
            }
        }
    }

    fn before_validation<'a>(&'a self, challenges: &'a [Challenge]) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            let Some(doorway) = self.doorway else { return Ok(()) };
            let how = doorway.open(challenges).await?;
            tracing::info!(target: "lockgate::interception", certificate = self.certificate, "{how}");
            Ok(())
        })
    }

    fn after_validation(&self) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            let Some(doorway) = self.doorway else { return Ok(()) };
            if let Some(cut) = doorway.close().await? {
                tracing::info!(target: "lockgate::interception", certificate = self.certificate, cut, "interception ended");
            }
            Ok(())
        })
    }
}
