//! What is said to a parent proxy before a connection through it can be used.

use std::{io, net::IpAddr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::BytesMut;
use http::{HeaderMap, HeaderName, header};
use plugin_api::{Address, Parent, ParentKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Stream;
use crate::answer::spelled;

/// A connection through a parent proxy to one host and port.
#[derive(Clone, Debug)]
pub(crate) struct Handshake {
    kind: ParentKind,
    host: Host,
    port: u16,
    credentials: Option<(String, String)>,
    /// What a parent that speaks HTTP is told beside that.
    fields: HeaderMap,
}

#[derive(Clone, Debug)]
enum Host {
    Name(Arc<str>),
    Ip(IpAddr),
}

/// A connection that a parent has made.
pub(crate) struct Shaken {
    pub(crate) stream: Stream,
    /// What a parent that speaks HTTP said to it: a head.
    pub(crate) reply: BytesMut,
    /// What the far end has sent already.
    pub(crate) early: BytesMut,
}

/// Why a parent did not connect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("the connection to the parent proxy failed")]
    Io(#[from] io::Error),
    #[error("the parent proxy does not speak SOCKS {version}")]
    NotSocks { version: u8 },
    #[error("the parent proxy refuses: SOCKS reply {code}")]
    Refused { code: u8 },
    #[error("the parent proxy does not accept the user name and password")]
    Credentials,
    #[error("the host name is too long for SOCKS")]
    TooLong,
    #[error("the parent proxy's answer is no HTTP")]
    NotHttp,
    #[error("the parent proxy answered with another status than success")]
    Declined { stream: Stream, reply: BytesMut },
}

impl Handshake {
    /// A connection through `parent` to `address`; `None` when that is no host and port.
    pub(crate) fn new(parent: &Parent, address: &Address) -> Option<Self> {
        let (host, port) = match address {
            Address::Host { name, port } => (Host::Name(Arc::clone(name)), *port),
            Address::Socket(address) => (Host::Ip(address.ip()), address.port()),
            Address::Unix(_) | Address::OriginalDestination => return None,
        };
        Some(Self { kind: parent.kind, host, port, credentials: parent.credentials.clone(), fields: HeaderMap::new() })
    }

    /// The same, with fields for a parent that speaks HTTP.
    pub(crate) fn telling(mut self, fields: HeaderMap) -> Self {
        self.fields = fields;
        self
    }

    /// Shakes hands.
    pub(crate) async fn perform(&self, mut stream: Stream) -> Result<Shaken, HandshakeError> {
        match self.kind {
            ParentKind::Socks5 => self.socks5(&mut stream).await?,
            ParentKind::Socks4a => self.socks4a(&mut stream).await?,
            _ => return self.connect(stream).await,
        }
        Ok(Shaken { stream, reply: BytesMut::new(), early: BytesMut::new() })
    }

    /// Host and port, as a request target writes them.
    pub(crate) fn authority(&self) -> String {
        match &self.host {
            Host::Name(name) => format!("{name}:{}", self.port),
            Host::Ip(IpAddr::V4(ip)) => format!("{ip}:{}", self.port),
            Host::Ip(IpAddr::V6(ip)) => format!("[{ip}]:{}", self.port),
        }
    }

    fn host_text(&self) -> String {
        match &self.host {
            Host::Name(name) => name.to_string(),
            Host::Ip(ip) => ip.to_string(),
        }
    }

    /// `CONNECT` (RFC 9110 §9.3.6).
    async fn connect(&self, mut stream: Stream) -> Result<Shaken, HandshakeError> {
        let authority = self.authority();
        let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
        if let Some((user, password)) = &self.credentials {
            request.push_str(&format!("Proxy-Authorization: {}\r\n", basic(user, password)));
        }
        let mut request = request.into_bytes();
        // The credentials of the parent go before those that somebody added for whatever proxy there is.
        let is_other = |name: &HeaderName| self.credentials.is_none() || name != header::PROXY_AUTHORIZATION;
        for (name, value) in self.fields.iter().filter(|(name, _)| is_other(name)) {
            request.extend_from_slice(spelled(name).as_bytes());
            request.extend_from_slice(b": ");
            request.extend_from_slice(value.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        stream.write_all(&request).await?;
        stream.flush().await?;
        let mut reply = BytesMut::with_capacity(1024);
        loop {
            let Some(end) = head_end(&reply) else {
                if reply.len() > LONGEST_REPLY {
                    return Err(HandshakeError::NotHttp);
                }
                if stream.read_buf(&mut reply).await? == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                continue;
            };
            let status = reply.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(1..5));
            match status.ok_or(HandshakeError::NotHttp)? {
                // It is not the answer yet (RFC 9110 §15.2).
                [b' ', b'1', _, _] => drop(reply.split_to(end)),
                [b' ', b'2', _, _] => {
                    let early = reply.split_off(end);
                    return Ok(Shaken { stream, reply, early });
                }
                [b' ', b'3'..=b'5', _, _] => return Err(HandshakeError::Declined { stream, reply }),
                _ => return Err(HandshakeError::NotHttp),
            }
        }
    }

    /// SOCKS 4 with the host name for the proxy to resolve (SOCKS 4A).
    async fn socks4a(&self, stream: &mut Stream) -> Result<(), HandshakeError> {
        let mut request = vec![4, 1];
        request.extend_from_slice(&self.port.to_be_bytes());
        // An address that cannot be says that a name follows.
        request.extend_from_slice(&[0, 0, 0, 1]);
        request.push(0);
        request.extend_from_slice(self.host_text().as_bytes());
        request.push(0);
        stream.write_all(&request).await?;
        stream.flush().await?;
        let mut reply = [0; 8];
        stream.read_exact(&mut reply).await?;
        match reply {
            [0, 90, ..] => Ok(()),
            [0, code, ..] => Err(HandshakeError::Refused { code }),
            _ => Err(HandshakeError::NotSocks { version: 4 }),
        }
    }

    /// SOCKS 5 (RFC 1928), with user name and password when there are (RFC 1929).
    async fn socks5(&self, stream: &mut Stream) -> Result<(), HandshakeError> {
        let methods: &[u8] = if self.credentials.is_some() { &[5, 2, 0, 2] } else { &[5, 1, 0] };
        stream.write_all(methods).await?;
        stream.flush().await?;
        let mut choice = [0; 2];
        stream.read_exact(&mut choice).await?;
        match (choice, &self.credentials) {
            ([5, 0], _) => {}
            ([5, 2], Some((user, password))) => authenticate(stream, user, password).await?,
            ([5, _], _) => return Err(HandshakeError::Credentials),
            _ => return Err(HandshakeError::NotSocks { version: 5 }),
        }
        // Always as a name: the proxy resolves, and one that looks up what is no name finds the address that it is.
        let host = self.host_text();
        let length = u8::try_from(host.len()).map_err(|_too_long| HandshakeError::TooLong)?;
        let mut request = vec![5, 1, 0, 3, length];
        request.extend_from_slice(host.as_bytes());
        request.extend_from_slice(&self.port.to_be_bytes());
        stream.write_all(&request).await?;
        stream.flush().await?;
        let mut reply = [0; 4];
        stream.read_exact(&mut reply).await?;
        let length = match reply {
            [5, 0, _, 1] => 4,
            [5, 0, _, 4] => 16,
            [5, 0, _, 3] => usize::from(stream.read_u8().await?),
            [5, code, ..] => return Err(HandshakeError::Refused { code }),
            _ => return Err(HandshakeError::NotSocks { version: 5 }),
        };
        let mut bound = [0; 255 + 2];
        stream.read_exact(&mut bound[..length + 2]).await?;
        Ok(())
    }
}

async fn authenticate(stream: &mut Stream, user: &str, password: &str) -> Result<(), HandshakeError> {
    let length = |text: &str| u8::try_from(text.len()).map_err(|_too_long| HandshakeError::Credentials);
    let mut request = vec![1, length(user)?];
    request.extend_from_slice(user.as_bytes());
    request.push(length(password)?);
    request.extend_from_slice(password.as_bytes());
    stream.write_all(&request).await?;
    stream.flush().await?;
    let mut reply = [0; 2];
    stream.read_exact(&mut reply).await?;
    if reply[1] == 0 { Ok(()) } else { Err(HandshakeError::Credentials) }
}

/// Where the empty line of a head ends, whose lines may end without CR.
fn head_end(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes).find_map(|at| match bytes.get(at + 1..)? {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// The value of a `Proxy-Authorization` field (RFC 7617).
pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// An answer to `CONNECT` is short.
const LONGEST_REPLY: usize = 16 * 1024;
