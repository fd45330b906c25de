//! An HTTP/2 client that sends exactly the frames that it is given ([RFC 9113](https://www.rfc-editor.org/rfc/rfc9113)) over TLS,
//! and keeps no rule of its own: what a server does with clients like that is what it is for.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

use crate::TlsClient;

/// A connection on which every read and write has a deadline.
#[derive(Debug)]
pub struct Http2 {
    stream: TlsClient,
    unread: Vec<u8>,
    /// What the server said before it ended the connection.
    gone: Option<u32>,
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type: one of [`kind`].
    pub kind: u8,
    /// Its flags: those of [`flag`].
    pub flags: u8,
    /// The stream that it is about; 0 for the connection.
    pub stream: u32,
    /// What is in it.
    pub payload: Vec<u8>,
}

/// Types of frames.
pub mod kind {
    #![allow(missing_docs, reason = "they are named as in RFC 9113 §6")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub mod flag {
    #![allow(missing_docs, reason = "they are named as in RFC 9113 §6")]
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
    pub const PRIORITY: u8 = 32;
}

/// How a stream ended for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a whole answer: its status, and the bytes of its body.
    Answered(u16, usize),
    /// The server reset it with this code.
    Reset(u32),
    /// The server ended the connection with this code.
    GoneAway(u32),
    /// The server closed the connection and did not say why.
    Closed,
}

impl Frame {
    /// A frame with these flags.
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, flags, stream, payload: payload.into() }
    }

    /// Its bytes; the length field says what is there, up to what it can say.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX).to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], self.kind, self.flags];
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// The head of a request that is over with it, unless it has a body.
    #[must_use]
    pub fn request(stream: u32, fields: &[(&str, &str)], has_body: bool) -> Self {
        let end = if has_body { 0 } else { flag::END_STREAM };
        Self::new(kind::HEADERS, flag::END_HEADERS | end, stream, fields_block(fields))
    }

    /// Asks for a page.
    #[must_use]
    pub fn get(stream: u32, path: &str) -> Self {
        Self::request(stream, &[(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", path)], false)
    }

    /// Begins a request with a body.
    #[must_use]
    pub fn post(stream: u32, path: &str) -> Self {
        Self::request(stream, &[(":method", "POST"), (":scheme", "https"), (":authority", HOST), (":path", path)], true)
    }

    /// Lets the server send more on a stream, or on all of them.
    #[must_use]
    pub fn window(stream: u32, more: u32) -> Self {
        Self::new(kind::WINDOW_UPDATE, 0, stream, more.to_be_bytes())
    }

    /// Gives a stream up.
    #[must_use]
    pub fn reset(stream: u32) -> Self {
        Self::new(kind::RST_STREAM, 0, stream, CANCEL.to_be_bytes())
    }

    /// Settings.
    #[must_use]
    pub fn settings(all: &[(u16, u32)]) -> Self {
        let payload = all.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
        Self::new(kind::SETTINGS, 0, 0, payload.collect::<Vec<u8>>())
    }
}

impl Http2 {
    /// Connects, agrees on HTTP/2, and says nothing.
    ///
    /// # Errors
    /// What the system or the server says; `Unsupported` when the server does not want HTTP/2.
    pub fn connect(address: SocketAddr, ca: &Path) -> io::Result<Self> {
        Self::over(TcpStream::connect_timeout(&address, Self::DEADLINE)?, ca)
    }

    /// The same over a stream that is connected already.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn over(stream: TcpStream, ca: &Path) -> io::Result<Self> {
        let stream = TlsClient::over(stream, ca, HOST, &["h2"])?;
        if stream.protocol() != Some("h2") {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Self { stream, unread: Vec::new(), gone: None })
    }

    /// Connects and opens the connection with these settings.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn open(address: SocketAddr, ca: &Path, settings: &[(u16, u32)]) -> io::Result<Self> {
        let mut client = Self::connect(address, ca)?;
        client.begin(settings)?;
        Ok(client)
    }

    /// Opens the connection with these settings.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn begin(&mut self, settings: &[(u16, u32)]) -> io::Result<()> {
        // Without a table of fields, what the server sends can be read without having read everything before.
        self.send(&[PREFACE, &Frame::settings(&[settings, &[(HEADER_TABLE_SIZE, 0)]].concat()).bytes()].concat())
    }

    /// How long a read or write may take.
    pub const DEADLINE: Duration = TlsClient::DEADLINE;

    /// The socket, for its deadlines and its buffers.
    #[must_use]
    pub fn socket(&self) -> &TcpStream {
        self.stream.socket()
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// What the system says; a server that is gone is `BrokenPipe` or `ConnectionReset`.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Sends frames.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_frames(&mut self, frames: &[Frame]) -> io::Result<()> {
        self.send(&frames.iter().flat_map(Frame::bytes).collect::<Vec<u8>>())
    }

    /// The next frame; `None` at the end of the connection.
    ///
    /// # Errors
    /// What the system says; `UnexpectedEof` in the middle of a frame, or when the end of TLS is missing.
    pub fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(head) = self.unread.first_chunk::<9>() {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                if self.unread.len() >= 9 + length {
                    let (kind, flags) = (head[3], head[4]);
                    let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
                    let payload = self.unread.drain(..9 + length).skip(9).collect();
                    return Ok(Some(Frame { kind, flags, stream, payload }));
                }
            }
            let mut piece = [0; 16 * 1024];
            match self.stream.read(&mut piece)? {
                0 if self.unread.is_empty() => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.unread.extend_from_slice(&piece[..read]),
            }
        }
    }

    /// Reads until this stream has ended, acknowledges what wants it, and lets the server send all that it has to.
    ///
    /// # Errors
    /// What the system says.
    pub fn ending(&mut self, stream: u32) -> io::Result<Ending> {
        let (mut status, mut length) = (0, 0);
        while let Some(frame) = self.next_or_end()? {
            self.acknowledge(&frame)?;
            if frame.stream != stream {
                continue;
            }
            match frame.kind {
                kind::HEADERS if status < 200 => status = status_in(&frame.payload)?,
                kind::DATA => length += frame.payload.len(),
                kind::RST_STREAM => return Ok(Ending::Reset(code_in(&frame.payload, 0))),
                _ => {}
            }
            let may_end = [kind::DATA, kind::HEADERS].contains(&frame.kind);
            if may_end && frame.flags & flag::END_STREAM != 0 {
                return Ok(Ending::Answered(status, length));
            }
        }
        Ok(self.gone.map_or(Ending::Closed, Ending::GoneAway))
    }

    /// Reads to the end of the connection, and says with which code it ended. As [`Self::ending`] otherwise.
    ///
    /// # Errors
    /// What the system says.
    pub fn end(&mut self) -> io::Result<Ending> {
        // No server uses this one.
        self.ending(0x7fff_fffe)
    }

    /// Asks for a page, and how that ended.
    ///
    /// # Errors
    /// What the system says.
    pub fn exchange(&mut self, stream: u32, path: &str) -> io::Result<Ending> {
        self.send_frames(&[Frame::get(stream, path)])?;
        self.ending(stream)
    }

    /// Ends our direction of the socket, as a client that is gone.
    ///
    /// # Errors
    /// What the system says.
    pub fn shut_down(&self) -> io::Result<()> {
        self.stream.socket().shutdown(Shutdown::Both)
    }

    /// A connection that breaks is at its end, too.
    fn next_or_end(&mut self) -> io::Result<Option<Frame>> {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        match self.next_frame() {
            Err(error) if [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof].contains(&error.kind()) => {
                Ok(None)
            }
            other => other,
        }
    }

    fn acknowledge(&mut self, frame: &Frame) -> io::Result<()> {
        let answer = match frame.kind {
            kind::SETTINGS if frame.flags & flag::ACK == 0 => vec![Frame::new(kind::SETTINGS, flag::ACK, 0, [])],
            kind::PING if frame.flags & flag::ACK == 0 => {
                vec![Frame::new(kind::PING, flag::ACK, 0, frame.payload.clone())]
            }
            kind::DATA if !frame.payload.is_empty() => {
                let more = u32::try_from(frame.payload.len()).unwrap_or(1);
                vec![Frame::window(0, more), Frame::window(frame.stream, more)]
            }
            kind::GOAWAY => {
                self.gone = Some(code_in(&frame.payload, 4));
                return Ok(());
            }
            _ => return Ok(()),
        };
        match self.send_frames(&answer) {
            // Whoever is gone has said why before.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Ok(()),
            other => other,
        }
    }
}

/// A block of fields as HPACK's literals without indexing (RFC 7541 §6.2.2), which need no state.
#[must_use]
pub fn fields_block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            string_length(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// The length of a string that is not Huffman-coded (RFC 7541 §5.1, §5.2).
fn string_length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        block.push(u8::try_from(length).unwrap_or(0));
        return;
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap_or(0) | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap_or(0));
}

/// The status in a block of fields, which comes first, and needs no table of fields.
fn status_in(block: &[u8]) -> io::Result<u16> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, format!("no status in {block:02x?}"));
    // Changes of the table's size (RFC 7541 §6.3).
    let start = block.iter().position(|byte| byte & 0xe0 != 0x20).ok_or_else(wrong)?;
    let block = &block[start..];
    let known = [200, 204, 206, 304, 400, 404, 500];
    match block {
        [indexed @ 0x88..=0x8e, ..] => Ok(known[usize::from(indexed - 0x88)]),
        // A literal whose name is `:status`, with three digits, or the Huffman code of those.
        [8 | 0x18 | 0x48, 3, digits @ ..] => {
            let digits = digits.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
            digits.and_then(|digits| digits.parse().ok()).ok_or_else(wrong)
        }
        [8 | 0x18 | 0x48, length, coded @ ..] if length & 0x80 != 0 => {
            let coded = coded.get(..usize::from(length & 0x7f)).ok_or_else(wrong)?;
            decoded(coded).ok_or_else(wrong)
        }
        _ => Err(wrong()),
    }
}

/// Three digits in Huffman code (RFC 7541, appendix B): those up to 2 have five bits, the others six.
fn decoded(coded: &[u8]) -> Option<u16> {
    let bits: Vec<u8> = coded.iter().flat_map(|byte| (0..8).rev().map(move |shift| byte >> shift & 1)).collect();
    let number = |bits: &[u8]| bits.iter().fold(0, |sum, bit| sum * 2 + u16::from(*bit));
    let (mut at, mut status) = (0, 0);
    for _ in 0..3 {
        let short = number(bits.get(at..at + 5)?);
        let (digit, length) = if short <= 2 { (short, 5) } else { (number(bits.get(at..at + 6)?).checked_sub(22)?, 6) };
        status = status * 10 + digit;
        at += length;
    }
    Some(status)
}

fn code_in(payload: &[u8], at: usize) -> u32 {
    payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(u32::MAX, u32::from_be_bytes)
}

/// What a client says first (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The host that requests are for, and that the server's certificate must have.
pub const HOST: &str = "a.example";
const HEADER_TABLE_SIZE: u16 = 1;
const CANCEL: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_in_every_form() {
        for (block, status) in [
            (&[0x88][..], 200),
            (&[0x20, 0x8d], 404),
            (b"\x08\x03503", 503),
            // 302 and 405 as RFC 7541 §C.6.1 and its table have them.
            (&[0x48, 0x82, 0x64, 0x02], 302),
            (&[0x08, 0x83, 0x68, 0x0d, 0xff], 405),
        ] {
            assert_eq!(status_in(block).unwrap(), status, "{block:02x?}");
        }
        assert!(status_in(&[0x20]).is_err() && status_in(&[0x40, 1]).is_err());
    }

    #[test]
    fn long_strings_have_long_lengths() {
        let value = "x".repeat(1337);
        let block = fields_block(&[("a", &value)]);
        // 1337 as in RFC 7541 §C.1.2, with two bits more of prefix.
        assert_eq!(&block[..6], [0, 1, b'a', 127, 0xba, 0x09]);
    }
}
