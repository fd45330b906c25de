//! What was asked, and what came of it.

use std::{collections::BTreeSet, ops::Sub, time::SystemTime};

use serde_json::Value;

use super::{
    endpoint::Endpoint,
    message::{Answer, Request},
};

/// Every request, in the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    exchanges: Vec<Exchange>,
}

/// A request and what came of it.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// When the request was there.
    pub at: SystemTime,
    /// What it is for.
    pub endpoint: Endpoint,
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// What is ordered, where it is a new order.
    pub order: Option<Ordered>,
    /// What came of it. It is noted before the client learns it.
    pub outcome: Outcome,
    /// Whether pebble did what was asked, whatever the client got to know.
    pub taken: bool,
}

/// What a new order is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ordered {
    /// The names, as the client wrote them.
    pub names: Vec<String>,
    /// The profile, if any.
    pub profile: Option<String>,
    /// The certificate that it replaces (RFC 9773 §5), if any.
    pub replaces: Option<String>,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing yet.
    Open,
    /// A whole answer.
    Answered {
        /// Its status.
        status: u16,
        /// The type of the problem that it is, without its common beginning.
        problem: Option<String>,
    },
    /// The beginning of an answer.
    Cut {
        /// Its status.
        status: u16,
    },
    /// A reset of the connection.
    Reset,
    /// The client left before there was an answer, or the authority ended.
    Left,
}

/// What counts against the limits of an authority such as Let's Encrypt: pebble did it, whether or not the client learnt so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Accounts that were made.
    pub accounts: usize,
    /// Orders that were taken.
    pub orders: usize,
    /// Authorizations that became invalid: one for each name of an order.
    pub failed_authorizations: usize,
    /// Orders that were finalized: certificates.
    pub certificates: usize,
}

impl Journal {
    /// All of it.
    #[must_use]
    pub fn exchanges(&self) -> &[Exchange] {
        &self.exchanges
    }

    /// The requests to one endpoint.
    pub fn of(&self, endpoint: Endpoint) -> impl Iterator<Item = &Exchange> {
        self.exchanges.iter().filter(move |exchange| exchange.endpoint == endpoint)
    }

    /// How many requests to one endpoint there were, well or badly answered.
    #[must_use]
    pub fn count(&self, endpoint: Endpoint) -> usize {
        self.of(endpoint).count()
    }

    /// How many requests to one endpoint pebble did as asked.
    #[must_use]
    pub fn taken(&self, endpoint: Endpoint) -> usize {
        self.of(endpoint).filter(|exchange| exchange.taken).count()
    }

    /// What was ordered, also where the order was refused.
    #[must_use]
    pub fn orders(&self) -> Vec<&Ordered> {
        self.exchanges.iter().filter_map(|exchange| exchange.order.as_ref()).collect()
    }

    /// Requests that wait for an answer.
    #[must_use]
    pub fn open(&self) -> usize {
        self.exchanges.iter().filter(|exchange| exchange.outcome == Outcome::Open).count()
    }

    /// Notes a request, and says under which number.
    pub(super) fn begin(&mut self, request: &Request) -> usize {
        let endpoint = Endpoint::of(&request.path);
        let order = (endpoint == Endpoint::NewOrder).then(|| request.payload().as_ref().map(Ordered::read)).flatten();
        self.exchanges.push(Exchange {
            at: SystemTime::now(),
            endpoint,
            method: request.method.clone(),
            path: request.path.clone(),
            order,
            outcome: Outcome::Open,
            taken: false,
        });
        self.exchanges.len() - 1
    }

    pub(super) fn end(&mut self, number: usize, outcome: Outcome) {
        if let Some(exchange) = self.exchanges.get_mut(number) {
            exchange.outcome = outcome;
        }
    }

    pub(super) fn take(&mut self, number: usize) {
        if let Some(exchange) = self.exchanges.get_mut(number) {
            exchange.taken = true;
        }
    }

    /// What is spent, where these authorizations have failed.
    pub(super) fn spent(&self, failed_authorizations: &BTreeSet<String>) -> Spent {
        // The answer about an account that there was has the status 200 (RFC 8555 §7.3).
        let is_new = |exchange: &&Exchange| exchange.taken && exchange.outcome.status() == Some(201);
        Spent {
            accounts: self.of(Endpoint::NewAccount).filter(is_new).count(),
            orders: self.taken(Endpoint::NewOrder),
            failed_authorizations: failed_authorizations.len(),
            certificates: self.taken(Endpoint::Finalize),
        }
    }
}

impl Sub for Spent {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            accounts: self.accounts - before.accounts,
            orders: self.orders - before.orders,
            failed_authorizations: self.failed_authorizations - before.failed_authorizations,
            certificates: self.certificates - before.certificates,
        }
    }
}

impl Ordered {
    /// Reads the payload of a new order (RFC 8555 §7.4).
    pub(super) fn read(payload: &Value) -> Self {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let identifiers = payload["identifiers"].as_array().into_iter().flatten();
        Self {
            names: identifiers.filter_map(|identifier| text(&identifier["value"])).collect(),
            profile: text(&payload["profile"]),
            replaces: text(&payload["replaces"]),
        }
    }
}

impl Outcome {
    /// The status of the answer, or of its beginning.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Answered { status, .. } | Self::Cut { status } => Some(*status),
            Self::Open | Self::Reset | Self::Left => None,
        }
    }

    pub(super) fn of(answer: &Answer) -> Self {
        let is_problem = answer.header("content-type").is_some_and(|kind| kind.starts_with("application/problem+json"));
        let kind = answer.document().filter(|_| is_problem).and_then(|document| {
            let kind = document["type"].as_str()?;
            Some(kind.rsplit(':').next().unwrap_or(kind).to_owned())
        });
        Self::Answered { status: answer.status, problem: kind }
    }
}
