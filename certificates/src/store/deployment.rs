//! Whether the operator's programs know of the version in use: `lockgate/deployed/NAME` has the number of the last one that they
//! were told of.

use std::{fs, path::PathBuf};

use super::{Store, StoreError};
use crate::Lineage;

impl Store {
    /// Whether programs were told of an earlier version than the one in use, and not of this one: the command failed that
    /// should have told them, or the process ended before.
    pub fn awaits_deployment(&self, lineage: &Lineage) -> bool {
        self.last_deployed(&lineage.name).is_some_and(|version| version < lineage.version)
    }

    /// Programs know of this version, unless it is known what they were told of.
    ///
    /// # Errors
    ///
    /// That cannot be remembered.
    pub fn presume_deployed(&self, name: &str, version: u32) -> Result<(), StoreError> {
        if self.last_deployed(name).is_some() { Ok(()) } else { self.deployed(name, version) }
    }

    /// Programs know of this version.
    ///
    /// # Errors
    ///
    /// That cannot be remembered.
    pub fn deployed(&self, name: &str, version: u32) -> Result<(), StoreError> {
        self.write_own(&self.deployment_file(name), format!("{version}\n").as_bytes(), 0o644)
    }

    fn last_deployed(&self, name: &str) -> Option<u32> {
        fs::read_to_string(self.deployment_file(name)).ok()?.trim().parse().ok()
    }

    pub(super) fn deployment_file(&self, name: &str) -> PathBuf {
        self.own_directory().join("deployed").join(name)
    }
}
