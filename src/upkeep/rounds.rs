//! One certificate after the other, again and again.

use std::{
    path::Path,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use certificates::{Blame, ChallengeFailure, Client, Fetcher, Presented, Store, Unsaved, Visit, schedule::Reason};
use tokio::sync::{Notify, watch};

use super::{
    Bulletin, Upkeep,
    attendant::{Attendant, Watching},
    complaint::Complaints,
    fetch::ByName,
    notify::{self, Event},
    shelf::Shelf,
};
use crate::{
    cli::report,
    config::{Certificates, Managed},
    lasting::Lasting,
};

/// Goes round all certificates of one configuration.
pub(super) struct Rounds {
    configured: Arc<Certificates>,
    shelf: Arc<Mutex<Shelf>>,
    presented: Arc<Presented>,
    attendant: Arc<Attendant>,
    bulletin: Arc<Bulletin>,
    /// When each managed certificate is to be looked at.
    due: Vec<SystemTime>,
    /// Opened when it is first needed: whoever only shows files needs none.
    storage: Option<(Store, Client)>,
    unsaved: Unsaved,
    complaints: Complaints,
    stopping: watch::Receiver<bool>,
}

impl Rounds {
    pub(super) fn new(
        upkeep: &Upkeep,
        attendant: &Arc<Attendant>,
        lasting: &Lasting,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self {
            configured: Arc::clone(&upkeep.configured),
            shelf: Arc::clone(&upkeep.shelf),
            presented: Arc::clone(&upkeep.presented),
            attendant: Arc::clone(attendant),
            bulletin: Arc::clone(&lasting.bulletin),
            due: vec![SystemTime::UNIX_EPOCH; upkeep.configured.managed.len()],
            storage: None,
            unsaved: lasting.unsaved.clone(),
            complaints: Complaints::default(),
            stopping,
        }
    }

    /// Goes on until it is told to stop.
    pub(super) async fn run(mut self) {
        loop {
            for index in 0..self.due.len() {
                // The wall clock, each time: it may have been set, and this machine may have been asleep.
                let now = SystemTime::now();
                if *self.stopping.borrow() {
                    return;
                }
                let at_most = now + LONGEST_REST;
                if self.due[index] <= now || at_most < self.due[index] {
                    self.due[index] = self.look_after(index).await;
                }
            }
            self.refresh().await;
            // Whoever could tell is gone, or has told.
            if tokio::time::timeout(PAUSE, self.stopping.wait_for(|stopping| *stopping)).await.is_ok() {
                return;
            }
        }
    }

    /// Looks after one certificate for as long as there is something to do. Returns when to look again.
    async fn look_after(&mut self, index: usize) -> SystemTime {
        let (configured, attendant) = (Arc::clone(&self.configured), Arc::clone(&self.attendant));
        let presented = Arc::clone(&self.presented);
        let managed = &configured.managed[index];
        let (store, client) = match self.storage().await {
            Ok(opened) => opened,
            Err((blame, message)) => {
                self.complain(managed, blame, message);
                return SystemTime::now() + WITHOUT_STORAGE;
            }
        };
        let doorway = attendant.doorway().filter(|_| managed.intercept);
        let saved = Notify::new();
        let observer = Watching { certificate: managed.name(), doorway, saved: &saved };
        // Before the gate is open nothing of ours would be found.
        let fetcher: Option<&dyn Fetcher> = (configured.self_check && doorway.is_none()).then_some(&ByName);
        let upkeep = certificates::Upkeep {
            client: &client,
            store: &store,
            authenticators: &managed.authenticators,
            presented: &presented,
            observer: &observer,
            fetcher,
            clock: &SystemTime::now,
        };
        loop {
            let started = Instant::now();
            let lost = async {
                match doorway {
                    Some(doorway) => doorway.lost().await,
                    None => std::future::pending().await,
                }
            };
            let visit = tokio::select! {
                visit = self.show_when(&saved, upkeep.look_after(&managed.request)) => visit,
                () = lost => {
                    tracing::error!(target: "lockgate::interception", certificate = managed.name(), "the gate closed by itself: the process that held it ended");
                    presented.cleanup().await;
                    attendant.leave().await;
                    // The attempt that began is on record, and found there as a failure.
                    return SystemTime::now();
                }
            };
            if !matches!(visit, Visit::Rest { .. }) {
                self.refresh().await;
            }
            self.tell(managed, &visit, started.elapsed());
            match visit {
                Visit::Rest { until } | Visit::Failed { until, .. } => return until,
                Visit::Issued { .. } | Visit::Incomplete { .. } if *self.stopping.borrow() => return SystemTime::now(),
                Visit::Issued { .. } | Visit::Incomplete { .. } => {}
            }
        }
    }

    /// Goes on with this, and shows what is new as soon as it is `saved`: to write down after that what became of the attempt
    /// takes long on some disks.
    async fn show_when<T>(&self, saved: &Notify, attempt: impl Future<Output = T>) -> T {
        let mut attempt = pin!(attempt);
        loop {
            tokio::select! {
                ended = &mut attempt => return ended,
                () = saved.notified() => self.refresh().await,
            }
        }
    }

    /// Storage and client, or whose fault it is that they cannot be had, and why.
    async fn storage(&mut self) -> Result<(Store, Client), (Blame, String)> {
        if let Some(opened) = &self.storage {
            return Ok(opened.clone());
        }
        let (root, ca) = (self.configured.storage.clone().unwrap_or_default(), self.configured.ca.clone());
        let opened = tokio::task::spawn_blocking(move || open(&root, ca.as_deref())).await;
        let (store, client) = opened.unwrap_or_else(|error| Err((Blame::Storage, error.to_string())))?;
        Ok(self.storage.insert((store.with(self.unsaved.clone()), client)).clone())
    }

    /// Shows what has changed on disk.
    async fn refresh(&self) {
        let shelf = Arc::clone(&self.shelf);
        let read = move || shelf.lock().unwrap_or_else(PoisonError::into_inner).refresh();
        // It fails only with the whole process.
        let _ = tokio::task::spawn_blocking(read).await;
    }

    /// Nothing can be done about a certificate.
    fn complain(&mut self, managed: &Managed, blame: Blame, message: String) {
        let certificate = managed.name();
        if self.complaints.is_news(certificate, &message, Instant::now()) {
            tracing::error!(
                target: "lockgate::certificates", certificate, class = word(blame), error = message,
                "a certificate is not looked after; tried again every minute"
            );
            self.announce(Event { message, ..Event::failed(managed, blame) });
        } else {
            self.count(certificate, word(blame));
        }
    }

    /// One line in the log for each attempt, one count, and a word to the operator's program.
    fn tell(&mut self, managed: &Managed, visit: &Visit, took: Duration) {
        let names = |names: &certificates::Names| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut event = Event { certificate: managed.name().to_owned(), ..Event::default() };
        let certificate = managed.name();
        let took = took.as_millis();
        match visit {
            Visit::Rest { .. } => return,
            Visit::Issued { saved, refused, reason } => {
                event.what = if refused.is_empty() { "issued" } else { "skipped" };
                event.class = "issued";
                event.names = names(&saved.lineage.names);
                event.lineage = saved.live.display().to_string();
                event.miss(refused);
                tracing::info!(
                    target: "lockgate::certificates", certificate, result = event.what, ?reason, version = saved.lineage.version,
                    names = event.names.join(" "), refused = event.refused.join(" "), milliseconds = took,
                    "there is a new certificate"
                );
            }
            Visit::Incomplete { lineage, refused } => {
                event.what = "skipped";
                event.class = "incomplete";
                event.names = names(&lineage.names);
                event.miss(refused);
                tracing::warn!(
                    target: "lockgate::certificates", certificate, result = event.what, names = event.names.join(" "),
                    refused = event.refused.join(" "), why = event.message, milliseconds = took,
                    "some names are still not to be had"
                );
            }
            Visit::Failed { error, reason, until } => {
                event = Event::failed(managed, error.blame());
                event.refused = error.failures().iter().map(|failure| failure.domain.clone()).collect();
                event.message = error.sentence();
                if error.blame() != Blame::Storage {
                    self.complaints.forget(certificate);
                } else if !self.complaints.is_news(certificate, &event.message, Instant::now()) {
                    return self.count(certificate, event.class);
                }
                let rest = until.duration_since(SystemTime::now()).unwrap_or_default().as_secs();
                let link = error.link().or_else(|| error.failures().iter().find_map(ChallengeFailure::link));
                let shown = if *reason == Reason::Missing { "a placeholder" } else { "the last good one" };
                tracing::error!(
                    target: "lockgate::certificates", certificate, result = event.what, ?reason, class = event.class,
                    error = event.message, link, again_in_seconds = rest, milliseconds = took,
                    "there is no new certificate; {shown} is shown"
                );
                return self.announce(event);
            }
        }
        self.complaints.forget(certificate);
        self.announce(event);
    }

    fn announce(&self, event: Event) {
        self.count(&event.certificate, event.class);
        if let Some(command) = &self.configured.notify {
            notify::tell(command, event);
        }
    }

    fn count(&self, certificate: &str, class: &'static str) {
        self.bulletin.tried(certificate, class, SystemTime::now());
    }
}

impl Event {
    fn failed(managed: &Managed, blame: Blame) -> Self {
        let names = managed.request.domains.iter().map(ToString::to_string).collect();
        Self { what: "failed", certificate: managed.name().to_owned(), class: word(blame), names, ..Self::default() }
    }

    fn miss(&mut self, refused: &[ChallengeFailure]) {
        self.refused = refused.iter().map(|failure| failure.domain.clone()).collect();
        let told: Vec<_> = refused.iter().map(|failure| format!("{}: {}", failure.domain, failure.detail)).collect();
        self.message = told.join("; ");
    }
}

fn open(root: &Path, ca: Option<&Path>) -> Result<(Store, Client), (Blame, String)> {
    let store = Store::open(root).map_err(|error| (Blame::Storage, report::sentence(&error)))?;
    let client = Client::new(ca).map_err(|error| (Blame::Configuration, report::sentence(&error)))?;
    Ok((store, client))
}

/// Whose fault a failure is, in a word.
fn word(blame: Blame) -> &'static str {
    match blame {
        Blame::Configuration => "configuration",
        Blame::Storage => "storage",
        Blame::Network => "network",
        Blame::Authority => "authority",
        Blame::Domain => "domain",
    }
}

/// Between two looks at the clock and at the files.
const PAUSE: Duration = Duration::from_secs(2);
/// No rest is longer; one that seems to be began before the clock was set back.
const LONGEST_REST: Duration = Duration::from_secs(3700);
/// Until a storage is tried again that cannot be used.
const WITHOUT_STORAGE: Duration = Duration::from_secs(60);
