//! The list of orders that an account has (RFC 8555 §7.1.2.1), where an authority has one: Let's Encrypt does not, and gives the
//! pending order again to whoever places the same one twice.

use serde_json::Value;

use super::{attempt::Errand, placement::names_of};
use crate::{client::links, signature::SignedError, store::Terms};

/// What a list says about an order that may have been placed.
pub(super) enum Listed {
    /// This is its URL.
    At(String),
    /// It is not in it, so it was not placed.
    Nowhere,
    /// There is no list, or only a part of it was looked at.
    Unknown,
}

/// Looks for an order for these terms that waits for its proofs or for its certificate request.
pub(super) async fn find(errand: &Errand<'_>, terms: &Terms) -> Listed {
    match Box::pin(search(errand, terms)).await {
        Ok(found) => found,
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::info!(target: "lockgate::certificates", error, "the orders of the account cannot be listed");
            Listed::Unknown
        }
    }
}

async fn search(errand: &Errand<'_>, terms: &Terms) -> Result<Listed, SignedError> {
    let client = errand.peers.client.aside();
    let directory = client.get(&errand.authority.directory).await?;
    let mut signer = errand.account.signer();
    let (account, _) = signer.fetch_document(&client, &directory, &terms.account).await?;
    let Some(first) = account["orders"].as_str() else { return Ok(Listed::Unknown) };
    let mut next = Some(first.to_owned());
    let mut urls = Vec::new();
    for _ in 0..MOST_PAGES {
        let Some(page) = next else { break };
        let (document, response) = signer.fetch_document(&client, &directory, &page).await?;
        let orders = document["orders"].as_array().into_iter().flatten();
        urls.extend(orders.filter_map(Value::as_str).map(str::to_owned));
        next = links(response.headers(), "next").into_iter().next();
    }
    // Which end of the list is new is not said.
    let both_ends = (0..urls.len()).filter(|index| *index < MOST_ORDERS || urls.len() - index <= MOST_ORDERS);
    for url in both_ends.rev().filter_map(|index| urls.get(index)) {
        let (order, _) = signer.fetch_document(&client, &directory, url).await?;
        if is_it(&order, terms) {
            return Ok(Listed::At(url.clone()));
        }
    }
    let is_all = next.is_none() && urls.len() <= 2 * MOST_ORDERS;
    Ok(if is_all { Listed::Nowhere } else { Listed::Unknown })
}

fn is_it(order: &Value, terms: &Terms) -> bool {
    let is_waiting = order["status"] == "pending" || order["status"] == "ready";
    // Where we asked for none, the authority may name its own.
    let is_profile = terms.profile.is_none() || order["profile"].as_str() == terms.profile.as_deref();
    // It may not have been told, or may not have wanted to hear of it.
    let replaces = order["replaces"].as_str();
    let is_replacement = replaces.is_none() || replaces == terms.replaces.as_deref();
    is_waiting && is_profile && is_replacement && names_of(order).as_ref() == Some(&terms.names)
}

const MOST_PAGES: u32 = 50;
/// From each end of the list.
const MOST_ORDERS: usize = 10;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn terms() -> Terms {
        Terms {
            directory: "https://ca.example/dir".into(),
            account: "https://ca.example/account/1".into(),
            names: ["a.example".to_owned(), "2001:db8::1".to_owned()].into(),
            profile: Some("shortlived".into()),
            replaces: Some("aki.serial".into()),
        }
    }

    fn order() -> Value {
        let names = json!([{ "type": "ip", "value": "2001:DB8:0::1" }, { "type": "dns", "value": "A.example" }]);
        json!({ "status": "pending", "identifiers": names, "profile": "shortlived", "replaces": "aki.serial" })
    }

    fn with(key: &str, value: Value) -> Value {
        let mut order = order();
        order[key] = value;
        order
    }

    #[test]
    fn only_an_order_for_the_same_is_the_one_that_was_lost() {
        for same in [order(), with("status", json!("ready")), with("replaces", Value::Null)] {
            assert!(is_it(&same, &terms()), "{same}");
        }
        let dns = |name: &str| json!({ "type": "dns", "value": name });
        let address = json!({ "type": "ip", "value": "2001:db8::1" });
        for other in [
            with("status", json!("valid")),
            with("status", json!("invalid")),
            with("profile", json!("classic")),
            with("profile", Value::Null),
            with("replaces", json!("aki.other")),
            with("identifiers", json!([dns("a.example")])),
            with("identifiers", json!([dns("a.example"), address, dns("b.example")])),
            with("identifiers", json!([dns("a.example"), address, { "type": "email", "value": "a@b.example" }])),
            with("identifiers", json!([dns("a.example"), dns("2001:db8::1")])),
            with("identifiers", Value::Null),
            Value::Null,
        ] {
            assert!(!is_it(&other, &terms()), "{other}");
        }
        let plain = Terms { profile: None, replaces: None, ..terms() };
        assert!(is_it(&with("replaces", Value::Null), &plain), "the profile is the authority's own choice");
        assert!(!is_it(&order(), &plain));
    }
}
