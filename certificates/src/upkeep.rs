//! What a running proxy does about a certificate, again and again: look, ask, renew, remember, rest.

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use authenticator_api::{BoxFuture, Challenge, DomainName};

use crate::{
    Authenticators, BoxError, ChallengeFailure, Client, Completeness, Fetcher, Lineage, Lock, LockError, Names,
    Observer, ObtainError, Obtained, Presented, Progress, Record, Renewal, Request, Saved, Store, ask, ledger,
    obtain::on_disk,
    schedule::{Plan, Reason},
    self_check,
    store::Certificate,
};

/// What looking after certificates needs of the world. One for all certificates, or one for each.
pub struct Upkeep<'u> {
    /// Talks to authorities.
    pub client: &'u Client,
    /// Keeps certificates and records.
    pub store: &'u Store,
    /// Answer challenges.
    pub authenticators: &'u Authenticators,
    /// Outlives an order that is dropped.
    pub presented: &'u Presented,
    /// Watches orders.
    pub observer: &'u dyn Observer,
    /// Looks at each name before an order. Not where the authority's visit needs preparation by the observer: without it
    /// nothing would be found.
    pub fetcher: Option<&'u dyn Fetcher>,
    /// The wall clock.
    pub clock: &'u (dyn Fn() -> SystemTime + Send + Sync),
}

/// What came of looking after a certificate once.
#[derive(Debug)]
pub enum Visit {
    /// Nothing to do before this, at most an hour from now.
    Rest {
        /// When to look again.
        until: SystemTime,
    },
    /// There is a new certificate.
    Issued {
        /// It.
        saved: Saved,
        /// Wanted names that failed and are not in it.
        refused: Vec<ChallengeFailure>,
        /// Why it was renewed.
        reason: Reason,
    },
    /// Names that were missing in the certificate are still not to be had.
    Incomplete {
        /// What there is.
        lineage: Lineage,
        /// Those that failed.
        refused: Vec<ChallengeFailure>,
    },
    /// There is no new certificate.
    Failed {
        /// Why not.
        error: ObtainError,
        /// Why it was due.
        reason: Reason,
        /// When to look again, at the earliest.
        until: SystemTime,
    },
}

impl Upkeep<'_> {
    /// Looks after one certificate: asks its authority for renewal information when that is due, and renews it when it is.
    /// Then again, at once after anything but [`Visit::Rest`] and [`Visit::Failed`].
    ///
    /// The storage is locked only while a certificate is renewed, and looked at again then: another process may have been
    /// quicker. An attempt is on record before it begins, so a storage that cannot be written costs no order. A certificate that
    /// was issued and cannot be saved is kept by the store, and saved by the next call that can do so. When the future is dropped
    /// in the middle of an attempt, that counts as a failure, and the caller awaits [`Presented::cleanup`].
    ///
    /// One certificate at a time in a process: the lock is the process's, and whoever lets go of it does so for all.
    ///
    /// `request.force` renews now, whatever failed a moment ago; the caller takes it back after that. `completeness` says
    /// whether some names are enough; which names rest is known here.
    pub async fn look_after(&self, request: &Request) -> Visit {
        match self.visit(request).await {
            Ok(visit) => visit,
            Err((error, reason)) => Visit::Failed { error, reason, until: (self.clock)() + AFTER_A_FAULT },
        }
    }

    async fn visit(&self, request: &Request) -> Result<Visit, (ObtainError, Reason)> {
        let first = request.domains.first().ok_or((ObtainError::NoDomain, Reason::Missing))?;
        let name = request.name.clone().unwrap_or_else(|| first.to_string());
        let early = |error| (error, Reason::Missing);
        if let Some(visit) = self.rescue(&name, request).await? {
            return Ok(visit);
        }
        // Asked at most once for each visit: an answer that makes the plan ask again must not make this a busy loop.
        let mut asked = false;
        loop {
            let mut known = self.known(&name, request).await.map_err(early)?;
            if !known.is_whole {
                self.mend(&name, request).await;
            }
            match known.plan(request, (self.clock)()) {
                Plan::Wait { until } => return Ok(Visit::Rest { until }),
                Plan::AskAuthority if asked => return Ok(Visit::Rest { until: (self.clock)() + AFTER_A_FAULT }),
                Plan::AskAuthority => {
                    asked = true;
                    self.ask(&name, &mut known).await;
                }
                Plan::Renew { reason } => {
                    return self.renew(&name, request, reason).await.map_err(|error| (error, reason));
                }
            }
        }
    }

    async fn known(&self, name: &str, request: &Request) -> Result<Known, ObtainError> {
        let (its_name, names) = (name.to_owned(), request.domains.iter().cloned().collect::<Names>());
        let mut known = on_disk(self.store, move |store| {
            let name = &*its_name;
            let (mut record, lineage, server) = (store.record(name), store.load(name), store.server(name));
            record.want(&names);
            record.suggestions.concern(lineage.as_ref().and_then(|lineage| lineage.id.as_deref()).unwrap_or_default());
            let is_whole = lineage.as_ref().is_none_or(|lineage| store.is_whole(lineage));
            Known { record, lineage, server, is_whole }
        })
        .await?;
        if known.record.settle((self.clock)()) {
            // Else every rest would begin anew at every look.
            self.note(name, &known.record).await;
        }
        Ok(known)
    }

    async fn ask(&self, name: &str, known: &mut Known) {
        let id = known.lineage.as_ref().and_then(|lineage| lineage.id.clone());
        let answer = match (&known.server, id) {
            (Some(server), Some(id)) => ask(self.client, server, &id).await,
            _ => crate::schedule::Answer::Unsupported,
        };
        known.record.suggestions.learn(answer, (self.clock)(), ledger::random());
        self.note(name, &known.record).await;
    }

    /// Saves a certificate that was issued and could not be saved, unless it is not wanted any more.
    async fn rescue(&self, name: &str, request: &Request) -> Result<Option<Visit>, (ObtainError, Reason)> {
        let Some(Certificate { issued, key, renewal }) = self.store.unsaved(name) else { return Ok(None) };
        let early = |error| (error, Reason::Missing);
        let root = self.store.root().to_owned();
        let _lock = self.lock(&root).await.map_err(early)?;
        let mut known = self.known(name, request).await.map_err(early)?;
        let now = (self.clock)();
        let reason = known.reason(now);
        // It may be the same one, and the links were not led to it.
        let is_newer = known.lineage.as_ref().is_none_or(|lineage| lineage.not_before <= issued.not_before);
        let is_wanted = issued.names.iter().all(|name| request.domains.contains(name))
            && request.issuers.iter().any(|issuer| issuer.server() == renewal.server);
        if !is_newer || !is_wanted {
            self.store.forget_unsaved(name);
            return Ok(None);
        }
        let its_name = name.to_owned();
        let saved = on_disk(self.store, move |store| {
            store.try_out()?;
            store.save(&its_name, &issued, &key, &renewal)
        });
        let saved = saved.await.and_then(|saved| saved.map_err(ObtainError::from)).map_err(|error| (error, reason))?;
        known.record.succeeded(&saved.lineage.names, &[], now);
        self.note(name, &known.record).await;
        Ok(Some(Visit::Issued { saved, refused: Vec::new(), reason }))
    }

    /// Finishes what a process began to save that was killed: other programs read keys and certificates through links.
    async fn mend(&self, name: &str, request: &Request) {
        let (its_name, usual) = (name.to_owned(), request.renewal.clone());
        let mended = async {
            let root = self.store.root().to_owned();
            let _lock = self.lock(&root).await?;
            let mend = move |store: &Store| match store.load(&its_name) {
                Some(lineage) => {
                    let server = store.server(&its_name).unwrap_or_else(|| usual.server.clone());
                    store.mend(&lineage, &Renewal { server, ..usual })
                }
                None => Ok(()),
            };
            Ok::<_, ObtainError>(on_disk(self.store, mend).await??)
        };
        if let Err(error) = mended.await {
            let error = error.sentence();
            tracing::warn!(target: "lockgate::certificates", name, error, "what a process began to save that was killed cannot be finished");
        }
    }

    async fn renew(&self, name: &str, request: &Request, reason: Reason) -> Result<Visit, ObtainError> {
        let root = self.store.root().to_owned();
        let _lock = self.lock(&root).await?;
        let mut known = self.known(name, request).await?;
        let now = (self.clock)();
        let Plan::Renew { reason } = known.plan(request, now) else {
            tracing::debug!(target: "lockgate::certificates", name, ?reason, "somebody else has renewed it");
            return Ok(Visit::Rest { until: now });
        };
        // An order whose certificate cannot be saved counts against the authority's limits all the same.
        on_disk(self.store, Store::try_out).await??;
        let record = &mut known.record;
        record.begin(now);
        self.remember(name, record).await?;
        let listening = Listening { observer: self.observer, failed: Mutex::default() };
        let result = self.attempt(name, request, reason, record, &listening).await;
        let now = (self.clock)();
        for (directory, retry_after) in listening.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            record.authority_failed(&directory, retry_after);
        }
        let visit = match result {
            Ok(Obtained::Issued { saved, refused }) => {
                record.succeeded(&saved.lineage.names, &refused, now);
                Visit::Issued { saved, refused, reason }
            }
            Ok(Obtained::Unchanged { lineage, refused }) => {
                record.still_incomplete(&refused, now);
                Visit::Incomplete { lineage, refused }
            }
            Err(error) => {
                record.failed(&error, now);
                Visit::Failed { error, reason, until: record.free_at(known.lineage.as_ref(), now) }
            }
        };
        if let (Visit::Failed { error: ObtainError::Store(_), .. }, Some(_)) = (&visit, self.store.unsaved(name)) {
            tracing::warn!(target: "lockgate::certificates", name, "the new certificate cannot be saved, it is kept in memory until it can");
        }
        self.note(name, &known.record).await;
        Ok(visit)
    }

    async fn attempt(
        &self,
        name: &str,
        request: &Request,
        reason: Reason,
        record: &Record,
        observer: &Listening<'_>,
    ) -> Result<Obtained, ObtainError> {
        let now = (self.clock)();
        let mut request = Request { name: Some(name.to_owned()), ..request.clone() };
        // A certificate that only lacks names is not to be replaced by one that lacks the same.
        request.force = reason != Reason::Incomplete;
        let is_forced = reason == Reason::Forced;
        if let Completeness::Some { resting } = &mut request.completeness
            && !is_forced
        {
            *resting = record.resting(now);
        }
        let willing = request.issuers.iter().filter(|issuer| record.may_ask(issuer.server(), now)).cloned();
        let willing: Vec<_> = willing.collect();
        if !willing.is_empty() && !is_forced {
            request.issuers = willing;
        }
        let hopeless = self.hopeless(&request).await?;
        if let Completeness::Some { resting } = &mut request.completeness {
            resting.extend(hopeless.iter().filter_map(|failure| DomainName::parse(&failure.domain).ok()));
        }
        if !hopeless.is_empty()
            && (request.completeness == Completeness::All || hopeless.len() == request.domains.len())
        {
            return Err(ObtainError::Validation { failures: hopeless });
        }
        let Self { client, store, authenticators, presented, .. } = self;
        let obtained = crate::obtain(&request, client, store, authenticators, presented, observer).await?;
        Ok(obtained.with(hopeless))
    }

    /// Names for which an authority would come in vain, as far as is certain from here.
    async fn hopeless(&self, request: &Request) -> Result<Vec<ChallengeFailure>, ObtainError> {
        let mut failures = Vec::new();
        let Some(fetcher) = self.fetcher else { return Ok(failures) };
        if !request.issuers.iter().any(|issuer| matches!(issuer, crate::Issuer::Acme(_))) {
            return Ok(failures);
        }
        for domain in &request.domains {
            if let Completeness::Some { resting } = &request.completeness
                && resting.contains(domain)
            {
                continue;
            }
            let failed = |source| ObtainError::Present { domain: domain.clone(), source };
            let checked = self_check(domain, self.authenticators.of(domain), self.presented, fetcher).await;
            failures.extend(checked.map_err(failed)?.and_then(|checked| checked.failure()));
        }
        Ok(failures)
    }

    async fn lock(&self, root: &Path) -> Result<Lock, ObtainError> {
        let waiting =
            |holder: &str| tracing::info!(target: "lockgate::certificates", holder, "the storage is locked, waiting");
        Lock::acquire(root, LOCK_PATIENCE, waiting).await.map_err(|source: LockError| ObtainError::Locked { source })
    }

    async fn remember(&self, name: &str, record: &Record) -> Result<(), ObtainError> {
        let (name, record) = (name.to_owned(), record.clone());
        Ok(on_disk(self.store, move |store| store.save_record(&name, &record)).await??)
    }

    /// Remembers it if possible.
    async fn note(&self, name: &str, record: &Record) {
        let (name, record) = (name.to_owned(), record.clone());
        // It is interrupted only with the whole process.
        let _ = on_disk(self.store, move |store| store.note_record(&name, &record)).await;
    }
}

/// What storage has for a certificate.
struct Known {
    record: Record,
    lineage: Option<Lineage>,
    /// Where the certificate is from.
    server: Option<String>,
    /// Whether other programs find it, too.
    is_whole: bool,
}

impl Known {
    /// Why there should be another certificate.
    fn reason(&self, now: SystemTime) -> Reason {
        crate::schedule::due(&self.record.situation(self.lineage.as_ref(), false, now)).1
    }

    fn plan(&self, request: &Request, now: SystemTime) -> Plan {
        let mut situation = self.record.situation(self.lineage.as_ref(), request.force, now);
        situation.is_foreign = self.lineage.is_some()
            && self.server.as_ref().is_some_and(|server| !request.issuers.iter().any(|one| one.server() == server));
        crate::schedule::plan(&situation)
    }
}

/// Hands everything on, and notes which authorities failed.
struct Listening<'o> {
    observer: &'o dyn Observer,
    failed: Mutex<Vec<(String, Option<SystemTime>)>>,
}

impl Observer for Listening<'_> {
    fn progress(&self, progress: Progress) {
        if let Progress::AuthorityFailed { directory, retry_after, .. } = &progress {
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).push((directory.clone(), *retry_after));
        }
        self.observer.progress(progress);
    }

    fn before_attempt(&self) -> BoxFuture<'_, Result<(), BoxError>> {
        self.observer.before_attempt()
    }

    fn before_validation<'a>(&'a self, challenges: &'a [Challenge]) -> BoxFuture<'a, Result<(), BoxError>> {
        self.observer.before_validation(challenges)
    }

    fn after_validation(&self) -> BoxFuture<'_, Result<(), BoxError>> {
        self.observer.after_validation()
    }
}

/// After a fault that the record could not be told of.
const AFTER_A_FAULT: Duration = Duration::from_secs(60);
/// For another Lockgate or certbot to finish.
const LOCK_PATIENCE: Duration = Duration::from_secs(120);
