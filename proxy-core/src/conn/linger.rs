//! The end of a connection whose peer may still be sending.

use std::{io, time::Duration};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client_stream::ClientStream;

/// Writes what is left, closes our side and, if it `reads`, takes what the peer still sends, so that the kernel does not answer it with a reset that would
/// destroy our last response on its way (RFC 9112 §9.6).
pub(super) async fn linger(mut socket: ClientStream, rest: BytesMut, reads: bool) {
    let _ = tokio::time::timeout(LINGER_TIME, async {
        socket.write_all(&rest).await?;
        socket.shutdown().await?;
        let mut waste = [0; 4096];
        let mut left = if reads { LINGER_BYTES } else { 0 };
        while left > 0 {
            match socket.read(&mut waste).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        io::Result::Ok(())
    })
    .await;
}

/// How long, and for how many bytes, a close waits for the peer.
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 256 * 1024;
