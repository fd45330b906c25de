//! What commands print: the one module that writes to standard output and standard error.
#![expect(clippy::print_stderr, reason = "this is the module that prints")]

use std::{
    error::Error,
    io::{IsTerminal as _, Write as _},
};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::config::{Level, LoadError};

/// Prints a result.
pub(crate) fn line(text: impl AsRef<str>) {
    // Whoever reads may have enough, as `head` does.
    let _ = writeln!(std::io::stdout(), "{}", text.as_ref());
}

/// Prints an error.
pub(crate) fn error(text: impl AsRef<str>) {
    eprintln!("lockgate: {}", text.as_ref());
}

/// Prints text as it is, such as a list of problems that carry their own places.
pub(crate) fn plain(text: impl AsRef<str>) {
    eprint!("{}", text.as_ref());
}

/// Prints an error with all its causes, and what to do about it.
pub(crate) fn chain(problem: &dyn Error, hint: Option<&str>) {
    error(sentence(problem));
    if let Some(hint) = hint {
        eprintln!("  hint: {hint}");
    }
}

/// Prints why a configuration cannot be used.
pub(crate) fn load_error(error: &LoadError) {
    match error {
        LoadError::Problems(problems) | LoadError::Filter(problems) | LoadError::Listen(problems) => {
            plain(problems.to_string())
        }
        LoadError::Read { .. } => chain(error, None),
    }
}

/// Prints what to do about an error.
pub(crate) fn hint(text: &str) {
    eprintln!("  hint: {text}");
}

/// Prints what a long command is doing: with the time since it began for people, plainly for programs.
pub(crate) fn progress(since: std::time::Duration, text: &str) {
    if std::io::stderr().is_terminal() {
        eprintln!("\u{1b}[2m{:>6.1} s\u{1b}[0m  {text}", since.as_secs_f64());
    } else {
        eprintln!("lockgate: {text}");
    }
}

/// An error and its causes in one line.
pub(crate) fn sentence(problem: &dyn Error) -> String {
    let mut text = problem.to_string();
    let mut cause = problem.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // A transparent wrapper repeats what it wraps.
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Sends what the program says about itself to standard error. `LOCKGATE_LOG` overrides the level, in the syntax of
/// `tracing_subscriber::EnvFilter`.
pub(crate) fn start_log(level: Level) {
    let default = match level {
        Level::Critical | Level::Error => "error",
        Level::Warn => "warn",
        Level::Notice | Level::Connect | Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    let filter = EnvFilter::try_from_env("LOCKGATE_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let layer = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    // A second call, in a test, keeps the first.
    let _ = tracing_subscriber::registry().with(filter).with(layer).try_init();
}
