//! What the program says about itself: events of `tracing`, as lines of a style, to a destination.
//!
//! Who has something to say never waits for a file, a pipe or a syslog: lines go into a bounded queue, which a thread of its
//! own empties. Style, level and destination can be changed while it runs.

mod line;
mod sink;
mod syslog;
mod writer;

use std::{
    io::IsTerminal as _,
    sync::{
        Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, sync_channel},
    },
    time::Duration,
};

use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::LevelFilter, fmt, layer::SubscriberExt as _, reload,
    util::SubscriberInitExt as _,
};

use self::{
    line::{Lines, PlainLines},
    sink::Sink,
    writer::{Entry, Queue, Writer},
};
use super::{identity::Owner, plain_file::OpenError};
use crate::config::{Destination, Level, Program, Style};

/// The log of this process.
pub(super) struct ProgramLog {
    queue: Queue,
    output: reload::Handle<Output, Registry>,
    state: Mutex<(Opened, State)>,
}

/// Whoever makes lines of events.
type Output = Box<dyn Layer<Registry> + Send + Sync>;

/// How it was opened last.
#[derive(Clone, PartialEq, Eq)]
struct Opened {
    program: Program,
    destination: Destination,
}

enum State {
    /// Lines wait in the queue until there is a place for them.
    Waiting(Receiver<Entry>),
    Writing(Writer),
    /// Its thread could not be started.
    Failed,
}

impl ProgramLog {
    /// Takes events from now on. They wait until [`open`](Self::open).
    pub(super) fn start(program: &Program, destination: &Destination) -> Self {
        let (sender, entries) = sync_channel(QUEUE);
        let queue = Queue::new(sender);
        let (layer, output) = reload::Layer::new(output(program, destination, &queue));
        // A second one, in a test, keeps the first.
        let _ = tracing_subscriber::registry().with(layer).try_init();
        let opened = Opened { program: program.clone(), destination: destination.clone() };
        Self { queue, output, state: Mutex::new((opened, State::Waiting(entries))) }
    }

    /// Writes to this destination from now on, in the style and at the level of `program`. A file that is created belongs to
    /// `owner`; opened again under the same name, it is the one that log rotation put there.
    pub(super) fn open(
        &self,
        program: &Program,
        destination: &Destination,
        owner: Option<Owner>,
    ) -> Result<(), OpenError> {
        let sink = Sink::open(destination, program.style, owner)?;
        let opened = Opened { program: program.clone(), destination: destination.clone() };
        // A change makes every place in the program that logs be looked at anew.
        if self.lock().0 != opened {
            // It fails when the subscriber is gone, and nothing is said any more.
            let _ = self.output.reload(output(program, destination, &self.queue));
        }
        let mut state = self.lock();
        let next = match std::mem::replace(&mut state.1, State::Failed) {
            State::Writing(writer) => {
                writer.switch(sink);
                State::Writing(writer)
            }
            State::Waiting(entries) => State::Writing(Writer::start(entries, self.queue.clone(), sink)?),
            State::Failed => State::Failed,
        };
        *state = (opened, next);
        Ok(())
    }

    /// What it was opened with.
    pub(super) fn program(&self) -> Program {
        self.lock().0.program.clone()
    }

    /// Waits until everything that was said is written, at most this long.
    pub(super) fn finish(&self, deadline: Duration) {
        if let State::Writing(writer) = &self.lock().1 {
            writer.finish(deadline);
        }
    }

    /// The same for a process that does not serve after all: lines that have no place yet go to standard error.
    pub(super) fn last_words(&self, deadline: Duration) {
        let program = self.program();
        if matches!(self.lock().1, State::Waiting(_)) && self.open(&program, &Destination::Stderr, None).is_err() {
            return;
        }
        self.finish(deadline);
    }

    fn lock(&self) -> MutexGuard<'_, (Opened, State)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn output(program: &Program, destination: &Destination, queue: &Queue) -> Output {
    // An operator who looks for something says so in the environment; it overrides the level. Filters come behind what makes
    // lines: only of the last layer on a registry is heard which levels it wants, and without that every place in the program
    // that might say something asks the filter each time. There are a hundred in h2 for one request.
    let wanted = EnvFilter::try_from_env("LOCKGATE_LOG").ok();
    match (program.style, destination) {
        (_, Destination::Off) => LevelFilter::OFF.boxed(),
        (Style::Tinyproxy, _) => match wanted {
            Some(wanted) => Lines::new(Level::Trace, queue.clone()).and_then(wanted).boxed(),
            None => Lines::new(program.level, queue.clone()).boxed(),
        },
        (Style::Plain, destination) => {
            let filter = wanted.unwrap_or_else(|| EnvFilter::new(plain_filter(program.level)));
            let lines = fmt::layer().with_writer(PlainLines::new(queue.clone()));
            match destination {
                Destination::Stderr => lines.with_ansi(std::io::stderr().is_terminal()).and_then(filter).boxed(),
                Destination::Stdout => lines.with_ansi(std::io::stdout().is_terminal()).and_then(filter).boxed(),
                // It adds its own time and severity.
                Destination::Syslog => lines.with_ansi(false).without_time().with_level(false).and_then(filter).boxed(),
                Destination::File(_) | Destination::Off => lines.with_ansi(false).and_then(filter).boxed(),
            }
        }
    }
}

/// What connections go through is told in tinyproxy's style only: the access log says it better.
fn plain_filter(level: Level) -> &'static str {
    match level {
        Level::Critical | Level::Error => "error,lockgate::narrative=off",
        Level::Warn => "warn,lockgate::narrative=off",
        Level::Notice | Level::Connect | Level::Info => "info,lockgate::narrative=off",
        Level::Debug => "debug,lockgate::narrative=off",
        Level::Trace => "trace,lockgate::narrative=off",
    }
}

/// Lines that may wait.
const QUEUE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_below_the_level_are_not_asked() {
        let queue = Queue::new(sync_channel(1).0);
        for style in [Style::Plain, Style::Tinyproxy] {
            let program = Program { destination: None, style, level: Level::Info };
            for destination in [Destination::Stderr, Destination::Stdout, Destination::Syslog] {
                let wanted = output(&program, &destination, &queue).max_level_hint();
                assert_eq!(wanted, Some(LevelFilter::INFO), "{style:?}, {destination:?}");
            }
        }
    }
}
