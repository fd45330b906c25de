//! One authority: an order for the names, and again without those that fail.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use authenticator_api::DomainName;
use instant_acme::{Account, OrderStatus};

use super::{
    Authenticators, Authority, ChallengeFailure, Observer, ObtainError, Presented, Profile, Progress, Request, order,
    placement,
    selection::{Next, Selection, mentioned},
    validation,
};
use crate::{
    Administration, Client, KeyChoice, Lineage, Store, account, account::Opened, issued::Issued, obtain::on_disk,
    persistence::Persistence, schedule::Life, store::Terms,
};

/// What an attempt needs of the world.
pub(crate) struct Peers<'p> {
    pub(crate) client: &'p Client,
    pub(crate) store: &'p Store,
    pub(crate) authenticators: &'p Authenticators,
    pub(crate) presented: &'p Presented,
    pub(crate) observer: &'p dyn Observer,
    /// How long the authority may take for something.
    pub(crate) patience: Duration,
}

impl Peers<'_> {
    /// An error of the ACME library, with what the answer said that it is from.
    pub(crate) fn explain(&self, action: &'static str, error: instant_acme::Error) -> ObtainError {
        ObtainError::acme(action, error).answered_by(&self.client.last_answer())
    }

    /// For what is no order.
    pub(crate) fn administration(&self) -> Administration<'_> {
        Administration { client: self.client, store: self.store, patience: self.patience }
    }

    /// For a request that is made now.
    pub(crate) fn persistence(&self) -> Persistence {
        Persistence::new(self.patience)
    }
}

/// What an attempt at one authority is about.
pub(super) struct Errand<'e> {
    pub(super) authority: &'e Authority,
    /// The name of the lineage that the certificate is for.
    pub(super) lineage: &'e str,
    pub(super) account: Opened,
    /// What kind of key the certificate is to have.
    pub(super) key: KeyChoice,
    /// The private key (PEM) of the current certificate, whatever authority that is from.
    pub(super) current_key: Option<String>,
    pub(super) profile: Option<&'e str>,
    /// The certificate whose place the new one takes, when it is from this authority.
    pub(super) predecessor: Option<Predecessor>,
    /// Whether every name is to be proven now.
    pub(super) is_rehearsal: bool,
    pub(super) peers: &'e Peers<'e>,
}

/// A certificate that is to be replaced, as renewal information names it.
pub(super) struct Predecessor {
    pub(super) id: String,
    /// Whether the authority is told: not once it has expired, nor when the authority did not want to hear of it.
    pub(super) is_named: bool,
}

/// What came of it.
pub(super) enum Attempted {
    /// A certificate and its private key (PEM).
    Issued {
        issued: Issued,
        key: String,
        /// What the account is called that it was obtained with.
        account: Option<String>,
        refused: Vec<ChallengeFailure>,
    },
    /// The current certificate is all that can be had, and it is not due.
    Enough { lineage: Lineage, refused: Vec<ChallengeFailure> },
}

/// Orders until there is a certificate or nothing more to try.
pub(super) async fn run(
    request: &Request,
    authority: &Authority,
    name: &str,
    current: Option<&Lineage>,
    peers: &Peers<'_>,
) -> Result<Attempted, ObtainError> {
    let mut selection = Selection::new(request, current, SystemTime::now());
    if let Some(lineage) = current.filter(|_| selection.is_enough()) {
        return Ok(Attempted::Enough { lineage: lineage.clone(), refused: Vec::new() });
    }
    let account = account::open(authority, name, peers).await?;
    let profile = profile(authority, &account.account)?;
    let predecessor = predecessor(authority, current, peers.store).await?;
    let (key, current_key) = keys(request, name, current, peers.store).await?;
    let mut errand = Errand {
        authority,
        lineage: name,
        account,
        key,
        current_key,
        profile,
        predecessor,
        is_rehearsal: request.is_rehearsal,
        peers,
    };
    let mut rounds = 0;
    loop {
        rounds += 1;
        let error = match ordered(&mut errand, &selection.names).await {
            Ok((issued, key)) => {
                let account = Some(errand.account.stored.id);
                return Ok(Attempted::Issued { issued, key, account, refused: selection.refused });
            }
            Err(error) => error,
        };
        let known = selection.refused.len();
        match (selection.give_up(&error), current) {
            (Next::Enough, Some(lineage)) => {
                return Ok(Attempted::Enough { lineage: lineage.clone(), refused: selection.refused });
            }
            // What an earlier round gave up is part of why there is nothing.
            (Next::Fail, _) if selection.names.is_empty() => {
                return Err(ObtainError::Validation { failures: selection.refused });
            }
            (Next::Again, _) if rounds < MOST_ORDERS => {
                for failure in selection.refused.iter().skip(known).cloned() {
                    peers.observer.progress(Progress::GivenUp { failure });
                }
            }
            _ => return Err(error),
        }
    }
}

/// One order, to its certificate and private key (PEM). One that was placed before is taken up again.
async fn ordered(errand: &mut Errand<'_>, names: &[DomainName]) -> Result<(Issued, String), ObtainError> {
    if let Some(mut placed) = placement::resumed(errand, names).await? {
        let (issued, key) = finished(errand, names, &mut placed).await?;
        let life = Life { not_before: issued.not_before, not_after: issued.not_after };
        if SystemTime::now() < life.ordinary() {
            return Ok((issued, key));
        }
        // It has lain there for so long that it would have to be renewed at once.
        placement::ended(errand, &placed.kept.terms).await?;
    }
    let mut placed = placement::placed(errand, names).await.map_err(|error| error.about(names))?;
    if errand.is_rehearsal && validation::withdrawn(errand, &mut placed.order).await? {
        // Without its proofs nothing comes of it.
        placement::ended(errand, &placed.kept.terms).await?;
        placed = placement::placed(errand, names).await.map_err(|error| error.about(names))?;
    }
    finished(errand, names, &mut placed).await
}

/// An order that the authority has, to its end.
async fn finished(
    errand: &Errand<'_>,
    names: &[DomainName],
    placed: &mut placement::Placed,
) -> Result<(Issued, String), ObtainError> {
    match order::run(errand, names, placed).await {
        Ok(issued) => Ok((issued, placed.kept.key.clone())),
        Err(error) => {
            // A certificate that there is gets another chance, unless it was seen and is of no use.
            let is_issued = placed.order.state().status == OrderStatus::Valid;
            if error.ends_the_order() && (!is_issued || matches!(error, ObtainError::Issued { .. })) {
                placement::ended(errand, &placed.kept.terms).await?;
            }
            Err(error)
        }
    }
}

impl Errand<'_> {
    /// What an order for these names is for.
    pub(super) fn terms(&self, names: &[DomainName]) -> Terms {
        Terms {
            directory: self.authority.directory.clone(),
            account: self.account.account.id().to_owned(),
            names: names.iter().map(ToString::to_string).collect::<BTreeSet<_>>(),
            profile: self.profile.map(str::to_owned),
            replaces: self.predecessor.as_ref().map(|predecessor| predecessor.id.clone()),
        }
    }
}

/// What kind of key is wanted, by the request or as before; and the private key that there is.
async fn keys(
    request: &Request,
    name: &str,
    current: Option<&Lineage>,
    store: &Store,
) -> Result<(KeyChoice, Option<String>), ObtainError> {
    let (wanted, name, current) = (request.renewal.key, name.to_owned(), current.cloned());
    let look = move |store: &Store| {
        let choice = wanted.or_else(|| store.renewal(&name)?.key).unwrap_or_default();
        let key = current.and_then(|lineage| store.pem(&lineage).ok());
        (choice, key.and_then(|(_, key)| String::from_utf8(key).ok()))
    };
    on_disk(store, look).await
}

/// The current certificate, when it is from this authority.
async fn predecessor(
    authority: &Authority,
    current: Option<&Lineage>,
    store: &Store,
) -> Result<Option<Predecessor>, ObtainError> {
    let Some(Lineage { name, id: Some(id), not_after, .. }) = current.cloned() else { return Ok(None) };
    let server = on_disk(store, move |store| store.server(&name)).await?;
    let is_from_here = server.as_ref() == Some(&authority.directory);
    Ok(is_from_here.then(|| Predecessor { id, is_named: SystemTime::now() < not_after }))
}

/// The profile to ask for, where the authority offers it.
fn profile<'a>(authority: &'a Authority, account: &Account) -> Result<Option<&'a str>, ObtainError> {
    let offered = |name: &str| account.profiles().any(|profile| profile.name == name);
    match &authority.profile {
        None => Ok(None),
        Some(Profile::Preferred(name) | Profile::Required(name)) if offered(name) => Ok(Some(name)),
        Some(Profile::Preferred(_)) => Ok(None),
        Some(Profile::Required(name)) => {
            let offered: Vec<_> = account.profiles().map(|profile| profile.name).collect();
            Err(ObtainError::Profile { profile: name.clone(), offered: offered.join(", ") })
        }
    }
}

impl ObtainError {
    /// Finds the names that a refusal of an order is about, where it says so only in its sentence.
    fn about(mut self, ordered: &[DomainName]) -> Self {
        if let Self::Refused { action: placement::TAKE, names, kind, detail, .. } = &mut self
            && names.is_empty()
        {
            let failure = |name: &DomainName| ChallengeFailure {
                domain: name.to_string(),
                challenge: "order",
                kind: kind.clone(),
                detail: detail.clone(),
            };
            *names = mentioned(detail, ordered).into_iter().map(failure).collect();
        }
        self
    }
}

/// For one attempt at one authority. A second one is for the names that are left when some cannot be proven, all of which are
/// known by then; others come when an authority names refused ones one by one.
const MOST_ORDERS: u32 = 5;
