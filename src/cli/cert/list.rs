//! `lockgate cert list`: what there is, for people and for monitoring.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use certificates::{Lineage, Record, Store};
use clap::Args;
use plugin_api::config::Duration as Time;

use crate::cli::{Exit, report, run};

/// Which certificates, and how they are told.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// The configuration whose certificates are meant: those that are missing are told, too.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The directory with the certificates; without it, that of the configuration, or /etc/letsencrypt.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    storage: Option<PathBuf>,

    /// Count as a problem what expires within this time.
    #[arg(long, value_name = "TIME")]
    within: Option<Time>,

    /// Print one JSON array on standard output.
    #[arg(long)]
    json: bool,
}

/// One certificate.
struct Row {
    name: String,
    wanted: Vec<String>,
    lineage: Option<Lineage>,
    record: Record,
}

/// What there is to say about a certificate in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Valid,
    /// Its renewal is due, or about to be tried again.
    Due,
    /// It expires soon, and was not renewed.
    Urgent,
    Expired,
    Missing,
}

/// Prints them. 1 where one is missing, expired, or about to be.
pub(super) fn run(arguments: &Arguments) -> Exit {
    let rows = match rows(arguments) {
        Ok(rows) => rows,
        Err(exit) => return exit,
    };
    let now = SystemTime::now();
    if arguments.json {
        let all: Vec<_> = rows.iter().map(|row| row.json(now)).collect();
        report::line(serde_json::Value::Array(all).to_string());
    } else {
        table(&rows, now);
    }
    let within = arguments.within.map(|within| within.0);
    if rows.iter().any(|row| row.is_problem(within, now)) { Exit::Failure } else { Exit::Success }
}

fn rows(arguments: &Arguments) -> Result<Vec<Row>, Exit> {
    let read = |store: &Store, name: String, wanted: Vec<String>| Row {
        lineage: store.load(&name),
        record: store.record(&name),
        wanted,
        name,
    };
    let Some(file) = &arguments.config else {
        let store = Store::at(arguments.storage.as_deref().unwrap_or(std::path::Path::new(STORAGE)));
        return Ok(store.names().into_iter().map(|name| read(&store, name, Vec::new())).collect());
    };
    let configured = run::load(Some(file))?.certificates;
    let store = Store::at(configured.storage.as_deref().unwrap_or(std::path::Path::new(STORAGE)));
    let managed = configured.managed.iter().map(|managed| {
        let wanted = managed.request.domains.iter().map(ToString::to_string).collect();
        read(&store, managed.name().to_owned(), wanted)
    });
    Ok(managed.collect())
}

fn table(rows: &[Row], now: SystemTime) {
    if rows.is_empty() {
        report::line("there are no certificates");
    }
    let width = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
    for row in rows {
        let left = row.lineage.as_ref().map_or_else(|| "-".to_owned(), |lineage| left(lineage.not_after, now));
        let names = row.names().join(", ");
        report::line(format!("{:width$}  {:7}  {left:>9}  {names}", row.name, row.state(now).word()));
        for trouble in row.troubles() {
            report::line(format!("{:width$}  {trouble}", ""));
        }
    }
}

impl Row {
    fn state(&self, now: SystemTime) -> State {
        let Some(lineage) = &self.lineage else { return State::Missing };
        let life = lineage.life();
        if life.not_after <= now {
            State::Expired
        } else if life.emergency() <= now {
            State::Urgent
        } else if lineage.is_due(now) {
            State::Due
        } else {
            State::Valid
        }
    }

    fn is_problem(&self, within: Option<Duration>, now: SystemTime) -> bool {
        let expires = self.lineage.as_ref().map(|lineage| lineage.not_after);
        let is_near = within.is_some_and(|within| expires.is_some_and(|expires| expires < now + within));
        is_near || matches!(self.state(now), State::Urgent | State::Expired | State::Missing)
    }

    /// The names that it is for, and those that it lacks.
    fn names(&self) -> Vec<String> {
        let has: Vec<String> = self
            .lineage
            .iter()
            .flat_map(|lineage| lineage.names.iter().map(ToString::to_string).chain(lineage.others.clone()))
            .collect();
        let known: BTreeSet<&String> = has.iter().collect();
        let lacking = self.wanted.iter().filter(|name| !known.contains(name)).map(|name| format!("({name})"));
        has.iter().cloned().chain(lacking.collect::<Vec<_>>()).collect()
    }

    /// What failed last.
    fn troubles(&self) -> Vec<String> {
        let last = self.record.last.iter().filter(|last| !last.message.is_empty());
        let mut all: Vec<String> = last.map(|last| format!("last attempt: {}", last.message)).collect();
        all.extend(self.record.refused().map(|(name, refused)| format!("{name}: {}", refused.detail)));
        let links = self.record.last.iter().filter_map(|last| last.link.as_deref());
        all.extend(links.map(|link| format!("see {link}")));
        all
    }

    fn json(&self, now: SystemTime) -> serde_json::Value {
        let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let refused: Vec<_> = self.record.refused().map(|(name, refused)| {
            serde_json::json!({ "name": name, "kind": refused.kind, "detail": refused.detail, "link": refused.link() })
        }).collect();
        serde_json::json!({
            "name": self.name,
            "state": self.state(now).word(),
            "names": self.lineage.iter().flat_map(|lineage| &lineage.names).map(ToString::to_string).collect::<Vec<_>>(),
            "wanted": self.wanted,
            "version": self.lineage.as_ref().map(|lineage| lineage.version),
            "not_before": self.lineage.as_ref().map(|lineage| seconds(lineage.not_before)),
            "not_after": self.lineage.as_ref().map(|lineage| seconds(lineage.not_after)),
            "last_attempt": self.record.last.as_ref().map(|last| serde_json::json!({
                "at": seconds(last.at), "message": last.message, "link": last.link,
            })),
            "refused": refused,
        })
    }
}

impl State {
    fn word(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Due => "due",
            Self::Urgent => "urgent",
            Self::Expired => "expired",
            Self::Missing => "missing",
        }
    }
}

/// How long it is still valid, in the largest unit that says something.
pub(super) fn left(not_after: SystemTime, now: SystemTime) -> String {
    let Ok(left) = not_after.duration_since(now) else { return "-".to_owned() };
    match left.as_secs() {
        seconds if seconds >= 2 * 86_400 => format!("{} days", seconds / 86_400),
        seconds if seconds >= 2 * 3600 => format!("{} hours", seconds / 3600),
        seconds => format!("{} min", seconds / 60),
    }
}

pub(super) const STORAGE: &str = "/etc/letsencrypt";
