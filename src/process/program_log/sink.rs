//! Where lines end up.

use std::{
    fs::File,
    io::{self, Write as _},
    os::fd::{AsFd, OwnedFd},
};

use jiff::tz::TimeZone;

use super::{line::Line, syslog::Syslog};
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
            Destination::File(path) => Ok(Self::Stream(Stream::new(append(path, mode, owner)?))),
            Destination::Syslog => Ok(Self::Syslog(Syslog::new(SYSLOG.into(), ident(style)))),
            Destination::Off => Ok(Self::Off),
        }
    }

    /// Writes some lines. An error means that some of them are not written.
    pub(super) fn write(&mut self, lines: &[Line]) -> io::Result<()> {
        match self {
            Self::Stream(stream) => stream.write(lines),
            Self::Syslog(syslog) => lines.iter().try_for_each(|line| syslog.send(line)),
            Self::Off => Ok(()),
        }
    }
}

impl Stream {
    fn new(file: File) -> Self {
        Self { file, zone: TimeZone::system(), process: std::process::id(), is_torn: false }
    }

    fn write(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut text = String::new();
        if self.is_torn {
            text.push('\n');
        }
        for line in lines {
            line.write(&self.zone, self.process, &mut text);
        }
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.is_torn = rest.get(written - 1) != Some(&b'\n');
                    rest = rest.get(written..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
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
