//! Which names an order is for, and which it may do without: no I/O.

use std::time::SystemTime;

use authenticator_api::DomainName;

use super::{ChallengeFailure, Completeness, ObtainError, Request};
use crate::{Lineage, Names};

/// The names of the next order, and those that were given up.
#[derive(Debug)]
pub(super) struct Selection {
    /// In the order in which they are wanted.
    pub(super) names: Vec<DomainName>,
    /// What was said about those that were given up.
    pub(super) refused: Vec<ChallengeFailure>,
    /// Names that must not be lost: they are in a certificate that will be good for a while.
    kept: Names,
    /// An order for these alone would change nothing: there is a certificate for them, and it is not due.
    enough: Option<Names>,
    /// Whether any name may be given up at all.
    is_partial: bool,
}

/// What to do after names were refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Order again, for those that are left.
    Again,
    /// Nothing: what is left is what there is.
    Enough,
    /// Fail with the refusal.
    Fail,
}

impl Selection {
    /// What to order, given the certificate that is in use.
    pub(super) fn new(request: &Request, current: Option<&Lineage>, now: SystemTime) -> Self {
        let wanted: Names = request.domains.iter().cloned().collect();
        let safe = current.filter(|lineage| now < lineage.life().emergency());
        let kept: Names =
            safe.map(|lineage| lineage.names.intersection(&wanted).cloned().collect()).unwrap_or_default();
        let is_spare = |lineage: &&Lineage| !request.force && !lineage.is_due(now) && lineage.is_part_of(&wanted);
        let enough = safe.filter(is_spare).map(|lineage| lineage.names.clone());
        let (is_partial, resting) = match &request.completeness {
            Completeness::All => (false, &[][..]),
            Completeness::Some { resting } => (true, resting.as_slice()),
        };
        let rests = |name: &&DomainName| resting.contains(name) && !kept.contains(*name);
        let mut names: Vec<_> = request.domains.iter().filter(|name| !rests(name)).cloned().collect();
        if names.is_empty() {
            // The operator wants an attempt, and there is no name that would be better than another.
            names.clone_from(&request.domains);
        }
        Self { names, refused: Vec::new(), kept, enough, is_partial }
    }

    /// Whether there is nothing to order.
    pub(super) fn is_enough(&self) -> bool {
        self.enough.as_ref().is_some_and(|enough| self.names.iter().all(|name| enough.contains(name)))
    }

    /// Gives up the names that an order failed for.
    pub(super) fn give_up(&mut self, error: &ObtainError) -> Next {
        let failures: Vec<_> =
            error.failures().iter().filter(|failure| self.orders(&failure.domain)).cloned().collect();
        let is_kept = |failure: &ChallengeFailure| self.kept.iter().any(|name| name.as_str() == failure.domain);
        if !self.is_partial || failures.is_empty() || failures.iter().any(is_kept) {
            return Next::Fail;
        }
        self.names.retain(|name| !failures.iter().any(|failure| failure.domain == name.as_str()));
        self.refused.extend(failures);
        match () {
            () if self.names.is_empty() => Next::Fail,
            () if self.is_enough() => Next::Enough,
            () => Next::Again,
        }
    }

    fn orders(&self, domain: &str) -> bool {
        self.names.iter().any(|name| name.as_str() == domain)
    }
}

/// The names that a sentence is about.
pub(super) fn mentioned<'n>(sentence: &str, names: &'n [DomainName]) -> Vec<&'n DomainName> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || ".-:".contains(character);
    let words: Vec<_> = sentence
        .split(|character| !is_part(character))
        .map(|word| word.trim_matches(['.', ':']).to_ascii_lowercase())
        .collect();
    // An IPv6 address may end in colons, which are a sentence's too.
    names.iter().filter(|name| words.iter().any(|word| word == name.as_str().trim_matches(':'))).collect()
}

#[cfg(test)]
mod tests;
