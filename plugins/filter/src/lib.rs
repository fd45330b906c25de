//! `filter`: refuses requests by lists of patterns for hosts and URLs.

mod backtrack;
mod byte_set;
mod config;
mod expression;
mod index;
mod list;
mod posix;
mod program;
mod reverse;
mod rules;
mod shape;
mod spelling;
mod subject;
mod syntax;
mod table;
mod wildcard;

use std::{borrow::Cow, sync::Once};

use plugin_api::{
    BuildCx, ConfigError, Cx, Fault, Form, Phases, Plugin, Request, Response, Step,
    http::{StatusCode, header},
};

use backtrack::Patience;
pub use config::{Config, Fallback, Path, Reverse, Subject, Syntax};
use reverse::Fate;
use rules::{Answer, Rules};
use syntax::PatternError;

/// Lets a request go on or refuses it, as the patterns say.
pub struct Filter {
    rules: Rules,
    /// The same patterns without regard to case, where they say who is let through and case matters.
    regardless: Option<Rules>,
    subject: Subject,
    default: Fallback,
    ignore_case: bool,
    connect_ports: Option<Vec<u16>>,
    own_hosts: Vec<String>,
    reverse: Option<reverse::Reverse>,
    /// What is to be said about the file. There is no log yet when the configuration of a start is read.
    remark: Option<String>,
    told: Once,
}

impl Plugin for Filter {
    const NAME: &'static str = "filter";
    const PHASES: Phases = Phases::REQUEST;

    type Config = Config;
    type State = ();

    fn build(config: Config, cx: &mut BuildCx<'_>) -> Result<Self, ConfigError> {
        if config.file.is_none() && config.patterns.is_empty() {
            let nothing = ConfigError::table("`filter` has no patterns");
            return Err(nothing.with_hint("add `file = \"…\"` or `patterns = [\"…\"]`"));
        }
        let ignore_case = !config.case_sensitive;
        let mut builder = rules::Builder::default();
        let mut regardless = (config.default == Fallback::Deny && config.case_sensitive).then(rules::Builder::default);
        let mut add = |pattern: &[u8]| {
            if let Some(builder) = &mut regardless {
                // What is right only where case matters, as `[Z-a]`, is looked for as it is.
                let parsed = syntax::parse(pattern, config.syntax, true);
                builder.add(parsed.or_else(|_error| syntax::parse(pattern, config.syntax, false))?)?;
            }
            builder.add(syntax::parse(pattern, config.syntax, ignore_case)?)
        };
        let mut remark = None;
        if let Some(path) = &config.file {
            cx.watch_file(list::in_bytes(path));
            remark = add_file(path, &mut add)?;
        }
        for (index, pattern) in config.patterns.iter().enumerate() {
            add(pattern.as_bytes())
                .map_err(|error| ConfigError::key("patterns", format!("bad pattern: {error}")).index(index))?;
        }
        let build = |builder: rules::Builder| builder.build().map_err(|error| ConfigError::table(error.to_string()));
        let (rules, regardless) = (build(builder)?, regardless.map(build).transpose()?);
        let reverse = config.reverse.map(reverse::Reverse::build).transpose()?;
        let Config { subject, default, connect_ports, own_hosts, .. } = config;
        Ok(Self {
            rules,
            regardless,
            subject,
            default,
            ignore_case,
            connect_ports,
            own_hosts,
            reverse,
            remark,
            told: Once::new(),
        })
    }

    fn request<'a>(&'a self, cx: &'a mut Cx<'_>, (): &'a mut ()) -> Step<'a> {
        if let Some(remark) = &self.remark {
            self.told.call_once(|| tracing::warn!(target: "lockgate::filter", "{remark}"));
        }
        if self.is_others(cx.request()) {
            return Step::NEXT;
        }
        let Some(subject) = self.subject_of(cx) else { return Step::NEXT };
        if self.lets_through(&subject) {
            return Step::NEXT;
        }
        // A name for the log, where nothing may look like the end of a line.
        let shown = subject.replace(char::is_control, "\u{fffd}");
        match self.subject {
            Subject::Host => tracing::info!(target: NOTICE, "Proxying refused on filtered domain \"{shown}\""),
            Subject::Url => tracing::info!(target: NOTICE, "Proxying refused on filtered url \"{shown}\""),
        }
        let refusal = Response::refuse(StatusCode::FORBIDDEN, "The request you made has been filtered");
        Step::respond(refusal.with_phrase("Filtered").with_fault(Fault::Target))
    }
}

impl Filter {
    /// Whether it is for others to say what becomes of the request.
    fn is_others(&self, request: &Request<'_>) -> bool {
        match request.form {
            Form::Origin => {
                let written = request.header(&header::HOST).unwrap_or_default();
                let host = written.rsplit_once(':').map_or(written, |(host, _)| host);
                self.own_hosts.iter().any(|own| own == host)
            }
            Form::Authority => {
                let port = request.uri.authority().and_then(|authority| authority.port_u16()).unwrap_or(443);
                self.connect_ports.as_ref().is_some_and(|ports| !ports.contains(&port))
            }
            Form::Absolute(_) => false,
        }
    }

    /// What patterns are held against; `None` when nobody will be asked for anything.
    fn subject_of(&self, cx: &Cx<'_>) -> Option<String> {
        let (request, connection) = (cx.request(), cx.connection());
        match (self.reverse.as_ref().map_or(Fate::Untouched, |reverse| reverse.fate(request)), self.subject) {
            (Fate::Answered, _) => None,
            (Fate::Becomes(url), Subject::Host) => url.host().map(|host| subject::bare(host).to_owned()),
            (Fate::Becomes(url), Subject::Url) => Some(url.to_string()),
            (Fate::Untouched, Subject::Host) => Some(subject::host(request, connection)),
            (Fate::Untouched, Subject::Url) => Some(subject::url(request, connection)),
        }
    }

    /// What is not known is refused: nobody gets past a list by making the search for it long.
    fn lets_through(&self, subject: &str) -> bool {
        let compared: Cow<'_, str> =
            if self.ignore_case { subject.to_ascii_lowercase().into() } else { subject.into() };
        let mut patience = Patience::new();
        match self.default {
            Fallback::Allow => {
                let others = spelling::all_others(self.subject, &compared);
                any(&self.rules, &compared, &others, &mut patience) == Answer::No
            }
            // What the client wrote says who it is, as in tinyproxy. A pattern that says who it is not, `^[^b]`, would let a client in
            // who writes `B`: the usual spelling must be let through, too.
            Fallback::Deny => {
                let others = spelling::others(self.subject, &compared);
                let usual = spelling::canonical(self.subject, &compared);
                let is_listed = any(&self.rules, &compared, &others, &mut patience) == Answer::Yes;
                is_listed && (usual == *compared || self.is_listed_anyhow(usual, &mut patience))
            }
        }
    }

    fn is_listed_anyhow(&self, subject: String, patience: &mut Patience) -> bool {
        let (rules, subject) = match &self.regardless {
            Some(rules) => (rules, subject.to_ascii_lowercase()),
            None => (&self.rules, subject),
        };
        rules.match_any(subject.as_bytes(), patience) == Answer::Yes
    }
}

/// Whether any pattern is found in any of the spellings.
fn any(rules: &Rules, subject: &str, others: &[String], patience: &mut Patience) -> Answer {
    let first = rules.match_any(subject.as_bytes(), patience);
    others.iter().fold(first, |answer, other| match answer {
        Answer::Yes => answer,
        _ => answer.or(rules.match_any(other.as_bytes(), patience)),
    })
}

/// Takes the patterns of a file in, and tells what is odd about it.
fn add_file(
    path: &std::path::Path,
    mut add: impl FnMut(&[u8]) -> Result<(), PatternError>,
) -> Result<Option<String>, ConfigError> {
    let text = list::read(path).map_err(|error| {
        ConfigError::key("file", format!("cannot read the filter file `{}`: {error}", path.display()))
    })?;
    let wrong: Vec<_> = list::lines(&text).filter_map(|line| Some((line, add(line.pattern).err()?))).collect();
    let Some(((first, error), others)) = wrong.split_first() else {
        let bom = || format!("the filter file {} begins with a byte order mark, which is passed over", path.display());
        return Ok(list::has_bom(&text).then(bom));
    };
    let (pattern, path) = (String::from_utf8_lossy(first.pattern), path.display());
    let bad = ConfigError::key("file", format!("Bad regex in {path}: line {} - {pattern}", first.number));
    let numbers: Vec<_> = others.iter().take(MOST_NAMED).map(|(line, _)| line.number.to_string()).collect();
    let more = if others.len() > numbers.len() { ", …" } else { "" };
    Err(match numbers.as_slice() {
        [] => bad.with_hint(error.to_string()),
        numbers => bad.with_hint(format!("{error}; bad are also lines {}{more}", numbers.join(", "))),
    })
}

/// Where lines go that tinyproxy logs at the level of a notice.
const NOTICE: &str = "lockgate::narrative::notice";
/// How many wrong lines are named, beside the first.
const MOST_NAMED: usize = 10;
