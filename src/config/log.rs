//! `[log]`: the access log and what the program itself says.

use std::path::PathBuf;

use plugin_api::{
    config::{Problems, Table},
    schemars::{self, JsonSchema},
};
use proxy_core::{Format, LogConfig, Sink};
use serde::Deserialize;

use crate::octet;

/// The resolved section.
pub(super) struct Log {
    pub(super) access: Option<LogConfig>,
    pub(super) program: Program,
}

/// What the program says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Program {
    /// Where it goes; standard error when absent.
    pub(crate) destination: Option<Destination>,
    /// The form of the lines.
    pub(crate) style: Style,
    /// How much of it.
    pub(crate) level: Level,
}

/// Where the program's own lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Destination {
    Stderr,
    Stdout,
    Syslog,
    Off,
    File(PathBuf),
}

#[derive(Default, Deserialize, JsonSchema)]
struct Raw {
    /// Where one line per request goes: `"stdout"`, `"stderr"`, `"off"` or a path.
    access: Option<String>,
    /// The form of these lines.
    format: Option<RawFormat>,
    /// Where the program's own lines go: `"stderr"` (when absent), `"stdout"`, `"syslog"`, `"off"` or a path.
    program: Option<String>,
    /// The form of these lines.
    style: Option<Style>,
    /// How much the program says about itself: what is at least as severe. `connect`, for tinyproxy's lines about connections, is
    /// everything but `info`.
    level: Option<Level>,
}

/// The form of the program's own lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Style {
    #[default]
    Plain,
    Tinyproxy,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum RawFormat {
    Text,
    Json,
}

/// How much the program says about itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Level {
    Critical,
    Error,
    Warn,
    Notice,
    Connect,
    #[default]
    Info,
    Debug,
    Trace,
}

pub(super) fn build(table: Option<Table<'_>>, problems: &mut Problems) -> Option<Log> {
    let raw = match table {
        Some(table) => table.decode::<Raw>(problems)?,
        None => Raw::default(),
    };
    let sink = match raw.access.as_deref() {
        None | Some("off") => None,
        Some("stdout") => Some(Sink::Stdout),
        Some("stderr") => Some(Sink::Stderr),
        Some(path) => Some(Sink::File(path.into())),
    };
    let format = match raw.format {
        None | Some(RawFormat::Text) => Format::Text,
        Some(RawFormat::Json) => Format::Json,
    };
    let program = Program {
        destination: raw.program.as_deref().map(destination),
        style: raw.style.unwrap_or_default(),
        level: raw.level.unwrap_or_default(),
    };
    Some(Log { access: sink.map(|sink| LogConfig { sink, format }), program })
}

/// The names that stand for a stream of this process do not depend on what /dev looks like after privileges are dropped.
fn destination(text: &str) -> Destination {
    match text {
        "stderr" | "/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2" => Destination::Stderr,
        "stdout" | "/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1" => Destination::Stdout,
        "syslog" => Destination::Syslog,
        "off" | "/dev/null" => Destination::Off,
        _ => Destination::File(octet::path(text)),
    }
}
