//! What a proxy in front says about the client it speaks for: the
//! [PROXY protocol](https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt), versions 1 and 2.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use plugin_api::Client;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Who is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announced {
    /// This client.
    Client(Client),
    /// Nobody: the proxy speaks for itself, or does not know.
    Nobody,
}

/// Why nobody was announced.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnnounceError {
    #[error("the announcement is malformed")]
    Malformed,
    #[error("the announcement did not come in time")]
    Slow,
    #[error("the connection ended before the announcement did")]
    Ended(#[source] Option<io::Error>),
}

/// Reads an announcement from the beginning of a connection. What came behind it stays in `bytes`.
pub(crate) async fn receive(
    stream: &mut (impl AsyncRead + Unpin),
    bytes: &mut BytesMut,
    within: Duration,
) -> Result<Announced, AnnounceError> {
    let received = tokio::time::timeout(within, async {
        loop {
            if let Some((announced, length)) = parse(bytes)? {
                bytes.advance(length);
                return Ok(announced);
            }
            match stream.read_buf(bytes).await {
                Ok(0) => return Err(AnnounceError::Ended(None)),
                Ok(_) => {}
                Err(error) => return Err(AnnounceError::Ended(Some(error))),
            }
        }
    });
    received.await.unwrap_or(Err(AnnounceError::Slow))
}

/// The announcement that `bytes` begin with, and its length; `None` when more is needed to know.
fn parse(bytes: &[u8]) -> Result<Option<(Announced, usize)>, AnnounceError> {
    let beginning = |whole: &[u8]| bytes.starts_with(whole) || whole.starts_with(bytes);
    if beginning(SIGNATURE) {
        binary(bytes)
    } else if beginning(WORD) {
        text(bytes)
    } else {
        Err(AnnounceError::Malformed)
    }
}

/// Version 1: one line.
fn text(bytes: &[u8]) -> Result<Option<(Announced, usize)>, AnnounceError> {
    let seen = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = memchr::memmem::find(seen, b"\r\n") else {
        return if seen.len() == LONGEST_LINE { Err(AnnounceError::Malformed) } else { Ok(None) };
    };
    let line = std::str::from_utf8(&seen[WORD.len()..end]).map_err(|_error| AnnounceError::Malformed)?;
    let announced = match line.split(' ').collect::<Vec<_>>().as_slice() {
        // Whatever follows is to be passed over.
        ["UNKNOWN", ..] => Announced::Nobody,
        ["TCP4", source, destination, port, to] => {
            let ends: Option<(Ipv4Addr, Ipv4Addr)> = source.parse().ok().zip(destination.parse().ok());
            client(ends.map(|(source, _)| source.into()), port, to)?
        }
        ["TCP6", source, destination, port, to] => {
            let ends: Option<(Ipv6Addr, Ipv6Addr)> = source.parse().ok().zip(destination.parse().ok());
            client(ends.map(|(source, _)| source.into()), port, to)?
        }
        _ => return Err(AnnounceError::Malformed),
    };
    Ok(Some((announced, end + 2)))
}

fn client(source: Option<IpAddr>, port: &str, to: &str) -> Result<Announced, AnnounceError> {
    let number = |text: &str| {
        // No sign, and no zero in front.
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        text.parse::<u16>().ok().filter(|_| is_plain)
    };
    match (source, number(port), number(to)) {
        (Some(source), Some(port), Some(_)) => Ok(Announced::Client(SocketAddr::new(source, port).into())),
        _ => Err(AnnounceError::Malformed),
    }
}

/// Version 2: a signature, command, family and length, then addresses, and values that are passed over.
fn binary(bytes: &[u8]) -> Result<Option<(Announced, usize)>, AnnounceError> {
    let Some([command, family, high, low]) = bytes.get(SIGNATURE.len()..HEADER) else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length > LONGEST_REST || !matches!(command, 0x20 | 0x21) {
        return Err(AnnounceError::Malformed);
    }
    let Some(rest) = bytes.get(HEADER..HEADER + length) else { return Ok(None) };
    let announced = match (command, family) {
        (0x20, _) | (_, 0x00) => Announced::Nobody,
        (_, 0x11) => {
            let addresses: &[u8; 12] = rest.first_chunk().ok_or(AnnounceError::Malformed)?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *addresses;
            Announced::Client(SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low]))).into())
        }
        (_, 0x21) => {
            let addresses: &[u8; 36] = rest.first_chunk().ok_or(AnnounceError::Malformed)?;
            let source: [u8; 16] = *addresses.first_chunk().ok_or(AnnounceError::Malformed)?;
            let port = u16::from_be_bytes([addresses[32], addresses[33]]);
            Announced::Client(SocketAddr::from((source, port)).into())
        }
        (_, 0x31) if rest.len() >= 216 => Announced::Client(Client::Unix),
        _ => return Err(AnnounceError::Malformed),
    };
    Ok(Some((announced, HEADER + length)))
}

const WORD: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Of version 2, up to the length.
const HEADER: usize = 16;
/// Of version 1, with its end.
const LONGEST_LINE: usize = 107;
/// Of version 2, behind the header: more than any proxy says.
const LONGEST_REST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(text: &str) -> Announced {
        Announced::Client(text.parse().unwrap())
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, rest].concat()
    }

    #[test]
    fn announcements_of_both_versions_are_understood_however_they_are_cut() {
        let v4 = [192, 0, 2, 1, 10, 0, 0, 1, 0x30, 0x39, 0, 80];
        let mut v6 = vec![0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        v6.extend([0; 16]);
        v6.extend([0x30, 0x39, 0, 80]);
        let cases: Vec<(Vec<u8>, Announced)> = vec![
            (b"PROXY TCP4 192.0.2.1 10.0.0.1 12345 80\r\n".to_vec(), announced("192.0.2.1:12345")),
            (b"PROXY TCP6 2001:db8::1 ::1 12345 80\r\n".to_vec(), announced("[2001:db8::1]:12345")),
            (b"PROXY UNKNOWN\r\n".to_vec(), Announced::Nobody),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), Announced::Nobody),
            (v2(0x21, 0x11, &v4), announced("192.0.2.1:12345")),
            (v2(0x21, 0x11, &[&v4[..], b"\x04\0\x01x"].concat()), announced("192.0.2.1:12345")),
            (v2(0x21, 0x21, &v6), announced("[2001:db8::1]:12345")),
            (v2(0x21, 0x31, &[b'/'; 216]), Announced::Client(Client::Unix)),
            (v2(0x20, 0x11, &v4), Announced::Nobody),
            (v2(0x21, 0x00, b"anything"), Announced::Nobody),
        ];
        for (bytes, expected) in cases {
            for end in 0..bytes.len() {
                assert!(matches!(parse(&bytes[..end]), Ok(None)), "{}", bytes[..end].escape_ascii());
            }
            let more = [&bytes[..], b"GET / HTTP/1.1\r\n"].concat();
            let (found, length) = parse(&more).unwrap().unwrap();
            assert_eq!((found, length), (expected, bytes.len()), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_is_none_is_refused_as_soon_as_that_is_seen() {
        for bytes in [
            &b"G"[..],
            b"PROXY\t",
            b"PROXYX",
            b"\r\n\r\n\0\r\nQUIX",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 12345\r\n",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 012 80\r\n",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 65536 80\r\n",
            b"PROXY TCP4 192.0.2.1 10.0.0.1 +1 80\r\n",
            b"PROXY TCP4 ::1 ::1 1 80\r\n",
            b"PROXY TCP4  192.0.2.1 10.0.0.1 1 80\r\n",
            b"PROXY UDP4 192.0.2.1 10.0.0.1 1 80\r\n",
            b"PROXY \xff\r\n",
        ] {
            assert!(parse(bytes).is_err(), "{}", bytes.escape_ascii());
        }
        let endless = [WORD, &[b'a'; 200]].concat();
        assert!(parse(&endless).is_err());
        for bytes in [
            v2(0x22, 0x11, &[0; 12]),
            v2(0x11, 0x11, &[0; 12]),
            v2(0x21, 0x11, &[0; 11]),
            v2(0x21, 0x21, &[0; 35]),
            v2(0x21, 0x31, &[0; 215]),
            v2(0x21, 0x12, &[0; 12]),
            [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat(),
        ] {
            assert!(parse(&bytes).is_err(), "{}", bytes.escape_ascii());
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_makes_it_panic_or_take_more_than_there_is(
            start in 0usize..3, bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
        ) {
            let bytes = [[&b""[..], WORD, SIGNATURE][start], &bytes].concat();
            if let Ok(Some((_, length))) = parse(&bytes) {
                proptest::prop_assert!(length <= bytes.len());
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_come_is_not_waited_for() {
        let within = Duration::from_secs(1);
        let (mut client, mut stream) = tokio::io::duplex(64);
        let mut bytes = BytesMut::new();
        assert!(matches!(receive(&mut stream, &mut bytes, within).await, Err(AnnounceError::Slow)));
        tokio::io::AsyncWriteExt::write_all(&mut client, b"PROXY UNKNOWN\r\nGET").await.unwrap();
        assert_eq!(receive(&mut stream, &mut bytes, within).await.unwrap(), Announced::Nobody);
        assert_eq!(&bytes[..], b"GET");
        drop(client);
        bytes.clear();
        assert!(matches!(receive(&mut stream, &mut bytes, within).await, Err(AnnounceError::Ended(None))));
    }
}
