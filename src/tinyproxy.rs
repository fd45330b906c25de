//! tinyproxy.conf: read by tinyproxy's own grammar, translated into TOML, and built like any other configuration.
//!
//! Reading and translating are pure: text in, text out, with the place of every directive kept. What is wrong with the
//! TOML is therefore told at the directive that it comes from.

mod address;
mod argument;
mod chain;
mod conf;
mod directive;
mod document;
mod line;
mod refusal;
#[cfg(test)]
mod tests;
mod translation;
mod upstream;
mod warning;

use std::{collections::BTreeMap, fs, path::Path};

use plugin_api::config::{Problem, Problems, Source};

pub(crate) use self::warning::Warnings;
use self::{chain::Link, conf::Conf, document::Origins};
use crate::{
    config::{self, LoadError},
    lasting::Lasting,
    registry::plugin_names,
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
}

/// A file that can be started.
pub(crate) struct Loaded {
    pub(crate) config: config::Loaded,
    pub(crate) warnings: Warnings,
}

/// A file as TOML.
#[derive(Clone, Debug)]
pub(crate) struct Translation {
    source: Source,
    toml: String,
    origins: Origins,
    links: Vec<Link>,
    warnings: Warnings,
}

/// Reads, translates and builds a file. Starts nothing.
pub(crate) fn load(path: &Path, mode: Mode, lasting: &Lasting) -> Result<Loaded, LoadError> {
    let source = read(path)?;
    let translation = translate(&source, &Surroundings::here(mode)).map_err(LoadError::Problems)?;
    let config = config::load(Source::new(source.name(), translation.toml()), lasting)
        .map_err(|problems| LoadError::Problems(translation.at_their_origin(&problems)))?;
    Ok(Loaded { config, warnings: translation.warnings })
}

/// Reads a file. Bytes that are not UTF-8 do no harm in comments; in a directive they are reported when it is read.
pub(crate) fn read(path: &Path) -> Result<Source, LoadError> {
    let name = path.display().to_string();
    let bytes = fs::read(path).map_err(|source| LoadError::Read { path: name.clone(), source })?;
    Ok(Source::new(name, String::from_utf8_lossy(&bytes)))
}

/// Translates a file. Pure.
///
/// # Errors
///
/// Everything that is wrong with the file, with lines and columns.
pub(crate) fn translate(source: &Source, surroundings: &Surroundings) -> Result<Translation, Problems> {
    let (mut warnings, mut problems) = (Warnings::new(source.clone()), Problems::new(source.clone()));
    let conf = Conf::read(source, &mut warnings, &mut problems);
    let port = conf.port.as_ref().filter(|port| port.value != 0);
    if port.is_none() && problems.is_empty() {
        let place = conf.port.as_ref().map_or(0..0, |port| port.span.clone());
        problems.push(Problem::new(place, "there is no port to listen on").with_hint("add `Port 8888`"));
    }
    let written = port.map(|port| translation::write(&conf, port, surroundings, &mut warnings));
    let (document, links) = problems.or_ok(written)?;
    let (toml, origins) = document.finish();
    Ok(Translation { source: source.clone(), toml, origins, links, warnings })
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
        }
    }
}

impl Translation {
    /// The configuration as TOML.
    pub(crate) fn toml(&self) -> &str {
        &self.toml
    }

    /// What is worth a word, and what of the translation this program cannot do yet: the number of the line, and the remark.
    pub(crate) fn remarks(&self) -> Vec<(usize, String)> {
        let missing = self.links.iter().filter(|link| !plugin_names().contains(&link.plugin));
        let missing = missing.map(|link| {
            let Problem { span, message, .. } = self.refusal(link);
            (self.source.position(span.start).0, format!("{message}: until then the file is refused"))
        });
        let warnings = self.warnings.lines().map(|(line, message)| (line, message.to_owned()));
        let mut remarks: Vec<_> = missing.chain(warnings).collect();
        remarks.sort_by_key(|(line, _)| *line);
        remarks
    }

    /// Problems with the TOML as problems with the file that it comes from.
    fn at_their_origin(&self, problems: &Problems) -> Problems {
        let mut translated = Problems::new(self.source.clone());
        for problem in problems.sorted() {
            let link = self.links.iter().find(|link| link.place == problem.span);
            translated.push(match link.filter(|link| !plugin_names().contains(&link.plugin)) {
                Some(link) => self.refusal(link),
                None => Problem { span: self.origins.find(&problem.span).unwrap_or_default(), ..problem.clone() },
            });
        }
        translated
    }

    /// Why a file with this link cannot be used, at the directive that asks for it.
    fn refusal(&self, link: &Link) -> Problem {
        let before = self.source.text().get(..link.origin.start).unwrap_or_default();
        let line = before.rfind('\n').map_or(0, |end| end + 1);
        let text = self.source.text().get(line..).and_then(|text| text.lines().next()).unwrap_or_default();
        let directive = text.split_whitespace().next().unwrap_or_default();
        let start = line + text.len() - text.trim_start().len();
        let plugin = link.plugin;
        let message = format!("`{directive}` needs the plugin `{plugin}`, which comes with the next version");
        Problem::new(start..start + directive.len(), message)
            .with_hint("the file is refused rather than used without it")
    }
}
