//! One authority: an order for the names, and again without those that fail.

use std::time::SystemTime;

use authenticator_api::DomainName;
use instant_acme::{Account, CertificateIdentifier, Identifier, NewOrder, Order};

use super::{
    Authenticators, Authority, ChallengeFailure, Observer, ObtainError, Presented, Profile, Progress, Request, order,
    selection::{Next, Selection, mentioned},
};
use crate::{Client, Lineage, Store, account, account::Opened, issued::Issued, obtain::on_disk};

/// What an attempt needs of the world.
pub(crate) struct Peers<'p> {
    pub(crate) client: &'p Client,
    pub(crate) store: &'p Store,
    pub(crate) authenticators: &'p Authenticators,
    pub(crate) presented: &'p Presented,
    pub(crate) observer: &'p dyn Observer,
}

/// What came of it.
pub(super) enum Attempted {
    /// A certificate and its private key (PEM).
    Issued { issued: Issued, key: String, refused: Vec<ChallengeFailure> },
    /// The current certificate is all that can be had, and it is not due.
    Enough { lineage: Lineage, refused: Vec<ChallengeFailure> },
}

/// Orders until there is a certificate or nothing more to try.
pub(super) async fn run(
    request: &Request,
    authority: &Authority,
    current: Option<&Lineage>,
    peers: &Peers<'_>,
) -> Result<Attempted, ObtainError> {
    let mut selection = Selection::new(request, current, SystemTime::now());
    if let Some(lineage) = current.filter(|_| selection.is_enough()) {
        return Ok(Attempted::Enough { lineage: lineage.clone(), refused: Vec::new() });
    }
    let asked_again = |error: ObtainError| error.asked_again(peers.client.retry_after());
    let account = account::open(authority, peers).await.map_err(asked_again)?;
    let profile = profile(authority, &account.account)?;
    let mut replaces = replaced(authority, current, peers.store).await?;
    let mut rounds = 0;
    loop {
        rounds += 1;
        let ordered = ordered(request, authority, &account, &selection.names, profile, &mut replaces, peers);
        let error = match ordered.await.map_err(asked_again) {
            Ok((issued, key)) => return Ok(Attempted::Issued { issued, key, refused: selection.refused }),
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

/// One order, to its certificate.
async fn ordered(
    request: &Request,
    authority: &Authority,
    account: &Opened,
    names: &[DomainName],
    profile: Option<&str>,
    replaces: &mut Option<CertificateIdentifier<'static>>,
    peers: &Peers<'_>,
) -> Result<(Issued, String), ObtainError> {
    let order = place(&account.account, names, profile, replaces).await.map_err(|error| error.about(names))?;
    order::run(request, authority, account, names, order, peers).await
}

/// Places an order; without `replaces` when the authority does not like that part of it (RFC 9773 §5).
async fn place(
    account: &Account,
    names: &[DomainName],
    profile: Option<&str>,
    replaces: &mut Option<CertificateIdentifier<'static>>,
) -> Result<Order, ObtainError> {
    let identifiers: Vec<_> = names.iter().map(identifier).collect();
    let new = || match profile {
        Some(profile) => NewOrder::new(&identifiers).profile(profile),
        None => NewOrder::new(&identifiers),
    };
    if let Some(replaced) = replaces.clone() {
        let refused = match account.new_order(&new().replaces(replaced)).await {
            Ok(order) => return Ok(order),
            Err(error) => error,
        };
        let is_about_it = match &refused {
            instant_acme::Error::Api(problem) => {
                let (kind, _) = super::error::told(problem);
                ["alreadyReplaced", "malformed", "unauthorized", "conflict", "no type"].contains(&kind.as_str())
            }
            instant_acme::Error::Unsupported(_) => true,
            // The order was taken, but not as a replacement: one that says so can be had no more.
            instant_acme::Error::Other(other) => !other.is::<crate::TransportError>(),
            _ => false,
        };
        if !is_about_it {
            return Err(ObtainError::acme(TAKE)(refused));
        }
        let error: &dyn std::error::Error = &refused;
        tracing::info!(target: "lockgate::certificates", error, "the order is not taken as a renewal; asking without `replaces`");
        *replaces = None;
    }
    account.new_order(&new()).await.map_err(ObtainError::acme(TAKE))
}

/// The current certificate as RFC 9773 names it, when it is from this authority and still valid.
async fn replaced(
    authority: &Authority,
    current: Option<&Lineage>,
    store: &Store,
) -> Result<Option<CertificateIdentifier<'static>>, ObtainError> {
    let Some(lineage) = current.filter(|lineage| SystemTime::now() < lineage.not_after) else { return Ok(None) };
    let name = lineage.name.clone();
    let server = on_disk(store, move |store| store.server(&name)).await?;
    let id = lineage.id.as_deref().filter(|_| server.as_ref() == Some(&authority.directory));
    Ok(id.and_then(|id| id.split_once('.')).map(|(issuer, serial)| CertificateIdentifier {
        authority_key_identifier: issuer.to_owned().into(),
        serial: serial.to_owned().into(),
    }))
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

fn identifier(name: &DomainName) -> Identifier {
    match name.address() {
        Some(address) => Identifier::Ip(address),
        None => Identifier::Dns(name.as_str().to_owned()),
    }
}

impl ObtainError {
    /// Finds the names that a refusal is about, where it says so only in its sentence.
    fn about(mut self, ordered: &[DomainName]) -> Self {
        if let Self::Refused { action: TAKE, names, kind, detail, .. } = &mut self
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

const TAKE: &str = "take the order";
/// For one attempt at one authority. A second one is for the names that are left when some cannot be proven, all of which are
/// known by then; others come when an authority names refused ones one by one.
const MOST_ORDERS: u32 = 5;
