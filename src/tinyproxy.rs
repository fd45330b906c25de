//! tinyproxy.conf: read by tinyproxy's own grammar, translated into TOML, and built like any other configuration.
//!
//! Reading and translating are pure: text in, text out, with the place of every directive kept. What is wrong with the
//! TOML is therefore told at the directive that it comes from.

mod address;
mod argument;
mod chain;
mod complaint;
mod conf;
mod directive;
mod document;
#[cfg(test)]
mod fuzz;
mod kept;
mod line;
mod overview;
mod refusal;
mod reverse;
#[cfg(test)]
mod tests;
mod translation;
mod upstream;
mod warning;

use std::{collections::BTreeMap, fs, ops::Range, path::Path};

use plugin_api::config::{Problem, Problems, Source, Span};

use self::{chain::Link, conf::Conf, document::Origins};
pub(crate) use self::{
    chain::VERSION,
    complaint::{complaint, remark},
    kept::Kept,
    overview::table as overview,
    warning::Warnings,
};
use crate::{
    config::{self, LoadError},
    lasting::Lasting,
    octet,
};

/// How the proxy runs: what tinyproxy decides by `-d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// With `-d`: under a supervisor, or on a terminal.
    Foreground,
    /// Without: on its own, in the background.
    Daemon,
}

/// What a translation depends on besides the file.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    pub(crate) mode: Mode,
    /// For `Via`, when the file names nothing else.
    pub(crate) host_name: String,
    /// Whether the process may give up privileges.
    pub(crate) is_root: bool,
    /// The index of each network interface, for link-local addresses.
    pub(crate) interfaces: BTreeMap<String, u32>,
    /// What the file before leaves to this one, when it is read for a reload.
    pub(crate) kept: Option<Kept>,
}

/// A file that can be started.
pub(crate) struct Loaded {
    pub(crate) config: config::Loaded,
    pub(crate) warnings: Warnings,
    /// What it leaves to the file after it.
    pub(crate) kept: Kept,
}

/// A file as TOML.
#[derive(Clone, Debug)]
pub(crate) struct Translation {
    source: Source,
    toml: String,
    origins: Origins,
    links: Vec<Link>,
    /// Where the addresses to listen on stand in the TOML.
    listens: Range<usize>,
    warnings: Warnings,
    kept: Kept,
}

/// Reads, translates and builds a file, which may come after another one. Starts nothing.
pub(crate) fn load(path: &Path, mode: Mode, lasting: &Lasting, kept: Option<Kept>) -> Result<Loaded, LoadError> {
    let source = read(path)?;
    let surroundings = Surroundings { kept, ..Surroundings::here(mode) };
    let translation = translate(&source, &surroundings).map_err(LoadError::Problems)?;
    let config = config::load(Source::new(source.name(), translation.toml()), lasting)
        .map_err(|problems| translation.refusal(&problems))?;
    Ok(Loaded { config, warnings: translation.warnings, kept: translation.kept })
}

/// Reads a file. It may hold bytes that are not UTF-8, like the names of old files.
pub(crate) fn read(path: &Path) -> Result<Source, LoadError> {
    let name = path.display().to_string();
    let bytes = fs::read(path).map_err(|source| LoadError::Read { path: name.clone(), source })?;
    Ok(Source::new(name, octet::text(&bytes)))
}

/// Translates a file. Pure.
///
/// # Errors
///
/// Everything that is wrong with the file, with lines and columns.
pub(crate) fn translate(source: &Source, surroundings: &Surroundings) -> Result<Translation, Problems> {
    let (mut warnings, mut problems) = (Warnings::new(source.clone()), Problems::new(source.clone()));
    let mut conf = Conf::read(source, &mut warnings, &mut problems);
    let has_port = conf.port.as_ref().is_some_and(|port| port.value != 0);
    if let Some(kept) = surroundings.kept.as_ref().filter(|_| has_port) {
        kept.put(&mut conf, &mut warnings);
    }
    let port = conf.port.as_ref().filter(|_| has_port);
    if port.is_none() && problems.is_empty() {
        let place = conf.port.as_ref().map_or(0..0, |port| port.span.clone());
        problems.push(Problem::new(place, complaint::NO_PORT).with_hint("add `Port 8888`"));
    }
    let written =
        port.map(|port| (translation::write(&conf, port, surroundings, &mut warnings), Kept::of(&conf, port.value)));
    let ((document, links), kept) = problems.or_ok(written)?;
    let (toml, origins) = document.finish();
    let section = |header: &str| toml.find(header).unwrap_or(toml.len());
    let listens = section("[[listener]]")..section("[[route]]");
    Ok(Translation { source: source.clone(), toml, origins, links, listens, warnings, kept })
}

impl Surroundings {
    /// Those of this process.
    pub(crate) fn here(mode: Mode) -> Self {
        let interface = |entry: fs::DirEntry| {
            let index = fs::read_to_string(entry.path().join("ifindex")).ok()?;
            Some((entry.file_name().into_string().ok()?, index.trim().parse().ok()?))
        };
        let interfaces = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
        Self {
            mode,
            host_name: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            is_root: rustix::process::geteuid().is_root(),
            interfaces: interfaces.filter_map(interface).collect(),
            kept: None,
        }
    }
}

impl Translation {
    /// The configuration as TOML.
    pub(crate) fn toml(&self) -> &str {
        &self.toml
    }

    /// What is worth a word: the number of the line, and the remark.
    pub(crate) fn remarks(&self) -> Vec<(usize, String)> {
        let mut remarks: Vec<_> = self.warnings.lines().map(|(line, message)| (line, message.to_owned())).collect();
        remarks.sort_by_key(|(line, _)| *line);
        remarks
    }

    /// Problems with the TOML as problems with the file that it comes from.
    fn refusal(&self, problems: &Problems) -> LoadError {
        let mut translated = Problems::new(self.source.clone());
        for problem in problems.sorted() {
            let span = self.origins.find(&problem.span).unwrap_or_default();
            translated.push(Problem { span, ..problem.clone() });
        }
        let is_filters = |problem: &&Problem| self.plugin_at(&problem.span) == Some("filter");
        let is_address = |problem: &&Problem| self.listens.contains(&problem.span.start);
        // tinyproxy reads the list after everything else, and listens after that: nothing else must be wrong.
        if problems.sorted().iter().all(is_filters) {
            LoadError::Filter(translated)
        } else if problems.sorted().iter().all(is_address) {
            LoadError::Listen(translated)
        } else {
            LoadError::Problems(translated)
        }
    }

    /// The plugin in whose keys this place of the TOML is.
    fn plugin_at(&self, span: &Span) -> Option<&'static str> {
        let behind = self.links.partition_point(|link| link.place.start <= span.start);
        Some(self.links.get(behind.checked_sub(1)?)?.plugin)
    }
}
