//! What the client of an HTTP/2 connection keeps us waiting for, read off the frames that pass.
//!
//! h2 knows the windows and does not tell. A client that reads opens its windows again long before they are used up for good: one
//! that leaves them closed keeps an answer waiting, on a connection that otherwise may look lively.

use std::collections::BTreeMap;

/// Both directions of a connection.
#[derive(Debug)]
pub(super) struct Ledger {
    incoming: Frames,
    outgoing: Frames,
    /// What may be sent and received, on all streams together and on each new one (RFC 9113 §6.9).
    send: Window,
    receive: Window,
    streams: BTreeMap<u32, Account>,
    newest: u32,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    connection: i64,
    initial: i64,
}

/// A request whose answer has not ended.
#[derive(Clone, Copy, Debug)]
struct Account {
    send: i64,
    receive: i64,
    /// The client has said everything.
    is_asked: bool,
    /// The head of the answer is out.
    is_answering: bool,
}

/// Finds the frames in what passes in one direction.
#[derive(Debug)]
struct Frames {
    head: [u8; 9],
    /// Bytes of the head so far; a whole one is that of the frame whose payload passes.
    known: usize,
    /// Bytes of the payload that are still to come.
    left: usize,
    entry: [u8; 6],
    entered: usize,
}

/// What is worth knowing of a frame.
#[derive(Clone, Copy, Debug)]
struct Found {
    kind: u8,
    stream: u32,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// It begins, and is so long.
    Begin { is_last: bool, length: i64 },
    /// A piece of its payload: a setting, or a number of bytes.
    Entry([u8; 6]),
}

impl Ledger {
    pub(super) fn new() -> Self {
        let window = Window { connection: DEFAULT_WINDOW, initial: DEFAULT_WINDOW };
        Self {
            // The client's first words are no frame.
            incoming: Frames::after(24),
            outgoing: Frames::after(0),
            send: window,
            receive: window,
            streams: BTreeMap::new(),
            newest: 0,
        }
    }

    /// How many requests wait for the client: for their bodies, or for it to read. `is_blocked` when it reads nothing at all.
    pub(super) fn waiting(&self, is_blocked: bool) -> usize {
        let is_full = is_blocked || self.send.connection <= 0;
        let may_send = self.receive.connection > 0;
        let waits = |account: &&Account| match account.is_answering {
            true => is_full || account.send <= 0,
            false => !account.is_asked && may_send && account.receive > 0,
        };
        self.streams.values().filter(waits).count()
    }

    /// The client has sent this.
    pub(super) fn receives(&mut self, mut bytes: &[u8]) {
        while let Some(Found { kind, stream, what }) = self.incoming.next(&mut bytes) {
            match (kind, what) {
                (HEADERS, What::Begin { is_last, .. }) if stream > self.newest => {
                    self.newest = stream;
                    let (send, receive) = (self.send.initial, self.receive.initial);
                    if self.streams.len() < MOST {
                        let account = Account { send, receive, is_asked: is_last, is_answering: false };
                        self.streams.insert(stream, account);
                    }
                }
                (DATA | HEADERS, What::Begin { is_last, length, .. }) => {
                    let length = if kind == DATA { length } else { 0 };
                    self.receive.connection -= length;
                    if let Some(account) = self.streams.get_mut(&stream) {
                        account.receive -= length;
                        account.is_asked |= is_last;
                    }
                }
                (RST_STREAM, What::Begin { .. }) => drop(self.streams.remove(&stream)),
                (SETTINGS, What::Entry([0, INITIAL_WINDOW, size @ ..])) => {
                    let size = i64::from(u32::from_be_bytes(size));
                    let more = size - self.send.initial;
                    self.send.initial = size;
                    self.streams.values_mut().for_each(|account| account.send += more);
                }
                (WINDOW_UPDATE, What::Entry(more)) => match self.streams.get_mut(&stream) {
                    _ if stream == 0 => self.send.connection += increment(more),
                    Some(account) => account.send += increment(more),
                    None => {}
                },
                _ => {}
            }
        }
    }

    /// We have sent this.
    pub(super) fn sends(&mut self, mut bytes: &[u8]) {
        while let Some(Found { kind, stream, what }) = self.outgoing.next(&mut bytes) {
            match (kind, what) {
                (DATA | HEADERS, What::Begin { is_last, length, .. }) => {
                    let length = if kind == DATA { length } else { 0 };
                    self.send.connection -= length;
                    if is_last {
                        self.streams.remove(&stream);
                    } else if let Some(account) = self.streams.get_mut(&stream) {
                        account.send -= length;
                        account.is_answering = true;
                    }
                }
                (RST_STREAM, What::Begin { .. }) => drop(self.streams.remove(&stream)),
                (SETTINGS, What::Entry([0, INITIAL_WINDOW, size @ ..])) => {
                    self.receive.initial = i64::from(u32::from_be_bytes(size));
                }
                (WINDOW_UPDATE, What::Entry(more)) => match self.streams.get_mut(&stream) {
                    _ if stream == 0 => self.receive.connection += increment(more),
                    Some(account) => account.receive += increment(more),
                    None => {}
                },
                _ => {}
            }
        }
    }
}

impl Frames {
    /// Frames that begin after so many bytes.
    fn after(left: usize) -> Self {
        // As if they were the payload of a frame of a type that nobody knows.
        let known = if left > 0 { 9 } else { 0 };
        Self { head: [0xff; 9], known, left, entry: [0; 6], entered: 0 }
    }

    fn next(&mut self, bytes: &mut &[u8]) -> Option<Found> {
        loop {
            if self.known == self.head.len() && self.left == 0 {
                (self.known, self.entered) = (0, 0);
            }
            if self.known < self.head.len() {
                take(bytes, &mut self.head[self.known..], &mut self.known)?;
                if self.known < self.head.len() {
                    return None;
                }
                let [a, b, c, kind, flags, ..] = self.head;
                let length = u32::from_be_bytes([0, a, b, c]);
                self.left = length as usize;
                let is_last = flags & END_STREAM != 0 && [DATA, HEADERS].contains(&kind);
                return Some(self.found(What::Begin { is_last, length: i64::from(length) }));
            }
            let wanted = match self.head[3] {
                SETTINGS => 6,
                WINDOW_UPDATE => 4,
                _ => {
                    let passed = self.left.min(bytes.len());
                    *bytes = &bytes[passed..];
                    self.left -= passed;
                    if self.left > 0 {
                        return None;
                    }
                    continue;
                }
            };
            let before = self.entered;
            let room = wanted.min(before + self.left);
            let mut entered = before;
            take(bytes, &mut self.entry[before..room], &mut entered)?;
            self.left -= entered - before;
            self.entered = entered;
            if entered == wanted {
                self.entered = 0;
                return Some(self.found(What::Entry(self.entry)));
            }
        }
    }

    fn found(&self, what: What) -> Found {
        let [.., a, b, c, d] = self.head;
        Found { kind: self.head[3], stream: u32::from_be_bytes([a & 0x7f, b, c, d]), what }
    }
}

/// Moves what is there into `to`. `None` when there is nothing.
fn take(bytes: &mut &[u8], to: &mut [u8], count: &mut usize) -> Option<()> {
    let (now, later) = bytes.split_at(to.len().min(bytes.len()));
    if now.is_empty() {
        return None;
    }
    to[..now.len()].copy_from_slice(now);
    *bytes = later;
    *count += now.len();
    Some(())
}

fn increment([a, b, c, d, ..]: [u8; 6]) -> i64 {
    i64::from(u32::from_be_bytes([a & 0x7f, b, c, d]))
}

/// Frames (RFC 9113 §6) and a setting (§6.5.2).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const INITIAL_WINDOW: u8 = 4;
const END_STREAM: u8 = 1;
const DEFAULT_WINDOW: i64 = 65_535;
/// More requests than any client may have; h2 refuses the rest.
const MOST: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: u8 = 1;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    fn window(stream: u32, more: u32) -> Vec<u8> {
        frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
    }

    fn initial(size: u32) -> Vec<u8> {
        frame(SETTINGS, 0, 0, &[&[0, 1, 0, 0, 0, 0, 0, INITIAL_WINDOW][..], &size.to_be_bytes()].concat())
    }

    /// A connection on which the client has said this, in pieces of every size.
    fn opened(said: &[u8]) -> Vec<Ledger> {
        let said = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", said].concat();
        let ledger = |size| {
            let mut ledger = Ledger::new();
            said.chunks(size).for_each(|piece| ledger.receives(piece));
            ledger
        };
        [1, 2, 3, 7, 9, 24, 25, 1000].map(ledger).into()
    }

    #[test]
    fn an_answer_waits_for_a_client_that_does_not_read() {
        for mut ledger in opened(&[initial(10), frame(HEADERS, LAST, 1, b"head")].concat()) {
            assert_eq!(ledger.waiting(false), 0, "for the server");
            ledger.sends(&frame(HEADERS, 4, 1, b"head"));
            assert_eq!((ledger.waiting(false), ledger.waiting(true)), (0, 1));
            ledger.sends(&frame(DATA, 0, 1, b"0123456789"));
            assert_eq!(ledger.waiting(false), 1);
            ledger.receives(&window(1, 1));
            assert_eq!(ledger.waiting(false), 0);
            ledger.receives(&initial(0));
            assert_eq!(ledger.waiting(false), 1);
            ledger.receives(&window(3, 100));
            assert_eq!(ledger.waiting(false), 1, "another stream's");
            ledger.receives(&frame(RST_STREAM, 0, 1, &[0; 4]));
            assert_eq!(ledger.waiting(true), 0);
        }
    }

    #[test]
    fn all_wait_when_the_window_of_the_connection_is_closed() {
        let asked = [initial(100_000), frame(HEADERS, LAST, 1, b""), frame(HEADERS, LAST, 3, b"")].concat();
        for mut ledger in opened(&asked) {
            ledger.sends(&[frame(HEADERS, 4, 1, b""), frame(HEADERS, 4, 3, b"")].concat());
            for _ in 0..4 {
                assert_eq!(ledger.waiting(false), 0);
                ledger.sends(&frame(DATA, 0, 1, &[0; 16_384]));
            }
            assert_eq!(ledger.waiting(false), 2);
            ledger.receives(&window(0, 3));
            assert_eq!(ledger.waiting(false), 0);
            ledger.sends(&frame(DATA, LAST, 1, &[0]));
            assert_eq!((ledger.waiting(false), ledger.waiting(true)), (0, 1), "one has ended");
        }
    }

    #[test]
    fn a_server_waits_for_a_body_until_it_answers() {
        for mut ledger in opened(&frame(HEADERS, 4, 1, b"head")) {
            ledger.sends(&initial(8));
            assert_eq!(ledger.waiting(false), 1);
            ledger.receives(&frame(DATA, LAST, 1, b"body"));
            assert_eq!(ledger.waiting(false), 0);
            ledger.receives(&frame(HEADERS, 4, 3, b"head"));
            assert_eq!(ledger.waiting(false), 1);
            ledger.receives(&frame(DATA, 0, 3, &[0; 8]));
            assert_eq!(ledger.waiting(false), 0, "it may not send more");
            ledger.sends(&window(3, 8));
            assert_eq!(ledger.waiting(false), 1);
            ledger.receives(&frame(HEADERS, LAST, 3, b"trailers"));
            assert_eq!(ledger.waiting(false), 0);
            ledger.receives(&frame(HEADERS, 4, 5, b"head"));
            ledger.sends(&frame(HEADERS, 4, 5, b"head"));
            assert_eq!(ledger.waiting(false), 0, "both may be silent then");
        }
    }
}
