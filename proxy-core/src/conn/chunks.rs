//! Where a chunked body ends ([RFC 9112 §7.1](https://www.rfc-editor.org/rfc/rfc9112#section-7.1)).
//!
//! Pingora reads the chunks, but not as strictly as a proxy should, and it takes what follows the last one for a mistake. This
//! looks at the same bytes before: it changes nothing in them.

/// A chunked body, as far as it has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunks {
    at: At,
    /// The size of the chunk.
    size: u64,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// The first digit of a size.
    Size,
    /// Another digit, or what ends them.
    Digits,
    /// Blanks behind a size.
    Blank,
    Extension,
    /// The LF of a line with a size.
    SizeEnd,
    /// So many bytes of data.
    Data(u64),
    DataCr,
    DataLf,
    /// The first byte of a trailer line, or the CR of the last, empty one.
    Line,
    Trailer,
    TrailerLf,
    LastLf,
    /// Nothing: it is complete.
    End,
    /// Nothing: it is none.
    Nowhere,
}

impl Chunks {
    pub(super) const fn new() -> Self {
        Self { at: At::Size, size: 0 }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.at == At::End
    }

    pub(super) fn is_malformed(&self) -> bool {
        self.at == At::Nowhere
    }

    /// Looks at what comes next, and returns how much of it belongs to the body: all, up to the end, or up to what is wrong.
    pub(super) fn take(&mut self, bytes: &[u8]) -> usize {
        if self.is_complete() || self.is_malformed() {
            return 0;
        }
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            if let At::Data(left) = self.at {
                let step = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                taken += step;
                let left = left - step as u64;
                self.at = if left == 0 { At::DataCr } else { At::Data(left) };
                continue;
            }
            self.at = self.next(rest[0]);
            if self.is_malformed() {
                return taken;
            }
            taken += 1;
            if self.is_complete() {
                return taken;
            }
        }
        taken
    }

    fn next(&mut self, byte: u8) -> At {
        match (self.at, byte) {
            (At::Size | At::Digits, byte) if byte.is_ascii_hexdigit() => {
                let digit = u64::from(char::from(byte).to_digit(16).unwrap_or_default());
                let before = if self.at == At::Size { 0 } else { self.size };
                let Some(size) = before.checked_mul(16).map(|size| size | digit) else { return At::Nowhere };
                self.size = size;
                At::Digits
            }
            (At::Digits | At::Blank, b' ' | b'\t') => At::Blank,
            (At::Digits | At::Blank, b';') => At::Extension,
            (At::Digits | At::Blank | At::Extension, b'\r') => At::SizeEnd,
            (At::Extension, byte) if byte != b'\n' => At::Extension,
            (At::SizeEnd, b'\n') if self.size == 0 => At::Line,
            (At::SizeEnd, b'\n') => At::Data(self.size),
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size,
            (At::Line, b'\r') => At::LastLf,
            (At::LastLf, b'\n') => At::End,
            (At::Trailer, b'\r') => At::TrailerLf,
            (At::TrailerLf, b'\n') => At::Line,
            (At::Line | At::Trailer, byte) if byte != b'\n' => At::Trailer,
            _ => At::Nowhere,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How much is taken, in pieces of this size, and how it ends.
    fn taken(bytes: impl AsRef<[u8]>, piece: usize) -> (usize, &'static str) {
        let mut chunks = Chunks::new();
        let mut sum = 0;
        for piece in bytes.as_ref().chunks(piece) {
            let step = chunks.take(piece);
            sum += step;
            if step < piece.len() {
                break;
            }
        }
        let end = match (chunks.is_complete(), chunks.is_malformed()) {
            (true, _) => "end",
            (_, true) => "malformed",
            _ => "more",
        };
        (sum, end)
    }

    #[test]
    fn a_body_ends_behind_its_trailers() {
        for body in [
            "0\r\n\r\n",
            "3\r\nabc\r\n0\r\n\r\n",
            "3;name=\"value\"\r\nabc\r\n0;x\r\n\r\n",
            "A \t\r\n0123456789\r\n00\r\nX-Trailer: 1\r\nY:\r\n\r\n",
            "2\r\n\r\n\r\n0\r\n\r\n",
        ] {
            for piece in 1..body.len() + 9 {
                let all = format!("{body}GET / HTTP/1.1");
                assert_eq!(taken(&all, piece), (body.len(), "end"), "{body:?} in pieces of {piece}");
            }
            for cut in 0..body.len() {
                assert_eq!(taken(&body.as_bytes()[..cut], 3), (cut, "more"), "{cut} of {body:?}");
            }
        }
    }

    #[test]
    fn what_is_none_is_seen_where_it_begins() {
        for (body, good) in [
            ("\r\nabc\r\n0\r\n\r\n", 0),
            (";x\r\n", 0),
            (" 3\r\nabc\r\n", 0),
            ("-1\r\n", 0),
            ("+3\r\nabc\r\n", 0),
            ("0x3\r\nabc\r\n", 1),
            ("3 3\r\nabc\r\n", 2),
            ("3\nabc\r\n", 1),
            ("3\rabc\r\n", 2),
            ("3;x\nabc\r\n", 3),
            ("3\r\nabcd\r\n", 6),
            ("3\r\nabc\n0\r\n\r\n", 6),
            ("3\r\nabc\r\n\r\n", 8),
            ("10000000000000000\r\n", 16),
            ("0\r\nA: 1\nB: 2\r\n\r\n", 7),
            ("0\r\n\n", 3),
            ("0\r\n\rx", 4),
        ] {
            for piece in 1..body.len() + 1 {
                assert_eq!(taken(body, piece), (good, "malformed"), "{body:?} in pieces of {piece}");
            }
        }
        assert_eq!(taken("ffffffffffffffff\r\nabc", 5), (21, "more"), "as large as it can be");
        assert_eq!(taken("000000000000000000001\r\na\r\n0\r\n\r\n", 5), (31, "end"), "zeros before it");
    }
}
