//! A connection on which HTTP/2 is spoken: frames pass, and the ledger is kept.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead as _, ReadBuf};

use super::{Conn, Ledger};

impl Conn {
    /// From now on HTTP/2 is spoken; `early` has come already.
    pub(crate) fn switch_to_http2(&mut self, early: BytesMut) {
        self.http2 = true;
        self.unread = early;
        // A client may still be sending when it is told that its connection ends.
        self.linger = true;
        if self.guest.is_some() {
            let mut ledger = Ledger::new();
            ledger.receives(&self.unread);
            self.ledger = Some(Box::new(ledger));
        }
    }

    pub(super) fn poll_read_http2(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let piece = self.unread.len().min(into.remaining());
            into.put_slice(&self.unread[..piece]);
            self.unread.advance(piece);
            return Poll::Ready(Ok(()));
        }
        let before = into.filled().len();
        let read = Pin::new(self.socket()).poll_read(cx, into);
        let (Some(guest), Some(ledger)) = (&self.guest, &mut self.ledger) else { return read };
        if read.is_ready() {
            let new = &into.filled()[before..];
            ledger.receives(new);
            guest.moves(new.len());
        } else {
            guest.listens(ledger.waiting(self.blocked), cx);
            if guest.is_sent_away() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "others need the place more")));
            }
        }
        read
    }
}
