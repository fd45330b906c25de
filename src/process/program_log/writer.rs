//! The thread that writes lines, and the queue in front of it.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::{line::Line, sink::Sink};
use crate::process::plain_file::OpenError;

/// What the writer is told.
pub(super) enum Entry {
    Line(Line),
    /// There is another sink to write to.
    Switch,
    /// Says when everything before this is written.
    Finish(SyncSender<()>),
}

/// Where lines wait.
#[derive(Clone)]
pub(super) struct Queue {
    entries: SyncSender<Entry>,
    lost: Arc<AtomicU64>,
}

/// The running writer.
pub(super) struct Writer {
    queue: Queue,
    next: Arc<Mutex<Option<Sink>>>,
}

impl Queue {
    pub(super) fn new(entries: SyncSender<Entry>) -> Self {
        Self { entries, lost: Arc::default() }
    }

    /// Queues a line; never waits. One that finds no room is counted.
    pub(super) fn offer(&self, line: Line) {
        if self.entries.try_send(Entry::Line(line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Writer {
    pub(super) fn start(entries: Receiver<Entry>, queue: Queue, sink: Sink) -> Result<Self, OpenError> {
        let next = Arc::new(Mutex::new(Some(sink)));
        let (sinks, lost) = (Arc::clone(&next), Arc::clone(&queue.lost));
        thread::Builder::new()
            .name("program-log".into())
            .spawn(move || write(&entries, &sinks, &lost))
            .map_err(|source| OpenError::Open { path: "the thread of the log".into(), source })?;
        Ok(Self { queue, next })
    }

    /// Writes to another sink from the next batch on.
    pub(super) fn switch(&self, sink: Sink) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(sink);
        // With a full queue it is seen all the same: every batch looks.
        let _ = self.queue.entries.try_send(Entry::Switch);
    }

    /// Waits until what is queued is written, at most this long: a pipe that nobody reads must not keep the process.
    pub(super) fn finish(&self, deadline: Duration) {
        let (done, finished) = sync_channel(1);
        let until = Instant::now() + deadline;
        while self.queue.entries.try_send(Entry::Finish(done.clone())).is_err() {
            if Instant::now() >= until {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        // Whether it did makes no difference: there is nowhere to say so.
        let _ = finished.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

fn write(entries: &Receiver<Entry>, next: &Mutex<Option<Sink>>, lost: &AtomicU64) {
    let mut sink = Sink::Off;
    while let Ok(first) = entries.recv() {
        let mut lines = Vec::new();
        let mut finished = None;
        let mut entry = Some(first);
        while let Some(now) = entry {
            match now {
                Entry::Line(line) => lines.push(line),
                Entry::Switch => {}
                Entry::Finish(done) => finished = Some(done),
            }
            entry = if lines.len() < BATCH && finished.is_none() { entries.try_recv().ok() } else { None };
        }
        if let Some(other) = next.lock().unwrap_or_else(PoisonError::into_inner).take() {
            sink = other;
        }
        if !lines.is_empty() {
            let written = sink.write(&lines);
            account(&written, lines.len(), lost);
        }
        if let Some(done) = finished {
            // Whoever asked may have stopped waiting.
            let _ = done.try_send(());
        }
    }
}

/// Counts lines that were not written; told as soon as lines can be written again.
fn account(written: &io::Result<()>, lines: usize, lost: &AtomicU64) {
    match written {
        Err(_) => {
            lost.fetch_add(lines as u64, Ordering::Relaxed);
        }
        Ok(()) => {
            let number = lost.swap(0, Ordering::Relaxed);
            if number > 0 {
                // It takes the way of every other line, and there is room: a batch was taken just now.
                tracing::warn!(target: "lockgate::log", lost = number, "lines of this log were lost: nobody took them, or there was no space");
            }
        }
    }
}

/// Lines that are written at once.
const BATCH: usize = 256;

#[cfg(test)]
mod tests {
    use std::{io::Read as _, path::Path};

    use super::{
        super::line::{Severity, Text},
        *,
    };
    use crate::config::{Destination, Style};

    fn line(text: &str) -> Line {
        Line { severity: Severity::Info, text: Text::Whole(format!("{text}\n")) }
    }

    fn start(destination: &Destination) -> (Queue, Writer) {
        let (sender, entries) = sync_channel(64);
        let queue = Queue::new(sender);
        (queue.clone(), Writer::start(entries, queue, Sink::open(destination, Style::Plain, None).unwrap()).unwrap())
    }

    fn file(path: &Path) -> Destination {
        Destination::File(path.to_owned())
    }

    #[test]
    fn lines_are_there_when_finish_returns_and_go_where_the_switch_says() {
        let directory = tempfile::tempdir().unwrap();
        let (old, new) = (directory.path().join("old"), directory.path().join("new"));
        let (queue, writer) = start(&file(&old));
        queue.offer(line("one"));
        writer.finish(Duration::from_secs(10));
        writer.switch(Sink::open(&file(&new), Style::Plain, None).unwrap());
        queue.offer(line("two"));
        writer.finish(Duration::from_secs(10));
        assert_eq!(std::fs::read_to_string(old).unwrap(), "one\n");
        assert_eq!(std::fs::read_to_string(new).unwrap(), "two\n");
    }

    #[test]
    fn a_pipe_that_nobody_reads_stops_nobody_and_what_is_lost_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let (queue, writer) = start(&file(&path));
        let began = Instant::now();
        // The queue alone holds twice what the pipe takes: however the threads take turns, the last lines find no room,
        // and no later success tells of them.
        for _ in 0..10_000 {
            queue.offer(line(&"x".repeat(2000)));
        }
        writer.finish(Duration::from_secs(10));
        assert!(began.elapsed() < Duration::from_secs(10));
        assert!(queue.lost.load(Ordering::Relaxed) > 0);
        // A reader comes, and lines get through again.
        let mut reader = std::fs::File::open(&path).unwrap();
        let mut buffer = vec![0; 1 << 16];
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut text = String::new();
        while !text.contains("recovered\n") {
            assert!(Instant::now() < deadline, "nothing comes through");
            queue.offer(line("recovered"));
            let length = reader.read(&mut buffer).unwrap();
            text.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
        assert!(text.contains("x\nrecovered\n"), "a torn line has an end: a new line starts the next");
    }

    #[test]
    fn a_full_disk_loses_lines_and_nothing_else() {
        let (queue, writer) = start(&file(Path::new("/dev/full")));
        queue.offer(line("one"));
        writer.finish(Duration::from_secs(10));
        assert_eq!(queue.lost.load(Ordering::Relaxed), 1);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        writer.switch(Sink::open(&file(&path), Style::Plain, None).unwrap());
        queue.offer(line("two"));
        writer.finish(Duration::from_secs(10));
        assert_eq!(std::fs::read_to_string(path).unwrap(), "two\n");
        assert_eq!(queue.lost.load(Ordering::Relaxed), 0, "it was told");
    }
}
