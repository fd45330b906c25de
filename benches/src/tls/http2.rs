//! One request in HTTP/2 ([RFC 9113](https://www.rfc-editor.org/rfc/rfc9113)), and what comes back.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Asks for `path` of `host` on a new connection; returns what the answer, which must be a 200, holds.
pub(crate) async fn get(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    host: &str,
    path: &str,
) -> io::Result<Vec<u8>> {
    let mut block = vec![METHOD_GET, SCHEME_HTTPS];
    for (field, value) in [(PATH, path), (AUTHORITY, host)] {
        // Less than 127 bytes: the length is one byte.
        block.extend([field, u8::try_from(value.len()).map_err(io::Error::other)?]);
        block.extend(value.as_bytes());
    }
    let mut request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    request.extend(frame(SETTINGS, 0, 0, &[]));
    request.extend(frame(HEADERS, END_STREAM | END_HEADERS, 1, &block));
    stream.write_all(&request).await?;
    stream.flush().await?;
    let (mut ok, mut body) = (false, Vec::new());
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, _, _, _, id] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await?;
        match kind {
            SETTINGS if flags & ACK == 0 => {
                stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await?;
                stream.flush().await?;
            }
            // The status comes first, but for a change of the table.
            HEADERS if id == 1 => ok = payload.iter().take(4).any(|byte| *byte == STATUS_200),
            DATA if id == 1 => body.extend(payload),
            RST_STREAM | GOAWAY => return Err(io::ErrorKind::ConnectionReset.into()),
            _ => {}
        }
        if id == 1 && matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
            return if ok { Ok(body) } else { Err(io::Error::other("the answer is no 200")) };
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let mut frame = vec![a, b, c, kind, flags, 0, 0, 0, stream];
    frame.extend(payload);
    frame
}

/// Frames and their flags (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
/// Fields of the static table (RFC 7541, appendix A): whole, or by a name that is not to be remembered.
const METHOD_GET: u8 = 0x82;
const SCHEME_HTTPS: u8 = 0x87;
const STATUS_200: u8 = 0x88;
const AUTHORITY: u8 = 1;
const PATH: u8 = 4;
