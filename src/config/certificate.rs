//! `[[certificate]]`: what is shown in TLS handshakes, and kept valid.

mod answerer;
mod domain;
mod from_files;
mod hands;
mod maker;
mod managed;
mod remark;
mod shelf;

use std::path::PathBuf;

use plugin_api::{
    Named,
    config::{Array, Problems, Source, Table},
};
use proxy_core::Listener;

use self::{answerer::Answerers, hands::Usual, managed::World, shelf::Shelf};
use super::{
    acme::{self, Section},
    interception::{self, Interception},
};

/// What is to be shown in handshakes and kept valid.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    /// The directory for accounts and certificates; `None` where none is obtained.
    pub(crate) storage: Option<PathBuf>,
    /// Certificates to believe about authorities, for [`certificates::Client::new`]; `None` for those that the system trusts.
    pub(crate) ca: Option<PathBuf>,
    /// Those that are obtained and renewed, in the order of the file.
    pub(crate) managed: Vec<Managed>,
    /// Those that somebody else renews, in the order of the file.
    pub(crate) files: Vec<FromFiles>,
    /// The name of the one for clients that name no host, or one that is not known; `None` where there is none at all.
    pub(crate) default: Option<String>,
    /// A command, with its arguments, that is told what became of a certificate. The program is an absolute path.
    pub(crate) notify: Option<Vec<String>>,
    /// Whether to look at each name before an order, where no interception is needed for anything to be found.
    pub(crate) self_check: bool,
    /// How to step in front of the application while an authority validates.
    pub(crate) interception: Option<Interception>,
}

/// A certificate that is obtained and renewed.
#[derive(Clone)]
pub(crate) struct Managed {
    /// What is wanted. Its `name` is given.
    pub(crate) request: certificates::Request,
    /// Who answers for its names; nobody where the internal authority is asked alone.
    pub(crate) authenticators: certificates::Authenticators,
    /// Whether visitors have to be led to us while an authority validates.
    pub(crate) intercept: bool,
}

/// A certificate in files that are to be read again when they change. When the configuration was read, they could be used, or
/// were not there yet and need not be.
#[derive(Clone, Debug)]
pub(crate) struct FromFiles {
    /// Its name in messages.
    pub(crate) name: String,
    /// With those between it and its authority; an absolute path, in PEM.
    pub(crate) certificate: PathBuf,
    /// Its private key; an absolute path, in PEM.
    pub(crate) key: PathBuf,
    /// Whether they were not there.
    pub(super) is_missing: bool,
}

/// The sections of a file that are about certificates.
pub(super) struct Sections<'s> {
    /// `[acme]`.
    pub(super) acme: Option<Table<'s>>,
    /// `[[certificate]]`.
    pub(super) certificate: Option<Array<'s>>,
    /// `[interception]`.
    pub(super) interception: Option<Table<'s>>,
}

/// What other sections say.
pub(super) struct Surroundings<'a> {
    /// The whole text.
    pub(super) source: &'a Source,
    /// Has the authenticators that could be built.
    pub(super) named: &'a Named,
    /// The listeners that could be built.
    pub(super) listeners: &'a [Listener],
}

impl Managed {
    /// Its name in storage and in messages.
    pub(crate) fn name(&self) -> &str {
        self.request.name.as_deref().unwrap_or_default()
    }
}

impl std::fmt::Debug for Managed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Managed")
            .field("request", &self.request)
            .field("intercept", &self.intercept)
            .finish_non_exhaustive()
    }
}

/// Builds the sections. Reads files of certificates, and nothing else. `None` when something is wrong.
pub(super) fn build(
    sections: Sections<'_>,
    surroundings: &Surroundings<'_>,
    problems: &mut Problems,
    remarks: &mut Vec<String>,
) -> Option<Certificates> {
    let Surroundings { source, named, listeners } = surroundings;
    let section = acme::build(sections.acme, problems);
    let intercepts = sections.interception.is_some();
    let interception = interception::build(sections.interception, &section, listeners, problems);
    let wanted = sections.certificate.map(|array| array.items).unwrap_or_default();
    let given = section.given();
    let answerers = Answerers::read(source, named);
    let usual = match (&section, given.and_then(|acme| acme.authenticator.as_ref())) {
        (Section::Broken | Section::Absent, _) => Usual::Unusable,
        (Section::Given(_), None) => Usual::Unnamed,
        (Section::Given(_), Some((span, name))) => match answerers.find(name, span.clone(), problems) {
            Some(answerer) => Usual::One(answerer),
            None => Usual::Unusable,
        },
    };
    let world = World { section: &section, answerers: &answerers, usual: &usual, intercepts };
    let (count, mut shelf) = (wanted.len(), Shelf::default());
    for (whole, table) in wanted {
        shelf.add(whole, table, &world, problems);
    }
    let Shelf { managed, files, asked, default, .. } = shelf;
    if let Some(acme) = given {
        let asked = if count == 0 { &acme.choice.directories } else { &asked };
        // Where none is asked, the section only says where certificates are kept.
        if !asked.is_empty() {
            acme.demand_agreement(asked, problems);
        }
        // A certificate that something is wrong with may be the one that would ask.
        if managed.len() + files.len() == count {
            acme.check_external(asked, problems);
        }
    }
    let storage = given.map_or_else(|| acme::STORAGE.into(), |acme| acme.storage.clone());
    let certificates = Certificates {
        storage: (!managed.is_empty()).then_some(storage),
        ca: given.and_then(|acme| acme.ca.clone()),
        managed,
        files,
        default: default.map(|(name, _)| name),
        notify: given.and_then(|acme| acme.notify.clone()),
        self_check: given.is_none_or(|acme| acme.self_check),
        interception,
    };
    remarks.extend(remark::remarks(&certificates, given.is_some()));
    (!matches!(section, Section::Broken)).then_some(certificates)
}

#[cfg(test)]
pub(super) mod tests;
