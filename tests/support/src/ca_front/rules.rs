//! What the authority wants, beside what pebble does.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{
    fault::{Problem, RetryAfter, Times},
    journal::Ordered,
    renewal::Suggestions,
};

/// What it was told to want.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) suggestions: Suggestions,
    /// Names and what they mean.
    pub(super) profiles: Vec<(String, String)>,
    /// Names that are not ordered here, and why.
    pub(super) refused: BTreeMap<String, String>,
    /// Names whose challenges fail, and how.
    pub(super) failing: BTreeMap<String, Problem>,
    /// How often a renewal is not accepted as one.
    pub(super) refused_replaces: Times,
    /// When to ask again about what is not done yet.
    pub(super) polling: RetryAfter,
}

impl Rules {
    /// Why an order is not taken. `is_replaced` says whether there is an order that replaces a certificate.
    pub(super) fn refusal(&mut self, order: &Ordered, is_replaced: impl Fn(&str) -> bool) -> Option<Problem> {
        let refused = order.names.iter().filter_map(|name| self.refused.get_key_value(&name.to_ascii_lowercase()));
        let refused: Vec<_> = refused.collect();
        if !refused.is_empty() {
            let problem = Problem::new(400, REJECTED, "Error creating new order :: some names are not issued for");
            let with = |problem: Problem, (name, why): &(&String, &String)| problem.about(name, REJECTED, why);
            return Some(refused.iter().fold(problem, with));
        }
        if let Some(profile) = &order.profile
            && !self.profiles.iter().any(|(offered, _)| offered == profile)
        {
            let detail = format!("{profile:?} is not a recognized profile name");
            return Some(Problem::new(400, "invalidProfile", detail));
        }
        let replaces = order.replaces.as_deref()?;
        let is_refused = self.refused_replaces.take() || is_replaced(replaces);
        is_refused.then(|| {
            let detail = format!("cannot indicate an order replaces {replaces}: it already has a replacement order");
            Problem::new(409, "alreadyReplaced", detail)
        })
    }

    /// Adds to a directory what is offered here; `host` is where clients find it.
    pub(super) fn advertise(&self, directory: &mut Value, host: &str) {
        if self.suggestions.is_offered {
            directory["renewalInfo"] = json!(format!("https://{host}/renewal-info"));
        }
        if !self.profiles.is_empty() {
            let profiles = self.profiles.iter().map(|(name, meaning)| (name.clone(), json!(meaning)));
            directory["meta"]["profiles"] = Value::Object(profiles.collect::<Map<_, _>>());
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        let profile = |name: &str| (name.to_owned(), format!("https://ca.example/docs/profiles#{name}"));
        Self {
            suggestions: Suggestions::default(),
            profiles: ["classic", "tlsserver", "shortlived"].map(profile).into(),
            refused: BTreeMap::new(),
            failing: BTreeMap::new(),
            refused_replaces: Times::Next(0),
            polling: RetryAfter::Absent,
        }
    }
}

const REJECTED: &str = "rejectedIdentifier";
