//! What a client sends while its request is served: the body passes, and what follows it is kept for the next request.

use std::io;

use bytes::BytesMut;

use super::chunks::Chunks;
use crate::head::Framing;

/// What passes, and what is kept.
pub(super) struct Intake {
    body: Body,
    /// Bytes that belong to the next request.
    stash: BytesMut,
    end: End,
}

/// What is still to come of the body.
enum Body {
    /// Whatever comes: nobody is served, or nobody knows where it ends.
    Anything,
    Length(u64),
    Chunked(Chunks),
}

/// What it means that a client sends nothing more: TCP does not tell a client that has said everything from one that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It is gone, and so is whoever wanted the answer.
    Gone,
    /// It may wait for the answer.
    Said,
    /// The same, and it has come.
    Come,
}

impl Intake {
    pub(super) fn new() -> Self {
        Self { body: Body::Anything, stash: BytesMut::new(), end: End::Gone }
    }

    /// A request with this body is served from now on; `early` came behind its head. Returns how much of that is body; `None`
    /// lets everything pass.
    pub(super) fn begin(
        &mut self,
        framing: Option<&Framing>,
        mut early: BytesMut,
        serves_half_closed: bool,
    ) -> BytesMut {
        self.end = if serves_half_closed { End::Said } else { End::Gone };
        self.body = match framing {
            None => Body::Anything,
            Some(Framing::None) => Body::Length(0),
            Some(Framing::Length(length)) => Body::Length(*length),
            Some(Framing::Chunked) => Body::Chunked(Chunks::new()),
        };
        let of_body = self.takes(&early);
        let body = early.split_to(of_body);
        self.stash = early;
        body
    }

    /// Ends that, and returns what belongs to the next request.
    pub(super) fn finish(&mut self) -> BytesMut {
        self.body = Body::Anything;
        std::mem::take(&mut self.stash)
    }

    /// Whether the body has come, so that everything is kept.
    pub(super) fn is_complete(&self) -> bool {
        match &self.body {
            Body::Anything => false,
            Body::Length(left) => *left == 0,
            Body::Chunked(chunks) => chunks.is_complete(),
        }
    }

    /// Whether nobody looks at what passes.
    pub(super) fn passes_all(&self) -> bool {
        matches!(self.body, Body::Anything)
    }

    /// How much may be read into so much room. What is behind a body of known length stays in the socket until it is asked for.
    pub(super) fn most(&self, room: usize) -> usize {
        match &self.body {
            Body::Length(left) => usize::try_from(*left).unwrap_or(usize::MAX).min(room),
            Body::Anything | Body::Chunked(_) => room,
        }
    }

    /// What is wrong with the body, behind all of it that has passed.
    pub(super) fn fault(&self) -> Option<io::Error> {
        let is_malformed = matches!(&self.body, Body::Chunked(chunks) if chunks.is_malformed());
        is_malformed.then(|| io::Error::new(io::ErrorKind::InvalidData, "a chunk that is none"))
    }

    /// Lets pass what has been read, and returns how much of it; the rest is kept.
    pub(super) fn pass(&mut self, read: &[u8]) -> usize {
        let passed = self.takes(read);
        self.stash.extend_from_slice(&read[passed..]);
        passed
    }

    fn takes(&mut self, bytes: &[u8]) -> usize {
        match &mut self.body {
            Body::Anything => bytes.len(),
            Body::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                taken
            }
            Body::Chunked(chunks) => chunks.take(bytes),
        }
    }

    pub(super) fn kept(&self) -> usize {
        self.stash.len()
    }

    /// The client's direction has ended. Whether it counts as gone.
    pub(super) fn ends(&mut self) -> bool {
        if self.end == End::Said {
            self.end = End::Come;
        }
        self.end == End::Gone
    }

    /// Whether the client's direction has ended, and it may wait for its answer.
    pub(super) fn is_half_closed(&self) -> bool {
        self.end == End::Come
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(framing: &Framing, early: impl AsRef<[u8]>) -> (Intake, BytesMut) {
        let mut intake = Intake::new();
        let body = intake.begin(Some(framing), early.as_ref().into(), false);
        (intake, body)
    }

    #[test]
    fn a_body_passes_and_the_next_request_is_kept() {
        let chunked = "3\r\nabc\r\n0\r\n\r\n";
        for (framing, body) in [(Framing::None, ""), (Framing::Length(6), "abcdef"), (Framing::Chunked, chunked)] {
            let all = format!("{body}next");
            for cut in 0..=all.len() {
                let (mut intake, early) = begun(&framing, &all.as_bytes()[..cut]);
                let rest = &all.as_bytes()[cut..];
                let passed = intake.pass(rest);
                assert_eq!([&early, &rest[..passed]].concat(), body.as_bytes(), "{body} {cut}");
                assert!(intake.is_complete() && intake.fault().is_none(), "{body} {cut}");
                assert_eq!(&*intake.finish(), b"next", "{body} {cut}");
                assert!(!intake.is_complete(), "the next head is read as it comes");
            }
        }
    }

    #[test]
    fn what_is_no_chunk_is_told_behind_what_was_good() {
        let (mut intake, early) = begun(&Framing::Chunked, "1\r\na\r\n");
        assert_eq!(&*early, b"1\r\na\r\n");
        assert!(intake.fault().is_none());
        assert_eq!(intake.pass(b"1\r\nb\r\n;x\r\n"), 6);
        assert_eq!(intake.fault().unwrap().kind(), io::ErrorKind::InvalidData);
        let (intake, early) = begun(&Framing::Chunked, "\r\nabc\r\n0\r\n\r\n");
        assert!(early.is_empty() && intake.fault().is_some());
    }

    #[test]
    fn an_end_is_a_hang_up_unless_it_may_be_half_of_one() {
        let mut intake = Intake::new();
        intake.begin(Some(&Framing::None), BytesMut::new(), false);
        assert!(intake.ends() && !intake.is_half_closed());
        intake.begin(Some(&Framing::None), BytesMut::new(), true);
        assert!(!intake.is_half_closed());
        assert!(!intake.ends() && intake.is_half_closed());
    }
}
