//! How an order comes to be: placed, found again when the answer about it was lost, or taken up again from an earlier attempt.

use std::{collections::BTreeSet, time::SystemTime};

use authenticator_api::DomainName;
use instant_acme::{CertificateIdentifier, Identifier, NewOrder, Order, OrderStatus};
use serde_json::Value;

use super::{ObtainError, attempt::Errand, error::told, listing, listing::Listed, on_disk};
use crate::store::{KeptOrder, Terms};

/// An order that the authority has, and what is kept of it on disk.
pub(super) struct Placed {
    pub(super) order: Order,
    pub(super) kept: KeptOrder,
}

/// The order that an earlier attempt left, if the authority still has it and something can come of it.
pub(super) async fn resumed(errand: &Errand<'_>, names: &[DomainName]) -> Result<Option<Placed>, ObtainError> {
    let terms = errand.terms(names);
    let (lineage, wanted) = (errand.lineage.to_owned(), terms.clone());
    let kept = on_disk(errand.peers.store, move |store| store.kept_order(&lineage, &wanted, SystemTime::now())).await?;
    let Some(mut kept) = kept else { return Ok(None) };
    if !kept.resume() {
        tracing::warn!(target: "lockgate::certificates", url = kept.url, "nothing comes of an order: another one is placed");
        ended(errand, &terms).await?;
        return Ok(None);
    }
    let Some(url) = kept.url.clone() else {
        // It was about to be placed, and may have been.
        let Listed::At(url) = listing::find(errand, &terms).await else { return Ok(None) };
        let Some(order) = shown(errand, url, &terms).await? else { return Ok(None) };
        kept.url = Some(order.url().to_owned());
        keep(errand, &kept).await?;
        return Ok(Some(Placed { order, kept }));
    };
    keep(errand, &kept).await?;
    match shown(errand, url, &terms).await {
        Ok(Some(mut order)) => {
            let status = order.state().status;
            if status == OrderStatus::Invalid {
                return ended(errand, &terms).await.map(|()| None);
            }
            tracing::info!(target: "lockgate::certificates", url = order.url(), ?status, "an order is taken up again");
            Ok(Some(Placed { order, kept }))
        }
        Ok(None) => ended(errand, &terms).await.map(|()| None),
        Err(error) if error.ends_the_order() || error.is_not_found() => {
            tracing::info!(target: "lockgate::certificates", error = error.sentence(), "the authority does not have an order any more");
            ended(errand, &terms).await.map(|()| None)
        }
        Err(error) => Err(error),
    }
}

/// A new order. Its private key is on disk before the authority hears of it.
pub(super) async fn placed(errand: &mut Errand<'_>, names: &[DomainName]) -> Result<Placed, ObtainError> {
    let terms = errand.terms(names);
    let key = errand.key.make(errand.current_key.as_deref()).map_err(|source| ObtainError::Key { source })?;
    let mut kept = KeptOrder::new(terms, key, SystemTime::now());
    keep(errand, &kept).await?;
    let mut persistence = errand.peers.persistence();
    let order = loop {
        let error = match ask(errand, names).await {
            Ok(order) => break order,
            Err(error) => error,
        };
        // An authority that wants to be left alone is not asked what it did, either; the next attempt does.
        let is_undecided = error.is_undecided();
        if is_undecided && !error.asks_for_rest() {
            match find(errand, &kept.terms).await {
                Found::It(order) => break *order,
                Found::None => {}
                // Asking again would place a second one, where it was. The next attempt may, as any other.
                Found::Unknown => return Err(error),
            }
        }
        if (error.is_passing() || is_undecided) && persistence.wait(error.retry_after()).await {
            continue;
        }
        if !is_undecided {
            ended(errand, &kept.terms).await?;
        }
        return Err(error);
    };
    kept.url = Some(order.url().to_owned());
    if let Err(error) = keep(errand, &kept).await {
        // It can still be found by asking the authority, should it come to that.
        let error: &dyn std::error::Error = &error;
        tracing::warn!(target: "lockgate::certificates", url = kept.url, error, "where an order is cannot be kept");
    }
    Ok(Placed { order, kept })
}

/// Forgets an order that nothing comes of.
pub(super) async fn ended(errand: &Errand<'_>, terms: &Terms) -> Result<(), ObtainError> {
    let (lineage, terms) = (errand.lineage.to_owned(), terms.clone());
    on_disk(errand.peers.store, move |store| store.drop_order(&lineage, &terms)).await
}

async fn keep(errand: &Errand<'_>, kept: &KeptOrder) -> Result<(), ObtainError> {
    let (lineage, kept) = (errand.lineage.to_owned(), kept.clone());
    Ok(on_disk(errand.peers.store, move |store| store.keep_order(&lineage, &kept)).await??)
}

/// Asks for an order; without `replaces` when the authority does not like that part of it (RFC 9773 §5).
async fn ask(errand: &mut Errand<'_>, names: &[DomainName]) -> Result<Order, ObtainError> {
    let identifiers: Vec<_> = names.iter().map(identifier).collect();
    let new = || match errand.profile {
        Some(profile) => NewOrder::new(&identifiers).profile(profile),
        None => NewOrder::new(&identifiers),
    };
    let account = &errand.account.account;
    let named = errand.predecessor.as_ref().filter(|predecessor| predecessor.is_named);
    if let Some(replaced) = named.and_then(|predecessor| named_as(&predecessor.id)) {
        let refused = match account.new_order(&new().replaces(replaced)).await {
            Ok(order) => return Ok(order),
            Err(error) => error,
        };
        let is_about_it = match &refused {
            instant_acme::Error::Api(problem) => {
                let (kind, _) = told(problem);
                ["alreadyReplaced", "malformed", "unauthorized", "conflict", "no type"].contains(&kind.as_str())
            }
            instant_acme::Error::Unsupported(_) => true,
            _ => false,
        };
        let refused = errand.peers.explain(TAKE, refused);
        if !is_about_it || refused.is_passing() {
            return Err(refused);
        }
        tracing::info!(target: "lockgate::certificates", error = refused.sentence(), "the order is not taken as a renewal; asking without `replaces`");
    }
    let order = account.new_order(&new()).await.map_err(|error| errand.peers.explain(TAKE, error));
    if let Some(predecessor) = &mut errand.predecessor {
        predecessor.is_named = false;
    }
    order
}

/// What became of an order whose answer was lost.
enum Found {
    /// It was taken.
    It(Box<Order>),
    /// It was not.
    None,
    /// The authority does not tell.
    Unknown,
}

/// Looks for an order that may have been taken just now: where the head of the answer said, if that came, else among all that
/// the account has.
async fn find(errand: &Errand<'_>, terms: &Terms) -> Found {
    let answer = errand.peers.client.last_answer();
    let told = answer.location.filter(|_| answer.status == Some(http::StatusCode::CREATED));
    let url = match told {
        Some(url) => url,
        None => match listing::find(errand, terms).await {
            Listed::At(url) => url,
            Listed::Nowhere => return Found::None,
            Listed::Unknown => return Found::Unknown,
        },
    };
    match shown(errand, url, terms).await {
        Ok(Some(order)) => Found::It(Box::new(order)),
        Ok(None) => Found::None,
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::info!(target: "lockgate::certificates", error, "an order cannot be looked up");
            Found::Unknown
        }
    }
}

/// The order at this URL, if it is for the names of these terms and no others.
async fn shown(errand: &Errand<'_>, url: String, terms: &Terms) -> Result<Option<Order>, ObtainError> {
    let Errand { account, peers, .. } = errand;
    let mut persistence = peers.persistence();
    let order = loop {
        match account.account.order(url.clone()).await {
            Ok(order) => break order,
            Err(error) => persistence.after(peers.explain("show the order", error)).await?,
        }
    };
    // What the ACME library makes of the document has no identifiers.
    let document = serde_json::from_slice(&peers.client.last_answer().body).unwrap_or_default();
    Ok((names_of(&document).as_ref() == Some(&terms.names)).then_some(order))
}

/// The names in an order object (RFC 8555 §7.1.3); `None` where there is one that we would not ask for.
pub(super) fn names_of(order: &Value) -> Option<BTreeSet<String>> {
    let name = |identifier: &Value| {
        let value = identifier["value"].as_str()?;
        let name = match identifier["type"].as_str()? {
            "dns" => DomainName::parse(value).ok()?,
            "ip" => DomainName::from_address(value.parse().ok()?),
            _ => return None,
        };
        Some(name.to_string())
    };
    order["identifiers"].as_array()?.iter().map(name).collect()
}

fn identifier(name: &DomainName) -> Identifier {
    match name.address() {
        Some(address) => Identifier::Ip(address),
        None => Identifier::Dns(name.as_str().to_owned()),
    }
}

fn named_as(id: &str) -> Option<CertificateIdentifier<'static>> {
    let (issuer, serial) = id.split_once('.')?;
    let (authority_key_identifier, serial) = (issuer.to_owned().into(), serial.to_owned().into());
    Some(CertificateIdentifier { authority_key_identifier, serial })
}

/// What an order is asked for as, in errors.
pub(super) const TAKE: &str = "take the order";
