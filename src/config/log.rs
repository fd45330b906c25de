//! `[log]`: the access log and what the program itself says.

use plugin_api::{
    config::{Problems, Table},
    schemars::{self, JsonSchema},
};
use proxy_core::{Format, LogConfig, Sink};
use serde::Deserialize;

/// The resolved section.
pub(super) struct Log {
    pub(super) access: Option<LogConfig>,
    pub(super) level: Level,
}

#[derive(Default, Deserialize, JsonSchema)]
struct Raw {
    /// Where one line per request goes: `"stdout"`, `"stderr"`, `"off"` or a path.
    access: Option<String>,
    /// The form of these lines.
    format: Option<RawFormat>,
    /// How much the program says about itself on standard error.
    level: Option<Level>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum RawFormat {
    Text,
    Json,
}

/// How much the program says about itself.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Level {
    Error,
    Warn,
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
    Some(Log { access: sink.map(|sink| LogConfig { sink, format }), level: raw.level.unwrap_or_default() })
}
