//! What is stored for one name.

use std::time::SystemTime;

use crate::{
    issued::{Issued, Names},
    schedule::Life,
};

/// The certificates of one name, and the version in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// Its name: that of its files.
    pub name: String,
    /// The number of the version in use.
    pub version: u32,
    /// The names in the certificate.
    pub names: Names,
    /// What else it is for and nobody here can prove: wildcards and the like.
    pub others: Vec<String>,
    /// The first moment at which it is valid.
    pub not_before: SystemTime,
    /// The last one.
    pub not_after: SystemTime,
    /// Its name in renewal information (RFC 9773 §4.1); `None` when it does not say who issued it.
    pub id: Option<String>,
}

impl Lineage {
    pub(super) fn of(name: &str, version: u32, issued: Issued) -> Self {
        let Issued { names, others, not_before, not_after, id, .. } = issued;
        Self { name: name.to_owned(), version, names, others, not_before, not_after, id }
    }

    /// Whether it is for these names and nothing else: a wildcard certificate must not give way to one without.
    pub fn is_for(&self, names: &Names) -> bool {
        self.names == *names && self.others.is_empty()
    }

    /// Whether it is for some of these names and nothing else.
    pub fn is_part_of(&self, names: &Names) -> bool {
        self.names.is_subset(names) && self.others.is_empty() && !self.names.is_empty()
    }

    /// Whether it is time for a new one: a third of its life is left, or half when it lives for less than ten days.
    pub fn is_due(&self, now: SystemTime) -> bool {
        self.life().ordinary() <= now
    }

    /// From when to when it is valid.
    pub fn life(&self) -> Life {
        Life { not_before: self.not_before, not_after: self.not_after }
    }
}
