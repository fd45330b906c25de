//! Events as lines.
//!
//! tinyproxy has levels of its own, two of which `tracing` does not know. What an event's level is follows from where it is
//! made: its target, its level, and whether it has a field `critical`.

use std::{
    fmt::{self, Write as _},
    io,
};

use jiff::{Timestamp, tz::TimeZone};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{Layer, fmt::MakeWriter, layer::Context};

use super::writer::Queue;
use crate::config::Level;

/// A line on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) severity: Severity,
    pub(super) text: Text,
}

/// What is in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Text {
    /// All of it, with its end.
    Whole(String),
    /// A message of this time, to be given tinyproxy's form.
    Message(Timestamp, String),
    /// The same about a connection: its client decides how long it would be, so it is cut.
    Story(Timestamp, String),
}

/// tinyproxy's levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    Critical,
    Error,
    Warning,
    Notice,
    Connect,
    Info,
    Debug,
}

/// Makes lines in tinyproxy's form.
pub(super) struct Lines {
    level: Level,
    queue: Queue,
}

/// Takes the lines that `tracing_subscriber::fmt` makes.
#[derive(Clone)]
pub(super) struct PlainLines(Queue);

/// Where one of these goes.
pub(super) struct PlainLine<'q> {
    queue: &'q Queue,
    severity: Severity,
}

impl Severity {
    pub(super) fn of(about: &Metadata<'_>) -> Self {
        match *about.level() {
            tracing::Level::ERROR if about.fields().field("critical").is_some() => Self::Critical,
            tracing::Level::ERROR => Self::Error,
            tracing::Level::WARN => Self::Warning,
            tracing::Level::INFO => match about.target() {
                "lockgate" | "lockgate::narrative::notice" => Self::Notice,
                "lockgate::narrative::connect" => Self::Connect,
                _ => Self::Info,
            },
            _ => Self::Debug,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Critical => "CRITICAL",
            Self::Error => "ERROR",
            Self::Warning => "WARNING",
            Self::Notice => "NOTICE",
            Self::Connect => "CONNECT",
            Self::Info => "INFO",
            Self::Debug => "DEBUG",
        }
    }
}

impl Level {
    /// tinyproxy's rule: what is at least as severe; and `connect` is everything but INFO.
    fn admits(self, severity: Severity) -> bool {
        use Severity::{Critical, Debug, Error, Info, Notice, Warning};
        match self {
            Self::Critical => matches!(severity, Critical),
            Self::Error => matches!(severity, Critical | Error),
            Self::Warn => matches!(severity, Critical | Error | Warning),
            Self::Notice => matches!(severity, Critical | Error | Warning | Notice),
            Self::Connect => !matches!(severity, Info | Debug),
            Self::Info => !matches!(severity, Debug),
            Self::Debug | Self::Trace => true,
        }
    }

    /// Above this no event is admitted.
    fn hint(self) -> LevelFilter {
        match self {
            Self::Critical | Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Notice | Self::Connect | Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

impl Lines {
    pub(super) fn new(level: Level, queue: Queue) -> Self {
        Self { level, queue }
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, about: &Metadata<'_>, _cx: Context<'_, S>) -> bool {
        LevelFilter::from_level(*about.level()) <= self.level.hint() && self.level.admits(Severity::of(about))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level.hint())
    }

    fn on_event(&self, event: &Event<'_>, _cx: Context<'_, S>) {
        let mut message = Message::default();
        event.record(&mut message);
        let about = event.metadata();
        let is_story = about.target().starts_with("lockgate::narrative");
        let text = if is_story { Text::Story } else { Text::Message }(Timestamp::now(), message.text());
        self.queue.offer(Line { severity: Severity::of(about), text });
    }
}

impl PlainLines {
    pub(super) fn new(queue: Queue) -> Self {
        Self(queue)
    }
}

impl<'a> MakeWriter<'a> for PlainLines {
    type Writer = PlainLine<'a>;

    fn make_writer(&'a self) -> PlainLine<'a> {
        PlainLine { queue: &self.0, severity: Severity::Info }
    }

    fn make_writer_for(&'a self, about: &Metadata<'_>) -> PlainLine<'a> {
        PlainLine { queue: &self.0, severity: Severity::of(about) }
    }
}

impl io::Write for PlainLine<'_> {
    /// One call is one line: that is how the formatter does it.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = Text::Whole(String::from_utf8_lossy(bytes).into_owned());
        self.queue.offer(Line { severity: self.severity, text });
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Line {
    /// Appends it as it stands in a file.
    pub(super) fn write(&self, zone: &TimeZone, process: u32, into: &mut String) {
        match &self.text {
            Text::Whole(text) => into.push_str(text),
            Text::Message(time, text) | Text::Story(time, text) => {
                let time = time.to_zoned(zone.clone()).strftime("%b %d %H:%M:%S.%3f");
                let mut line = format!("{:<9} {time} [{process}]: {text}", self.severity.word());
                if matches!(self.text, Text::Story(..)) && line.len() > LONGEST {
                    let boundaries = line.char_indices().map(|(at, _)| at);
                    line.truncate(boundaries.take_while(|at| *at <= LONGEST).last().unwrap_or_default());
                }
                into.push_str(&line);
                into.push('\n');
            }
        }
    }

    /// What it says, for a place that adds the rest.
    pub(super) fn message(&self) -> &str {
        match &self.text {
            Text::Whole(text) => text.trim_end(),
            Text::Message(_, text) | Text::Story(_, text) => text,
        }
    }
}

/// Bytes of tinyproxy's longest line, without its end.
const LONGEST: usize = 798;

/// An event's message and its other fields.
#[derive(Default)]
struct Message {
    message: String,
    fields: String,
}

impl Message {
    /// One line of it: clients have a say in what is logged, and must not be able to make up lines.
    fn text(self) -> String {
        let mut text = String::with_capacity(self.message.len() + self.fields.len());
        for character in self.message.chars().chain(self.fields.chars()) {
            if character.is_control() && character != '\t' {
                text.extend(character.escape_default());
            } else {
                text.push(character);
            }
        }
        text
    }
}

impl Visit for Message {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // A string takes every write.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            // It is the level.
            "critical" => Ok(()),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::{super::writer::Entry, *};

    /// The lines of every kind of event at this level.
    fn lines(level: Level) -> Vec<(Severity, String)> {
        let (sender, entries): (_, Receiver<Entry>) = sync_channel(100);
        let subscriber = tracing_subscriber::registry().with(Lines::new(level, Queue::new(sender)));
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(target: "lockgate", critical = true, "it is over");
            tracing::error!(target: "lockgate::upstream", host = "a", "failed");
            tracing::warn!(target: "lockgate", "odd\r\nCONNECT   forged");
            tracing::info!(target: "lockgate", number = 7, "listening");
            tracing::info!(target: "lockgate::narrative::notice", "refused");
            tracing::info!(target: "lockgate::narrative::connect", "Connect (file descriptor 7): 127.0.0.1");
            tracing::info!(target: "lockgate::narrative", "No upstream proxy for a");
            tracing::debug!(target: "lockgate", "detail");
        });
        let lines = entries.try_iter().filter_map(|entry| match entry {
            Entry::Line(Line { severity, text: Text::Message(_, text) | Text::Story(_, text) }) => {
                Some((severity, text))
            }
            _ => None,
        });
        lines.collect()
    }

    #[test]
    fn each_level_has_what_tinyproxys_has() {
        use Severity::{Connect, Critical, Debug, Error, Info, Notice, Warning};
        for (level, expected) in [
            (Level::Critical, &[Critical][..]),
            (Level::Error, &[Critical, Error]),
            (Level::Warn, &[Critical, Error, Warning]),
            (Level::Notice, &[Critical, Error, Warning, Notice, Notice]),
            (Level::Connect, &[Critical, Error, Warning, Notice, Notice, Connect]),
            (Level::Info, &[Critical, Error, Warning, Notice, Notice, Connect, Info]),
            (Level::Debug, &[Critical, Error, Warning, Notice, Notice, Connect, Info, Debug]),
        ] {
            let found: Vec<_> = lines(level).into_iter().map(|(severity, _)| severity).collect();
            assert_eq!(found, expected, "{level:?}");
        }
    }

    #[test]
    fn an_event_is_one_line_with_its_fields() {
        let texts: Vec<_> = lines(Level::Info).into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts[0], "it is over");
        assert_eq!(texts[1], "failed host=a");
        assert_eq!(texts[2], "odd\\r\\nCONNECT   forged");
        assert_eq!(texts[3], "listening number=7");
    }

    #[test]
    fn what_clients_have_a_say_in_is_cut() {
        let written = |text: fn(Timestamp, String) -> Text, what: &str| {
            let text = text(Timestamp::UNIX_EPOCH, what.to_owned());
            let mut into = String::new();
            Line { severity: Severity::Connect, text }.write(&TimeZone::UTC, 1, &mut into);
            into
        };
        let head = written(Text::Story, "").len() - 1;
        for (what, kept) in [("a", head + 1), (&*"a".repeat(800), 798), (&*"é".repeat(400), 798 - (798 - head) % 2)] {
            let line = written(Text::Story, what);
            assert_eq!((line.len(), line.ends_with('\n')), (kept + 1, true), "{line}");
        }
        assert_eq!(written(Text::Message, &"a".repeat(800)).len(), head + 801, "what we say ourselves is not");
    }

    #[test]
    fn a_line_has_tinyproxys_form() {
        let time: Timestamp = "2026-11-03T16:34:02.008Z".parse().unwrap();
        let line = Line { severity: Severity::Connect, text: Text::Message(time, "Connect: 127.0.0.1".into()) };
        let mut text = String::new();
        line.write(&TimeZone::UTC, 1234, &mut text);
        line.write(&TimeZone::fixed(jiff::tz::offset(2)), 1, &mut text);
        assert_eq!(
            text,
            "CONNECT   Nov 03 16:34:02.008 [1234]: Connect: 127.0.0.1\nCONNECT   Nov 03 18:34:02.008 [1]: Connect: 127.0.0.1\n"
        );
    }
}
