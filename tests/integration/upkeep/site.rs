//! The configuration of a site.

use std::{cell::Cell, path::PathBuf, process::Command};

use test_support::{Lockgate, Place, StartError};

use super::{Running, Stage};
use crate::support::LOCKGATE;

/// The configuration of a site.
#[derive(Clone)]
pub(super) struct Site<'s> {
    pub(super) stage: &'s Stage,
    pub(super) certificates: String,
    /// Of the authority.
    pub(super) directory: String,
    /// By whom the authority is known.
    pub(super) ca: PathBuf,
    /// More keys of `[acme]`.
    pub(super) acme: String,
    /// Routes before the one to the application.
    pub(super) routes: String,
    pub(super) storage: PathBuf,
    /// Where challenges are answered.
    pub(super) www: PathBuf,
}

/// A table for these names.
pub(super) fn certificate(names: &[&str]) -> String {
    format!("[[certificate]]\ndomains = {names:?}\n")
}

impl<'s> Site<'s> {
    /// The file.
    pub(super) fn config(&self) -> String {
        let Self { stage, certificates, directory, ca, acme, routes, storage, www } = self;
        let [http, https] = [0, 1].map(|door| stage.doors[door].address());
        format!(
            "[server]\nshards = 1\n\
             [[listener]]\nname = \"http\"\naddress = [\"{http}\"]\n\
             [[listener]]\nname = \"https\"\naddress = [\"{https}\"]\ntls = true\n\
             [[authenticator]]\nname = \"files\"\nuse = \"webroot\"\npath = \"{www}\"\nstate = \"{state}\"\n\
             [acme]\ndirectory = \"{directory}\"\nca = \"{ca}\"\nagree_to_terms = true\nstorage = \"{storage}\"\n\
             authenticator = \"files\"\nself_check = false\n{acme}\n{certificates}{routes}\
             [[route]]\nchain = [\n  {{ use = \"acme-challenge\", authenticator = \"files\" }},\n  \
             {{ use = \"upstream\", servers = [\"{origin}\"] }},\n]\n",
            www = www.display(),
            state = stage.file("state").display(),
            ca = ca.display(),
            storage = storage.display(),
            origin = stage.origin.address(),
        )
    }

    /// Runs it, by the stage's clock.
    pub(super) fn run(&self) -> Running<'s> {
        self.try_run_by(Place::Loopback.command(LOCKGATE)).unwrap()
    }

    /// The same by another command.
    pub(super) fn try_run_by(&self, mut command: Command) -> Result<Running<'s>, StartError> {
        self.stage.clock.give(&mut command);
        let lockgate = Lockgate::run_by(command, &self.config())?;
        Ok(Running { stage: self.stage, lockgate, seen: Cell::new(0) })
    }
}
