//! From the names that are wanted to the certificate on disk.

mod attempt;
mod authority;
mod chain;
mod error;
mod listing;
mod order;
mod pause;
mod placement;
mod presented;
mod selection;
mod validation;

use std::{
    path::PathBuf,
    time::{Duration, SystemTime},
};

use authenticator_api::{BoxFuture, Challenge, DomainName};

pub use authority::{Authority, ExternalAccount, ExternalAccountError, Issuer, Profile};
pub use error::{Blame, ChallengeFailure, ObtainError};
pub use presented::{Authenticators, Presented};

use crate::{Client, Internal, Lineage, Names, Renewal, Saved, Store};
use attempt::Attempted;
pub(crate) use attempt::Peers;

/// What is wanted.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// The name of the lineage. Without, the one that has these names, else the first of them.
    pub name: Option<String>,
    /// The names of the certificate.
    pub domains: Vec<DomainName>,
    /// Where to get it, in order: the next one is asked when one fails for a reason that is its own.
    pub issuers: Vec<Issuer>,
    /// Whether to ask for a new certificate although the stored one is not due.
    pub force: bool,
    /// Whether every name is to be proven now, also those that the authority would take as proven.
    pub is_rehearsal: bool,
    /// Whether a certificate for some of the names is better than none.
    pub completeness: Completeness,
    /// How long the authority may take to validate, and again to issue. What fails in passing is asked for again no longer than
    /// that, and for a few seconds at most.
    pub patience: Duration,
    /// What to remember for renewal. Its `server` is replaced by the authority that issued.
    pub renewal: Renewal,
}

/// Which of the wanted names a certificate has to have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Completeness {
    /// Every one.
    #[default]
    All,
    /// Those that can be had. A name that is in the stored certificate counts as one that can, until that is about to
    /// expire: a failure in passing must not take a good certificate away from it.
    Some {
        /// Names that failed a short while ago and are not to be tried again now.
        resting: Vec<DomainName>,
    },
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obtained {
    /// A new certificate is stored.
    Issued {
        /// It.
        saved: Saved,
        /// Wanted names that are not in it because they failed; those that rest are not in it either.
        refused: Vec<ChallengeFailure>,
    },
    /// The stored one does: it is for the same names and not due, or for some of them and no further name can be had.
    Unchanged {
        /// It.
        lineage: Lineage,
        /// Wanted names that failed.
        refused: Vec<ChallengeFailure>,
    },
}

impl Obtained {
    /// The same, with further names that failed before there was an order.
    pub(crate) fn with(mut self, failures: Vec<ChallengeFailure>) -> Self {
        let (lineage, refused) = match &mut self {
            Self::Issued { saved, refused } => (&saved.lineage, refused),
            Self::Unchanged { lineage, refused } => (&*lineage, refused),
        };
        // One that was not to be lost was ordered all the same, and may have been had.
        let is_missing = |failure: &ChallengeFailure| !lineage.names.iter().any(|name| name.as_str() == failure.domain);
        refused.extend(failures.into_iter().filter(is_missing));
        self
    }
}

/// What happens, for people who watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is a new account.
    AccountCreated {
        /// Its URL.
        url: String,
    },
    /// The stored account is used.
    AccountReused {
        /// Its URL.
        url: String,
    },
    /// The authority has the order: it took it now, or an earlier attempt placed it and this one goes on with it.
    OrderPlaced {
        /// Names that it wants to see proven.
        to_prove: usize,
    },
    /// Every challenge can be answered.
    ChallengesPresented,
    /// The authority was told to come.
    ValidationStarted,
    /// A name is proven.
    Validated {
        /// The name.
        domain: DomainName,
    },
    /// A name failed, and the order is repeated without it.
    GivenUp {
        /// Why.
        failure: ChallengeFailure,
    },
    /// An authority failed, and another one is asked.
    AuthorityFailed {
        /// Its directory URL.
        directory: String,
        /// What happened.
        message: String,
        /// When it wants to be asked again.
        retry_after: Option<SystemTime>,
    },
    /// The authority makes the certificate.
    Finalized,
    /// The certificate is on disk.
    Saved {
        /// The directory with the links.
        live: PathBuf,
    },
}

/// Somebody who watches an order and prepares what its validation needs.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn progress(&self, progress: Progress);

    /// A certificate is to be obtained, and next an authority is asked for it. An error ends the attempt.
    fn before_attempt(&self) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Every challenge can be answered; next the authority is told to come. An error ends the order. Called again when the
    /// order is repeated for fewer names or at another authority.
    fn before_validation<'a>(&'a self, challenges: &'a [Challenge]) -> BoxFuture<'a, Result<(), BoxError>> {
        let _ = challenges;
        Box::pin(std::future::ready(Ok(())))
    }

    /// Validation is over, well or badly. Called whenever [`before_validation`](Self::before_validation) was, unless the
    /// order is dropped.
    fn after_validation(&self) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// An error of an observer.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Obtains a certificate and stores it.
///
/// Challenges are taken back before it returns. When its future is dropped they are not: the caller then awaits
/// [`Presented::cleanup`]. The caller holds the [`Lock`](crate::Lock) of the storage.
///
/// What an authority counts is spent once. Questions are repeated for a few seconds when they fail for reasons that pass; what
/// may have been done is looked up and not asked for blindly again. An order that was placed is kept with its private key
/// until its certificate is stored, and an attempt that finds one for the same names takes it up again, whatever ended the
/// one before: a fault of the authority, a full disk, a dropped future, the end of the process.
///
/// Several authorities are asked in turn within one attempt, so one that is down or busy costs no renewal. None is asked
/// twice, a failure that is a name's own or this machine's ends the attempt (the next authority would come to the same door),
/// and the rest after a failed attempt is the same as with one authority. So no authority sees more orders than if it were
/// alone.
///
/// # Errors
///
/// See [`ObtainError`]. Of several authorities' errors, the one that lets us come back first. A certificate that was there
/// stays as it was.
pub async fn obtain(
    request: &Request,
    client: &Client,
    store: &Store,
    authenticators: &Authenticators,
    presented: &Presented,
    observer: &dyn Observer,
) -> Result<Obtained, ObtainError> {
    if request.domains.is_empty() {
        return Err(ObtainError::NoDomain);
    }
    let wanted = request.clone();
    let (name, current) = match on_disk(store, move |store| look(&wanted, store)).await?? {
        Stored::Kept(lineage) => return Ok(Obtained::Unchanged { lineage, refused: Vec::new() }),
        Stored::Wanting { name, current } => (name, current),
    };
    observer.before_attempt().await.map_err(|source| ObtainError::Prepare { source })?;
    let mut failed: Option<ObtainError> = None;
    for (index, issuer) in request.issuers.iter().enumerate() {
        // What one authority says about when to come again is about it, whatever else the client is used for.
        let client = &client.patient(request.patience);
        let peers = Peers { client, store, authenticators, presented, observer, patience: request.patience };
        let attempted = match issuer {
            Issuer::Acme(authority) => {
                Box::pin(attempt::run(request, authority, &name, current.as_ref(), &peers)).await
            }
            Issuer::Internal(internal) if index == 0 => internally(request, *internal, &peers).await,
            Issuer::Internal(_) if is_good(current.as_ref(), store).await? => continue,
            Issuer::Internal(internal) => {
                internally(request, Internal { life: internal.life.min(STOPGAP) }, &peers).await
            }
        };
        match attempted {
            Ok(Attempted::Issued { issued, key, account, refused }) => {
                let renewal = Renewal { server: issuer.server().to_owned(), account, ..request.renewal.clone() };
                let saved = on_disk(store, move |store| store.save(&name, &issued, &key, &renewal)).await??;
                observer.progress(Progress::Saved { live: saved.live.clone() });
                return Ok(Obtained::Issued { saved, refused });
            }
            Ok(Attempted::Enough { lineage, refused }) => return Ok(Obtained::Unchanged { lineage, refused }),
            Err(error) if error.is_the_authoritys_own() => {
                if index + 1 < request.issuers.len() {
                    observer.progress(Progress::AuthorityFailed {
                        directory: issuer.server().to_owned(),
                        message: error.sentence(),
                        retry_after: error.retry_after(),
                    });
                }
                let is_sooner = failed.as_ref().is_none_or(|failed| error.retry_after() < failed.retry_after());
                if is_sooner {
                    failed = Some(error);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(failed.unwrap_or(ObtainError::NoAuthority))
}

/// A certificate of our own authority, which needs no proof.
async fn internally(request: &Request, internal: Internal, peers: &Peers<'_>) -> Result<Attempted, ObtainError> {
    let names = request.domains.clone();
    let issue = move |store: &Store| internal.issue(store, &names, SystemTime::now());
    let (issued, key) = on_disk(peers.store, issue).await??;
    peers.observer.progress(Progress::Finalized);
    Ok(Attempted::Issued { issued, key, account: None, refused: Vec::new() })
}

/// Whether there is a certificate of an authority that others trust, and it is valid.
async fn is_good(current: Option<&Lineage>, store: &Store) -> Result<bool, ObtainError> {
    let Some(lineage) = current.filter(|lineage| SystemTime::now() < lineage.not_after) else { return Ok(false) };
    let name = lineage.name.clone();
    on_disk(store, move |store| store.server(&name).is_none_or(|server| server != Internal::SERVER)).await
}

/// Runs work on files, which blocks, beside the runtime's threads.
pub(crate) async fn on_disk<T: Send + 'static>(
    store: &Store,
    work: impl FnOnce(&Store) -> T + Send + 'static,
) -> Result<T, ObtainError> {
    let store = store.clone();
    let done = tokio::task::spawn_blocking(move || work(&store)).await;
    done.map_err(|_error: tokio::task::JoinError| ObtainError::Interrupted)
}

/// What storage has for a request.
enum Stored {
    /// A certificate that does.
    Kept(Lineage),
    /// None that does; a new one gets this name, and takes the place of the current one.
    Wanting { name: String, current: Option<Lineage> },
}

fn look(request: &Request, store: &Store) -> Result<Stored, ObtainError> {
    let names: Names = request.domains.iter().cloned().collect();
    let first = request.domains.first().ok_or(ObtainError::NoDomain)?;
    let name = match (&request.name, &request.completeness) {
        (Some(name), _) => name.clone(),
        (None, Completeness::All) => store.name_for(first.as_str(), &names),
        (None, Completeness::Some { .. }) => store.name_for_some(first.as_str(), &names),
    };
    if !Store::is_name(&name) {
        return Err(ObtainError::Name { name });
    }
    let now = SystemTime::now();
    let current = store.load(&name);
    let stored = store.server(&name);
    let is_ours = |stored: &str| request.issuers.iter().any(|issuer| issuer.server() == stored);
    let is_kept = |lineage: &Lineage| lineage.is_for(&names) && !request.force && !lineage.is_due(now);
    let kept = current.clone().filter(is_kept);
    // Neither may a certificate for tests pass for a real one, nor replace it unasked.
    let is_good = current.as_ref().is_some_and(|lineage| now < lineage.not_after) && !request.force;
    if let Some(stored) = stored.clone().filter(|stored| is_good && !is_ours(stored))
        && (kept.is_some() || stored != Internal::SERVER)
    {
        let wanted: Vec<_> = request.issuers.iter().map(Issuer::server).collect();
        return Err(ObtainError::OtherAuthority { name, stored, wanted: wanted.join(" or ") });
    }
    let Some(lineage) = kept else { return Ok(Stored::Wanting { name, current }) };
    let server = stored.unwrap_or_else(|| request.renewal.server.clone());
    store.mend(&lineage, &Renewal { server, ..request.renewal.clone() })?;
    Ok(Stored::Kept(lineage))
}

/// The life of an internal certificate that stands in for a better one: at half of it the others are asked again.
const STOPGAP: Duration = Duration::from_secs(86_400);
