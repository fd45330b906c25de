//! The local syslog: datagrams to its socket in the form of RFC 3164, as syslog(3) sends them.

use std::{io, os::unix::net::UnixDatagram, path::PathBuf, time::Duration};

use jiff::Zoned;

use super::line::{Line, Severity};

/// A syslog that may come and go.
pub(super) struct Syslog {
    path: PathBuf,
    socket: Option<UnixDatagram>,
    ident: String,
}

impl Syslog {
    /// The one that listens on `path`; a program called `ident` is talking to it.
    pub(super) fn new(path: PathBuf, ident: &str) -> Self {
        Self { path, socket: None, ident: ident.to_owned() }
    }

    /// Sends a line; a syslog that was started again in the meantime is found again.
    pub(super) fn send(&mut self, line: &Line) -> io::Result<()> {
        let datagram = datagram(line, &self.ident, std::process::id(), &Zoned::now());
        if let Some(socket) = &self.socket {
            if socket.send(&datagram).is_ok() {
                return Ok(());
            }
            self.socket = None;
        }
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.connect(&self.path)?;
        socket.send(&datagram)?;
        self.socket = Some(socket);
        Ok(())
    }
}

fn datagram(line: &Line, ident: &str, process: u32, now: &Zoned) -> Vec<u8> {
    let priority = FACILITY_USER * 8 + number(line.severity);
    let message = line.message();
    let fits =
        message.char_indices().map(|(start, character)| start + character.len_utf8()).take_while(|end| *end <= LONGEST);
    let message = message.get(..fits.last().unwrap_or(0)).unwrap_or_default();
    format!("<{priority}>{} {ident}[{process}]: {message}", now.strftime("%b %e %H:%M:%S")).into_bytes()
}

/// The severities of RFC 5424, section 6.2.1. It has none between notice and info: CONNECT is the latter.
fn number(severity: Severity) -> u8 {
    match severity {
        Severity::Critical => 2,
        Severity::Error => 3,
        Severity::Warning => 4,
        Severity::Notice => 5,
        Severity::Connect | Severity::Info => 6,
        Severity::Debug => 7,
    }
}

const FACILITY_USER: u8 = 1;
/// Bytes of a message; receivers cut at 8 KiB or earlier.
const LONGEST: usize = 7 * 1024;
/// For a syslog whose queue is full. Only the log's own thread waits.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{super::line::Text, *};

    fn line(severity: Severity, text: &str) -> Line {
        Line { severity, text: Text::Message(Timestamp::now(), text.into()) }
    }

    fn received(socket: &UnixDatagram) -> String {
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut buffer = [0; 16 * 1024];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn the_form_is_that_of_syslog_3() {
        let now: Zoned = "2026-11-03T04:05:06[UTC]".parse().unwrap();
        let text = |severity| String::from_utf8(datagram(&line(severity, "hello"), "tinyproxy", 42, &now)).unwrap();
        assert_eq!(text(Severity::Critical), "<10>Nov  3 04:05:06 tinyproxy[42]: hello");
        for (severity, priority) in [
            (Severity::Error, 11),
            (Severity::Warning, 12),
            (Severity::Notice, 13),
            (Severity::Connect, 14),
            (Severity::Info, 14),
            (Severity::Debug, 15),
        ] {
            assert!(text(severity).starts_with(&format!("<{priority}>")), "{severity:?}");
        }
        let long = datagram(&line(Severity::Info, &"ä".repeat(5000)), "tinyproxy", 42, &now);
        assert!(long.len() <= 8 * 1024 && String::from_utf8(long).is_ok());
    }

    #[test]
    fn a_syslog_that_was_started_again_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut syslog = Syslog::new(path.clone(), "lockgate");
        assert!(syslog.send(&line(Severity::Notice, "nobody listens")).is_err());
        let first = UnixDatagram::bind(&path).unwrap();
        syslog.send(&line(Severity::Notice, "one")).unwrap();
        assert!(received(&first).ends_with(": one"));
        drop(first);
        std::fs::remove_file(&path).unwrap();
        let second = UnixDatagram::bind(&path).unwrap();
        syslog.send(&line(Severity::Notice, "two")).unwrap();
        assert!(received(&second).ends_with(": two"));
    }
}
