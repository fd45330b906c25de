//! The access log: one record for each request, written by a thread of its own.
//!
//! A shard never waits for a file or a pipe. It puts the record into a bounded queue; when nobody empties that, records are
//! dropped and counted.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::{Duration, Instant, SystemTime},
};

use http::{Method, StatusCode, Version};
use plugin_api::Client;

mod format;

/// Where the access log goes, and in which form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Where it goes.
    pub sink: Sink,
    /// Its form.
    pub format: Format,
}

/// A place for log lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sink {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// This file, created with mode 0640 when absent; lines are appended.
    File(PathBuf),
}

impl std::fmt::Display for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::Stderr => f.write_str("stderr"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The combined format of web servers, with upstream, duration, route and ending after it.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is known about a request that has ended.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) time: SystemTime,
    pub(crate) client: Client,
    pub(crate) listener: Arc<str>,
    pub(crate) route: Option<Arc<str>>,
    pub(crate) method: Method,
    pub(crate) host: Option<Box<str>>,
    pub(crate) target: Box<str>,
    pub(crate) version: Version,
    pub(crate) status: Option<StatusCode>,
    pub(crate) bytes: u64,
    pub(crate) duration: Duration,
    pub(crate) upstream: Option<Box<str>>,
    pub(crate) ending: &'static str,
    pub(crate) user_agent: Option<Box<str>>,
    pub(crate) referer: Option<Box<str>>,
}

/// The shards' end of the queue.
#[derive(Clone)]
pub(crate) struct AccessLog {
    queue: SyncSender<Entry>,
    lost: Arc<Lost>,
}

/// What the writer is told.
#[expect(clippy::large_enum_variant, reason = "nearly all are records, and a box for each would cost more")]
enum Entry {
    Record(Record),
    /// There is another sink to write to.
    Switch,
}

/// A log that can be written and is not yet.
pub(crate) struct Opened {
    sink: BufWriter<Box<dyn Write + Send>>,
    format: Format,
}

/// The other end: ends the writer.
pub(crate) struct Writer {
    done: Receiver<()>,
    lost: Arc<Lost>,
    next: Arc<Mutex<Option<Opened>>>,
    wake: SyncSender<Entry>,
}

/// Counts records, so that those that are never written can be told.
#[derive(Default)]
struct Lost {
    offered: AtomicU64,
    written: AtomicU64,
}

impl AccessLog {
    /// Opens the sink.
    pub(crate) fn open(config: &LogConfig) -> io::Result<Opened> {
        let sink: Box<dyn Write + Send> = match &config.sink {
            Sink::Stdout => Box::new(io::stdout()),
            Sink::Stderr => Box::new(io::stderr()),
            Sink::File(path) => Box::new(open(path)?),
        };
        Ok(Opened { sink: BufWriter::with_capacity(BUFFER, sink), format: config.format })
    }

    /// Queues a record; never waits.
    pub(crate) fn write(&self, record: Record) {
        self.lost.offered.fetch_add(1, Ordering::Relaxed);
        // A full queue loses it; the count of what was written tells.
        let _ = self.queue.try_send(Entry::Record(record));
    }
}

impl Opened {
    /// Starts the writer thread.
    pub(crate) fn start(self) -> io::Result<(AccessLog, Writer)> {
        let (queue, entries) = sync_channel(QUEUE);
        let (done_sender, done) = sync_channel(1);
        let lost = Arc::new(Lost::default());
        let next = Arc::new(Mutex::new(Some(self)));
        let (counts, switch) = (Arc::clone(&lost), Arc::clone(&next));
        std::thread::Builder::new().name("access-log".into()).spawn(move || {
            drain(&entries, &switch, &counts);
            let _ = done_sender.send(());
        })?;
        let log = AccessLog { queue: queue.clone(), lost: Arc::clone(&lost) };
        Ok((log, Writer { done, lost, next, wake: queue }))
    }
}

impl Writer {
    /// Writes to another sink from the next record on.
    pub(crate) fn switch(&self, opened: Opened) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
        // With a full queue it is seen all the same: every batch looks.
        let _ = self.wake.try_send(Entry::Switch);
    }

    /// Records that were not written, for want of a reader or of space: those still queued count too.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.offered.load(Ordering::Relaxed).saturating_sub(self.lost.written.load(Ordering::Relaxed))
    }

    /// Waits until everything queued is written, at most this long: a pipe that nobody reads must not keep the process.
    /// Every [`AccessLog`] must be gone first.
    pub(crate) fn finish(&mut self, deadline: Duration) {
        // Our own sender would keep the writer waiting.
        self.wake = sync_channel(0).0;
        if self.done.recv_timeout(deadline) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(target: "lockgate::log", "the access log does not take its last lines; they are lost");
        }
    }
}

/// Opens a file to append to, or a named pipe.
fn open(path: &Path) -> io::Result<File> {
    // Opening a pipe for writing waits until somebody reads it; opened for both it is there at once (fifo(7)).
    let is_pipe = std::fs::metadata(path).is_ok_and(|about| about.file_type().is_fifo());
    OpenOptions::new().append(true).read(is_pipe).create(true).mode(0o640).open(path)
}

/// Writes records until every sender is gone. Lines are gathered while more are waiting, and flushed when none are, or
/// when many are: what is written must be counted while requests never cease, too.
fn drain(entries: &Receiver<Entry>, next: &Mutex<Option<Opened>>, counts: &Lost) {
    let mut line = String::new();
    let mut failing: Option<Instant> = None;
    let mut output = None;
    while let Ok(first) = entries.recv() {
        if let Some(opened) = next.lock().unwrap_or_else(PoisonError::into_inner).take() {
            output = Some(opened);
        }
        let Some(Opened { sink, format }) = &mut output else { continue };
        let mut entry = Some(first);
        let mut result = Ok(());
        let mut number = 0;
        while let Some(Entry::Record(record)) = entry {
            line.clear();
            match format {
                Format::Text => format::text(&record, &mut line),
                Format::Json => format::json(&record, &mut line),
            }
            result = result.and(sink.write_all(line.as_bytes()));
            number += 1;
            entry = if number < BATCH { entries.try_recv().ok() } else { None };
        }
        match result.and_then(|()| sink.flush()) {
            Ok(()) => {
                failing = None;
                counts.written.fetch_add(number, Ordering::Relaxed);
            }
            // A full disk says so for every line; once a minute is enough.
            Err(error) if failing.is_none_or(|since| since.elapsed() > Duration::from_secs(60)) => {
                tracing::error!(target: "lockgate::log", %error, "cannot write the access log");
                failing = Some(Instant::now());
            }
            Err(_) => {}
        }
    }
}

/// Records that may wait: at 100 000 requests per second, a tenth of a second of a stuck disk.
const QUEUE: usize = 8 * 1024;
const BUFFER: usize = 64 * 1024;
const BATCH: u64 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn record(target: &str) -> Record {
        Record {
            time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_462_496_123),
            client: "192.0.2.7:1234".parse().unwrap(),
            listener: "http".into(),
            route: Some("site".into()),
            method: Method::GET,
            host: Some("example.com".into()),
            target: target.into(),
            version: Version::HTTP_11,
            status: Some(StatusCode::OK),
            bytes: 42,
            duration: Duration::from_micros(1500),
            upstream: Some("127.0.0.1:8080".into()),
            ending: "complete",
            user_agent: Some("cu\"rl".into()),
            referer: None,
        }
    }

    #[test]
    fn lines_reach_the_file_before_finish_returns() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        let config = LogConfig { sink: Sink::File(path.clone()), format: Format::Json };
        let (log, mut writer) = AccessLog::open(&config).unwrap().start().unwrap();
        for number in 0..100 {
            log.write(record(&format!("/{number}")));
        }
        drop(log);
        writer.finish(Duration::from_secs(10));
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text.lines().count(), 100);
        assert!(text.contains("\"target\":\"/99\""));
        assert_eq!(writer.lost(), 0);
    }

    #[test]
    fn a_named_pipe_that_nobody_reads_does_not_stop_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let config = LogConfig { sink: Sink::File(path.clone()), format: Format::Json };
        let (opened, waiting) = sync_channel(1);
        std::thread::spawn(move || opened.send(AccessLog::open(&config)));
        let opened = waiting.recv_timeout(Duration::from_secs(10)).expect("nothing waits for a reader").unwrap();
        let (log, mut writer) = opened.start().unwrap();
        log.write(record("/first"));
        let mut line = String::new();
        io::BufRead::read_line(&mut io::BufReader::new(File::open(&path).unwrap()), &mut line).unwrap();
        assert!(line.contains("\"target\":\"/first\""), "a reader that comes later finds it: {line}");
        let started = Instant::now();
        for _ in 0..2 * QUEUE {
            log.write(record("/a-longer-target-to-fill-the-pipe-sooner"));
        }
        drop(log);
        writer.finish(Duration::from_millis(50));
        assert!(writer.lost() > 0 && started.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn what_is_written_counts_while_requests_never_cease() {
        let (queue, records) = sync_channel(QUEUE);
        let lost = Arc::new(Lost::default());
        let log = AccessLog { queue, lost: Arc::clone(&lost) };
        let counts = Arc::clone(&lost);
        /// Puts a new record into the queue for every line that is written, so that it is never empty.
        struct Ceaseless(AccessLog, Arc<Lost>);
        impl Write for Ceaseless {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                if self.1.written.load(Ordering::Relaxed) == 0 && self.1.offered.load(Ordering::Relaxed) < 100_000 {
                    self.0.write(record("/"));
                }
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        log.write(record("/"));
        let sink: Box<dyn Write + Send> = Box::new(Ceaseless(log.clone(), Arc::clone(&lost)));
        drop(log);
        let next = Mutex::new(Some(Opened { sink: BufWriter::with_capacity(1, sink), format: Format::Text }));
        std::thread::spawn(move || drain(&records, &next, &counts));
        let deadline = Instant::now() + Duration::from_secs(10);
        while lost.written.load(Ordering::Relaxed) == 0 {
            assert!(Instant::now() < deadline, "nothing counts as written");
            std::thread::yield_now();
        }
        assert!(lost.offered.load(Ordering::Relaxed) < 100_000, "it was counted only when requests ceased");
    }

    #[test]
    fn a_pipe_that_nobody_reads_stops_nothing() {
        let (reader, sink) = io::pipe().unwrap();
        let sink: Box<dyn Write + Send> = Box::new(sink);
        let opened = Opened { sink: BufWriter::new(sink), format: Format::Text };
        let (log, mut writer) = opened.start().unwrap();
        let started = Instant::now();
        for _ in 0..4 * QUEUE {
            log.write(record("/a-longer-target-to-fill-the-pipe-sooner"));
        }
        assert!(writer.lost() > 0, "the pipe is full and the queue too");
        drop(log);
        writer.finish(Duration::from_millis(50));
        assert!(started.elapsed() < Duration::from_secs(10), "nothing waited for the reader");
        drop(reader);
    }

    #[test]
    fn another_sink_takes_what_comes_after_the_switch() {
        let directory = tempfile::tempdir().unwrap();
        let to = |name: &str| LogConfig { sink: Sink::File(directory.path().join(name)), format: Format::Json };
        let lines = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap().lines().count();
        let (log, mut writer) = AccessLog::open(&to("first")).unwrap().start().unwrap();
        log.write(record("/"));
        let deadline = Instant::now() + Duration::from_secs(10);
        while lines("first") == 0 {
            assert!(Instant::now() < deadline, "it is not written");
            std::thread::yield_now();
        }
        writer.switch(AccessLog::open(&to("second")).unwrap());
        log.write(record("/"));
        drop(log);
        writer.finish(Duration::from_secs(10));
        assert_eq!((lines("first"), lines("second"), writer.lost()), (1, 1, 0));
    }
}
