//! A client that sends exactly the bytes it is given, and reads responses strictly.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::Path,
    thread,
    time::Duration,
};

/// A connection on which every read and write has a deadline; over TCP, or what is spoken over that.
#[derive(Debug)]
pub struct Connection<S = TcpStream> {
    stream: S,
    buffer: Vec<u8>,
    pause: Duration,
}

/// A response, read to the end of its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header fields with lower-case names, in order.
    pub headers: Vec<(String, String)>,
    /// The body, decoded.
    pub body: Vec<u8>,
}

impl Response {
    /// The first value of a field; `name` in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// What the system says; no answer within [`Self::DEADLINE`].
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        Self::over(TcpStream::connect_timeout(&address, Self::DEADLINE)?)
    }

    /// Connects to a unix socket.
    ///
    /// # Errors
    /// What the system says.
    pub fn open_unix(path: &Path) -> io::Result<Self> {
        // All that is done with it, but for asking for addresses, is the same for both kinds of sockets.
        let stream = TcpStream::from(OwnedFd::from(UnixStream::connect(path)?));
        stream.set_read_timeout(Some(Self::DEADLINE))?;
        stream.set_write_timeout(Some(Self::DEADLINE))?;
        Ok(Self::speaking(stream))
    }

    /// Uses a stream that is connected already.
    ///
    /// # Errors
    /// The deadlines cannot be set.
    pub fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(Self::DEADLINE))?;
        stream.set_write_timeout(Some(Self::DEADLINE))?;
        stream.set_nodelay(true)?;
        Ok(Self::speaking(stream))
    }

    /// How long a read or write may take.
    pub const DEADLINE: Duration = Duration::from_secs(20);

    /// Our own address.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }
}

impl<S: Read + Write> Connection<S> {
    /// Uses a stream that is ready, and has deadlines of its own.
    pub(crate) fn speaking(stream: S) -> Self {
        Self { stream, buffer: Vec::new(), pause: Duration::ZERO }
    }

    /// Waits so long before each read of at most 16 KiB, as somebody on a slow line would. A transfer that is longer than the
    /// buffers of the two systems then takes its time at the sender too.
    pub fn slow_down(&mut self, pause: Duration) {
        self.pause = pause;
    }

    /// The stream, for half-closing and the like.
    #[must_use]
    pub fn stream(&self) -> &S {
        &self.stream
    }

    /// The same, for what changes it.
    pub(crate) fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// What the system says.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends a request and reads the response to it.
    ///
    /// # Errors
    /// See [`Self::response`].
    pub fn exchange(&mut self, request: impl AsRef<[u8]>) -> io::Result<Response> {
        let is_head = request.as_ref().starts_with(b"HEAD ");
        self.send(request)?;
        self.response(is_head)
    }

    /// Reads a response. `Interim` responses (1xx, but for 101) are skipped.
    ///
    /// # Errors
    /// `UnexpectedEof` when it is cut short, `ConnectionAborted` when the peer closed before its first byte, `InvalidData`
    /// when it is not a response.
    pub fn response(&mut self, is_head: bool) -> io::Result<Response> {
        loop {
            let (status, headers) = self.head()?;
            if (100..200).contains(&status) && status != 101 {
                continue;
            }
            let mut response = Response { status, headers, body: Vec::new() };
            if !is_head && status != 101 && status != 204 && status != 304 {
                response.body = self.body(&response)?;
            }
            return Ok(response);
        }
    }

    /// Bytes that have come and belong to nothing read so far, and all that still come until the peer closes.
    ///
    /// # Errors
    /// What the system says; a reset is `ConnectionReset`.
    pub fn rest(mut self) -> io::Result<Vec<u8>> {
        self.stream.read_to_end(&mut self.buffer)?;
        Ok(self.buffer)
    }

    /// Exactly so many further bytes.
    ///
    /// # Errors
    /// `UnexpectedEof` when the peer closes before.
    pub fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            self.fill(io::ErrorKind::UnexpectedEof)?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn head(&mut self) -> io::Result<(u16, Vec<(String, String)>)> {
        let mut at_end = io::ErrorKind::ConnectionAborted;
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut head = httparse::Response::new(&mut headers);
            let parsed = head.parse(&self.buffer).map_err(|error| invalid(&error.to_string()))?;
            if let httparse::Status::Complete(length) = parsed {
                let status = head.code.ok_or_else(|| invalid("no status"))?;
                let field = |header: &httparse::Header<'_>| {
                    (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned())
                };
                let headers = head.headers.iter().map(field).collect();
                self.buffer.drain(..length);
                return Ok((status, headers));
            }
            if !self.buffer.is_empty() {
                at_end = io::ErrorKind::UnexpectedEof;
            }
            self.fill(at_end)?;
        }
    }

    fn body(&mut self, head: &Response) -> io::Result<Vec<u8>> {
        if head.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return self.chunked();
        }
        if let Some(length) = head.header("content-length") {
            let length = length.parse().map_err(|_wrong: std::num::ParseIntError| invalid("bad content-length"))?;
            return self.take(length);
        }
        self.stream.read_to_end(&mut self.buffer)?;
        Ok(std::mem::take(&mut self.buffer))
    }

    fn chunked(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).map_err(|_wrong| invalid("bad chunk size"))?;
            if size == 0 {
                while !self.line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.take(size)?);
            if !self.line()?.is_empty() {
                return Err(invalid("no line end after a chunk"));
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).take(end).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            self.fill(io::ErrorKind::UnexpectedEof)?;
        }
    }

    fn fill(&mut self, at_end: io::ErrorKind) -> io::Result<()> {
        if !self.pause.is_zero() {
            thread::sleep(self.pause);
        }
        let mut piece = [0; 16 * 1024];
        // A read with a deadline is not taken up again by the system after a signal (signal(7)).
        let read = loop {
            match self.stream.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        match read? {
            0 => Err(io::Error::new(at_end, "the peer closed the connection")),
            read => {
                self.buffer.extend_from_slice(&piece[..read]);
                Ok(())
            }
        }
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
