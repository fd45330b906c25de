//! One visitor and the errand that it does.

use std::{
    io,
    net::SocketAddr,
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use rustls::version::{TLS12, TLS13};

use super::{
    Shared,
    client::{self, Client, Line, Memory},
    curl,
};
use crate::site::{Question, Wish};

/// One of them.
pub(super) struct Visitor<'s> {
    shared: &'s Shared,
    errand: Errand,
    address: SocketAddr,
    /// By each version of TLS.
    clients: [Client; 2],
    /// Counts names.
    turn: usize,
    /// Counts requests.
    number: u64,
    line: Option<Line>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Errand {
    Kept,
    Post,
    Download,
    /// On a new connection each time.
    Fresh,
    /// The same, by the session of the last time.
    Again,
    /// A handshake and nothing else.
    Look,
    /// HTTP/2.
    Curl,
}

impl<'s> Visitor<'s> {
    pub(super) fn new(shared: &'s Shared, number: usize) -> Self {
        let errands =
            [Errand::Look, Errand::Kept, Errand::Fresh, Errand::Again, Errand::Post, Errand::Curl, Errand::Download];
        let errand = errands[number / 2 % errands.len()];
        let memory = if matches!(errand, Errand::Look | Errand::Fresh) { Memory::None } else { Memory::Sessions };
        Self {
            shared,
            errand,
            address: shared.site.addresses[number % shared.site.addresses.len()],
            clients: [&TLS12, &TLS13].map(|version| Client::new(&shared.believed, version, memory)),
            // Those who do the same are not at the same name.
            turn: number * shared.names.len() / 2,
            number: 0,
            line: None,
        }
    }

    /// Goes on until all of them are to stop.
    pub(super) fn work(mut self) {
        while !self.shared.stop.load(Ordering::SeqCst) {
            self.number += 1;
            match self.errand {
                Errand::Look => self.look(),
                Errand::Curl => self.curl(),
                Errand::Kept | Errand::Post | Errand::Download | Errand::Fresh | Errand::Again => self.ask(),
            }
            thread::sleep(self.errand.pause());
        }
        if let Some(line) = self.line.take() {
            client::hang_up(line);
        }
    }

    /// Moves on to the next name.
    fn next(&mut self) -> &'s str {
        self.turn += 1;
        self.name()
    }

    fn name(&self) -> &'s str {
        &self.shared.names[self.turn % self.shared.names.len()]
    }

    fn look(&mut self) {
        let watched = self.shared.names.get(self.shared.watched.load(Ordering::SeqCst));
        let name = match watched.filter(|_| self.number.is_multiple_of(2)) {
            Some(watched) => watched,
            None => self.next(),
        };
        if let Some(line) = self.shake(name) {
            client::hang_up(line);
        }
    }

    fn ask(&mut self) {
        let wish = match self.errand {
            Errand::Post => Wish::Echo(self.number),
            Errand::Download => Wish::Download,
            Errand::Kept => Wish::Page,
            _ => Wish::LastPage,
        };
        match self.kept_line() {
            Ok(Some(line)) => {
                let result = self.exchange(line, wish);
                self.judge(result);
            }
            Ok(None) => {
                let name = self.next();
                if let Some(line) = self.shake(name) {
                    let result = self.exchange(line, wish);
                    self.judge(result);
                }
            }
            Err(error) => self.judge(Err(format!("idle: {error} ({:?})", error.kind()))),
        }
    }

    /// The connection of the last request, if it is to be used again and can be.
    fn kept_line(&mut self) -> io::Result<Option<Line>> {
        let Some(line) = self.line.take() else { return Ok(None) };
        match client::still_open(line)? {
            Some(line) if self.number.is_multiple_of(STAY) => {
                client::hang_up(line);
                Ok(None)
            }
            None => {
                self.shared.lock().report.reopened += 1;
                Ok(None)
            }
            line => Ok(line),
        }
    }

    fn exchange(&mut self, mut line: Line, wish: Wish) -> Result<(), String> {
        let question = Question::new(&self.shared.site, self.name(), wish);
        let told = |error: io::Error| format!("{error} ({:?})", error.kind());
        let answer = line.exchange(&question.text).map_err(told)?;
        question.judge(self.address, &answer)?;
        let closes = answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if !closes && wish != Wish::LastPage {
            self.line = Some(line);
            return Ok(());
        }
        let rest = line.rest().map_err(told)?;
        if rest.is_empty() { Ok(()) } else { Err("there is more after the answer".to_owned()) }
    }

    fn shake(&self, name: &str) -> Option<Line> {
        // The other version when it comes to this name the next time.
        let version = self.turn % self.shared.names.len() + self.turn / self.shared.names.len();
        let begun = Instant::now();
        let shaken = self.clients[version % 2].shake(self.address, name);
        let mut tally = self.shared.lock();
        tally.shaking.push(begun.elapsed());
        match shaken {
            Ok(shaken) => {
                tally.shaken(self.address, name, shaken.leaf.is_none());
                if let Some(leaf) = &shaken.leaf {
                    tally.sightings.see(name, leaf, begun);
                }
                Some(shaken.line)
            }
            Err(error) => {
                tally.shaken(self.address, name, false);
                let (errand, address) = (self.errand, self.address);
                tally.report.failed_handshakes += 1;
                tally.fail(format!("{errand:?} {address} {name}: no handshake: {error} ({:?})", error.kind()));
                None
            }
        }
    }

    fn curl(&mut self) {
        let (name, shared) = (self.next(), self.shared);
        let result = curl::visit(&shared.place, &shared.site, self.address, name, &shared.believed);
        {
            // It says no more than that all was well, or what was not.
            let mut tally = shared.lock();
            tally.shaken(self.address, name, false);
            tally.report.over_http2 += curl::REQUESTS;
        }
        self.shared.judge(curl::REQUESTS, result.map_err(|reason| self.about(&reason)));
    }

    fn judge(&self, result: Result<(), String>) {
        self.shared.judge(1, result.map_err(|reason| self.about(&reason)));
    }

    fn about(&self, reason: &str) -> String {
        format!("{:?} {} {}: {reason}", self.errand, self.address, self.name())
    }
}

impl Errand {
    /// Visitors read what they got; a machine with two cores must have time for the rest of the world.
    fn pause(self) -> Duration {
        Duration::from_millis(match self {
            // Every name is looked at several times in a second.
            Self::Look => 10,
            Self::Kept | Self::Post | Self::Fresh | Self::Again => 20,
            // Megabytes to decrypt, and a process to start.
            Self::Download | Self::Curl => 200,
        })
    }
}

/// Requests on a kept connection before its visitor goes to the next name.
const STAY: u64 = 50;
