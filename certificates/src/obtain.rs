//! One order, from the account to the certificate on disk.

mod error;
mod order;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use authenticator_api::{Authenticator, BoxFuture, Challenge, DomainName};

pub use error::{Blame, ChallengeFailure, ObtainError};

use crate::{Client, Lineage, Names, Renewal, Saved, Store, account};

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Request {
    /// The names of the certificate; the first one names its files.
    pub domains: Vec<DomainName>,
    /// The authority's directory URL.
    pub directory: String,
    /// `mailto:` URLs for the account; may be empty.
    pub contact: Vec<String>,
    /// Whether the operator agrees to the authority's terms.
    pub agree_to_terms: bool,
    /// Whether to ask for a new certificate although the stored one is not due.
    pub force: bool,
    /// How long the authority may take to validate, and again to issue.
    pub patience: Duration,
    /// What to remember for renewal.
    pub renewal: Renewal,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obtained {
    /// A new certificate is stored.
    Issued(Saved),
    /// The stored one is for the same names and not due.
    Unchanged(Lineage),
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
    /// The authority took the order.
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

    /// Every challenge can be answered; next the authority is told to come. An error ends the order.
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

/// The challenges that an authenticator answers at the moment. It outlives the order, so that whoever drops an order in
/// the middle can still take back what was presented.
#[derive(Debug, Default)]
pub struct Presented(Mutex<Vec<Challenge>>);

impl Presented {
    /// Takes everything back. Failures are logged: the rest must go on.
    pub async fn cleanup(&self, authenticator: &dyn Authenticator) {
        loop {
            // Left in the list until it is gone, in case this is dropped too.
            let Some(challenge) = self.lock().last().cloned() else { return };
            if let Err(error) = authenticator.cleanup(&challenge).await {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(target: "lockgate::certificates", domain = %challenge.domain, error, "a challenge is left behind");
            }
            self.lock().pop();
        }
    }

    fn add(&self, challenge: Challenge) {
        self.lock().push(challenge);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Challenge>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Obtains a certificate and stores it.
///
/// Challenges are taken back before it returns. When its future is dropped they are not: the caller then awaits
/// [`Presented::cleanup`]. The caller holds the [`Lock`](crate::Lock) of the storage.
///
/// # Errors
///
/// See [`ObtainError`]. A certificate that was there stays as it was.
pub async fn obtain(
    request: &Request,
    client: &Client,
    store: &Store,
    authenticator: &Arc<dyn Authenticator>,
    presented: &Presented,
    observer: &dyn Observer,
) -> Result<Obtained, ObtainError> {
    if request.domains.is_empty() {
        return Err(ObtainError::NoDomain);
    }
    let wanted = request.clone();
    let name = match on_disk(store, move |store| look(&wanted, store)).await?? {
        Stored::Kept(lineage) => return Ok(Obtained::Unchanged(lineage)),
        Stored::Wanting { name } => name,
    };
    // What the authority says about when to come again is about this order, whatever else the client is used for.
    let client = &client.aside();
    let ordered = async {
        let account = account::open(request, client, store, observer).await?;
        order::run(request, client, &account, authenticator, presented, observer).await
    };
    let (issued, key) = ordered.await.map_err(|error: ObtainError| error.asked_again(client.retry_after()))?;
    let renewal = request.renewal.clone();
    let saved = on_disk(store, move |store| store.save(&name, &issued, &key, &renewal)).await??;
    observer.progress(Progress::Saved { live: saved.live.clone() });
    Ok(Obtained::Issued(saved))
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
    /// None that does; a new one gets this name.
    Wanting { name: String },
}

fn look(request: &Request, store: &Store) -> Result<Stored, ObtainError> {
    let names: Names = request.domains.iter().cloned().collect();
    let first = request.domains.first().ok_or(ObtainError::NoDomain)?;
    let name = store.name_for(first.as_str(), &names);
    let kept = store.load(&name).filter(|lineage| lineage.is_for(&names));
    let Some(lineage) = kept.filter(|lineage| !request.force && !lineage.is_due(SystemTime::now())) else {
        return Ok(Stored::Wanting { name });
    };
    match store.server(&name) {
        // Neither may a certificate for tests pass for a real one, nor replace it unasked.
        Some(stored) if stored != request.directory => {
            Err(ObtainError::OtherAuthority { name, stored, wanted: request.directory.clone() })
        }
        _ => {
            store.mend(&lineage, &request.renewal)?;
            Ok(Stored::Kept(lineage))
        }
    }
}
