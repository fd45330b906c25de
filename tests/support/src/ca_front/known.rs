//! What pebble has said: orders, authorizations, certificates. And what is put into its answers because of that.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    endpoint::Endpoint,
    fault::Problem,
    journal::Ordered,
    message::{Answer, Request},
    renewal::Certificate,
    rules::Rules,
};
use crate::process::Log;

/// What passed so far. Objects are known by the last part of their paths, which pebble gives to no two of a sort.
#[derive(Debug)]
pub(super) struct Known {
    orders: BTreeMap<String, Order>,
    authorizations: BTreeMap<String, Authorization>,
    certificates: Vec<Certificate>,
    log: Log,
}

#[derive(Debug)]
struct Order {
    ordered: Ordered,
    authorizations: Vec<String>,
    is_invalid: bool,
}

#[derive(Debug)]
struct Authorization {
    name: String,
    challenges: Vec<Value>,
    is_invalid: bool,
    /// The challenge that failed because the front says so.
    failed: Option<Value>,
}

impl Known {
    /// Nothing so far; `log` is pebble's.
    pub(super) fn new(log: Log) -> Self {
        Self { orders: BTreeMap::new(), authorizations: BTreeMap::new(), certificates: Vec::new(), log }
    }

    pub(super) fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// The authorizations that have become invalid, also those of which no client asked again: pebble writes them down.
    pub(super) fn failed_authorizations(&self) -> BTreeSet<String> {
        let is_failed = |authorization: &Authorization| authorization.is_invalid || authorization.failed.is_some();
        let seen = self.authorizations.iter().filter(|(_, one)| is_failed(one)).map(|(id, _)| id.clone());
        let text = self.log.text();
        let written = text.lines().filter_map(|line| {
            let (before, _) = line.split_once(" set INVALID by completed challenge")?;
            before.rsplit_once("authz ").map(|(_, id)| id.to_owned())
        });
        seen.chain(written).collect()
    }

    /// Whether an order replaces this certificate that is not invalid (RFC 9773 §5).
    pub(super) fn is_replaced(&self, certificate: &str) -> bool {
        let failed = self.failed_authorizations();
        let is_lost = |order: &Order| order.is_invalid || order.authorizations.iter().any(|id| failed.contains(id));
        self.orders.values().any(|order| order.ordered.replaces.as_deref() == Some(certificate) && !is_lost(order))
    }

    /// The answer about a challenge that fails because the front says so: pebble does not learn of it.
    pub(super) fn fail(&mut self, request: &Request, rules: &Rules) -> Option<Answer> {
        let is_it = |challenge: &&Value| challenge["url"].as_str().map(last) == Some(last(&request.path));
        let (id, authorization) = self
            .authorizations
            .iter_mut()
            .find(|(_, authorization)| authorization.challenges.iter().any(|one| is_it(&one)))?;
        let problem = rules.failing.get(&authorization.name)?;
        // A POST-as-GET asks, and starts nothing.
        request.payload()?;
        let mut challenge = authorization.challenges.iter().find(is_it)?.clone();
        challenge["status"] = json!("processing");
        let mut answer = Answer::new(200, "application/json", challenge.to_string());
        answer.set_header("link", format!("<https://{}/authZ/{id}>;rel=\"up\"", request.host()));
        challenge["status"] = json!("invalid");
        challenge["error"] = Problem::document(problem);
        authorization.failed = Some(challenge);
        rules.polling.put_into(&mut answer);
        Some(answer)
    }

    /// Takes in what pebble answers, and adds what it does not have.
    pub(super) fn learn(&mut self, request: &Request, answer: &mut Answer, rules: &Rules) {
        if !(200..300).contains(&answer.status) {
            return;
        }
        let endpoint = Endpoint::of(&request.path);
        if endpoint == Endpoint::Certificate {
            let read =
                Certificate::read(&answer.body).filter(|one| self.certificates.iter().all(|has| has.id != one.id));
            self.certificates.extend(read);
        }
        let Some(mut document) = answer.document() else { return };
        let id = match endpoint {
            Endpoint::NewOrder => answer.header("location").map(last).unwrap_or_default().to_owned(),
            _ => last(&request.path).to_owned(),
        };
        match endpoint {
            Endpoint::Directory => rules.advertise(&mut document, request.host()),
            Endpoint::NewOrder => {
                let ordered = request.payload().as_ref().map(Ordered::read).unwrap_or_default();
                let authorizations = document["authorizations"].as_array().into_iter().flatten();
                let authorizations = authorizations.filter_map(Value::as_str).map(|url| last(url).to_owned()).collect();
                self.orders.insert(id.clone(), Order { ordered, authorizations, is_invalid: false });
                self.complete_order(&id, &mut document);
            }
            Endpoint::Order | Endpoint::Finalize => self.complete_order(&id, &mut document),
            Endpoint::Authorization => self.complete_authorization(&id, &mut document),
            Endpoint::Challenge => {}
            _ => return,
        }
        answer.set_document(&document);
        let is_under_way = document["status"] == "pending" || document["status"] == "processing";
        if is_under_way && endpoint != Endpoint::NewOrder {
            rules.polling.put_into(answer);
        }
    }

    fn complete_order(&mut self, id: &str, document: &mut Value) {
        let Some(order) = self.orders.get_mut(id) else { return };
        let (replaces, profile) = (&order.ordered.replaces, &order.ordered.profile);
        for (key, value) in [("replaces", replaces), ("profile", profile)] {
            if let Some(value) = value {
                document[key] = json!(value);
            }
        }
        let failed = |id: &String| self.authorizations.get(id).is_some_and(|one| one.failed.is_some());
        if order.authorizations.iter().any(failed) {
            document["status"] = json!("invalid");
        }
        order.is_invalid |= document["status"] == "invalid";
    }

    fn complete_authorization(&mut self, id: &str, document: &mut Value) {
        let known = self.authorizations.entry(id.to_owned()).or_insert_with(|| Authorization {
            name: document["identifier"]["value"].as_str().unwrap_or_default().to_owned(),
            challenges: document["challenges"].as_array().cloned().unwrap_or_default(),
            is_invalid: false,
            failed: None,
        });
        if let Some(challenge) = &known.failed {
            document["status"] = json!("invalid");
            document["challenges"] = json!([challenge]);
        }
        known.is_invalid |= document["status"] == "invalid";
    }
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
