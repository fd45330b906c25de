//! Where lines end up.

use std::{
    fs::File,
    io::{self, Write as _},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use jiff::{Timestamp, tz::TimeZone};

use super::{
    line::{Line, Severity, Text},
    syslog::Syslog,
};
use crate::{
    config::{Destination, Style},
    process::{
        identity::Owner,
        plain_file::{OpenError, append},
    },
};

/// A place for lines that is open.
pub(super) enum Sink {
    Stream(Stream),
    Backed(Backed),
    Syslog(Syslog),
    Off,
}

/// A file or a pipe.
pub(super) struct Stream {
    file: File,
    zone: TimeZone,
    process: u32,
    /// The last write ended within a line.
    is_torn: bool,
}

/// A file, and the syslog for what it does not take: on a full disk tinyproxy goes on there.
pub(super) struct Backed {
    stream: Stream,
    path: PathBuf,
    syslog: Syslog,
    /// Whether the syslog knows why it gets these lines.
    is_told: bool,
}

/// Lines that a stream did not take: all from this one on.
struct Refused {
    from: usize,
    error: io::Error,
}

impl Sink {
    pub(super) fn open(destination: &Destination, style: Style, owner: Option<Owner>) -> Result<Self, OpenError> {
        let standard = |stream: io::Result<OwnedFd>, name: &str| {
            let file = stream.map_err(|source| OpenError::Open { path: name.into(), source })?;
            Ok(Self::Stream(Stream::new(file.into())))
        };
        // tinyproxy keeps its log to itself.
        let mode = if style == Style::Tinyproxy { 0o600 } else { 0o640 };
        match destination {
            Destination::Stderr => standard(io::stderr().as_fd().try_clone_to_owned(), "stderr"),
            Destination::Stdout => standard(io::stdout().as_fd().try_clone_to_owned(), "stdout"),
            Destination::File(path) => {
                let stream = Stream::new(append(path, mode, owner)?);
                Ok(match style {
                    Style::Plain => Self::Stream(stream),
                    Style::Tinyproxy => Self::Backed(Backed::new(stream, path, syslog(style))),
                })
            }
            Destination::Syslog => Ok(Self::Syslog(syslog(style))),
            Destination::Off => Ok(Self::Off),
        }
    }

    /// Writes some lines. An error means that some of them are not written.
    pub(super) fn write(&mut self, lines: &[Line]) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.write(lines).map_err(|refused| refused.error),
            Self::Backed(backed) => backed.write(lines),
            Self::Syslog(syslog) => lines.iter().try_for_each(|line| syslog.send(line)),
            Self::Off => Ok(()),
        }
    }
}

impl Stream {
    fn new(file: File) -> Self {
        Self { file, zone: TimeZone::system(), process: std::process::id(), is_torn: false }
    }

    fn write(&mut self, lines: &[Line]) -> Result<(), Refused> {
        let mut text = String::new();
        if self.is_torn {
            text.push('\n');
        }
        let mut ends = Vec::with_capacity(lines.len());
        for line in lines {
            line.write(&self.zone, self.process, &mut text);
            ends.push(text.len());
        }
        self.write_text(&text).map_err(|(written, error)| {
            let from = ends.iter().take_while(|end| **end <= written).count();
            Refused { from, error }
        })
    }

    /// An error comes with how much was written before it.
    fn write_text(&mut self, text: &str) -> Result<(), (usize, io::Error)> {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return Err((text.len() - rest.len(), io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    self.is_torn = rest.get(written - 1) != Some(&b'\n');
                    rest = rest.get(written..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((text.len() - rest.len(), error)),
            }
        }
        Ok(())
    }
}

impl Backed {
    fn new(stream: Stream, path: &Path, syslog: Syslog) -> Self {
        Self { stream, path: path.to_owned(), syslog, is_told: false }
    }

    /// The file is tried each time: there may be room again.
    fn write(&mut self, lines: &[Line]) -> io::Result<()> {
        let Err(Refused { from, error }) = self.stream.write(lines) else {
            self.is_told = false;
            return Ok(());
        };
        // A pipe whose reader is slow has had what it can have.
        if error.kind() == io::ErrorKind::WouldBlock {
            return Err(error);
        }
        if !self.is_told {
            let path = self.path.display();
            let why = format!("cannot write to {path}: {error}; what it does not take goes to the syslog");
            self.syslog.send(&Line { severity: Severity::Critical, text: Text::Message(Timestamp::now(), why) })?;
            self.is_told = true;
        }
        lines.iter().skip(from).try_for_each(|line| self.syslog.send(line))
    }
}

/// That of this machine.
fn syslog(style: Style) -> Syslog {
    Syslog::new(SYSLOG.into(), ident(style))
}

/// As what the syslog knows us: its rules look for this.
fn ident(style: Style) -> &'static str {
    match style {
        Style::Plain => "lockgate",
        Style::Tinyproxy => "tinyproxy",
    }
}

/// Where the syslog of a machine listens (syslog(3)).
const SYSLOG: &str = "/dev/log";

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixDatagram, time::Duration};

    use super::*;

    fn line(text: &str) -> Line {
        Line { severity: Severity::Notice, text: Text::Message(Timestamp::now(), text.to_owned()) }
    }

    #[test]
    fn what_a_full_disk_does_not_take_is_in_the_syslog_and_why() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("syslog");
        let receiver = UnixDatagram::bind(&place).unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let received = || {
            let mut buffer = [0; 1024];
            let length = receiver.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        let full = Path::new("/dev/full");
        let stream = Stream::new(append(full, 0o600, None).unwrap());
        let mut backed = Backed::new(stream, full, Syslog::new(place, "tinyproxy"));
        backed.write(&[line("one"), line("two")]).unwrap();
        assert!(received().contains("cannot write to /dev/full: No space left on device"));
        assert!(received().ends_with(": one"));
        assert!(received().ends_with(": two"));
        backed.write(&[line("three")]).unwrap();
        assert!(received().ends_with(": three"), "it is told once");
        // Where there is room again, the syslog hears no more of it.
        let file = directory.path().join("log");
        backed.stream = Stream::new(append(&file, 0o600, None).unwrap());
        backed.write(&[line("four")]).unwrap();
        assert!(std::fs::read_to_string(file).unwrap().ends_with(": four\n"));
        receiver.set_nonblocking(true).unwrap();
        assert!(receiver.recv(&mut [0; 16]).is_err());
        assert!(!backed.is_told);
    }

    #[test]
    fn without_a_syslog_either_lines_are_lost() {
        let full = Path::new("/dev/full");
        let stream = Stream::new(append(full, 0o600, None).unwrap());
        let mut backed = Backed::new(stream, full, Syslog::new("/nowhere/log".into(), "tinyproxy"));
        assert!(backed.write(&[line("one")]).is_err());
    }
}
