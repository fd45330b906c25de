//! The date of an answer is its origin's: pingora writes its own into every head, which is put right on the way out.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use http::HeaderValue;

/// The `Date` of the answer in flight. Shared with the request's context, which sees it first.
#[derive(Debug, Default)]
pub(crate) struct OriginDate(Mutex<Option<HeaderValue>>);

impl OriginDate {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The next head that is written has this date.
    pub(crate) fn keep(&self, date: Option<HeaderValue>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
    }

    /// Writes `data` to `out` with the date that was kept, if it is a head and there is one. Whether it did.
    pub(super) fn put_right(&self, data: &[u8], out: &mut BytesMut) -> bool {
        if !data.starts_with(b"HTTP/1.1 ") || data.get(9) == Some(&b'1') {
            return false;
        }
        let Some(date) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() else { return false };
        let Some(start) = memchr::memmem::find(data, FIELD).map(|at| at + FIELD.len()) else { return false };
        let Some(length) = memchr::memchr(b'\r', &data[start..]) else { return false };
        out.extend_from_slice(&data[..start]);
        out.extend_from_slice(date.as_bytes());
        out.extend_from_slice(&data[start + length..]);
        true
    }
}

/// As pingora writes it.
const FIELD: &[u8] = b"\r\nDate: ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_that_is_written_next_has_the_date_and_nothing_else_changes() {
        let date = OriginDate::new();
        let written = |data: &[u8]| {
            let mut out = BytesMut::new();
            date.put_right(data, &mut out).then(|| String::from_utf8(out.to_vec()).unwrap())
        };
        let head = b"HTTP/1.1 200 OK\r\nX-Date: x\r\nDate: now\r\nA: b\r\n\r\nbody";
        assert_eq!(written(head), None);
        date.keep(Some(HeaderValue::from_static("long ago, in another form")));
        assert_eq!(written(b"HTTP/1.1 103 Early Hints\r\nDate: x\r\n\r\n"), None);
        assert_eq!(written(b"body"), None);
        let expected = "HTTP/1.1 200 OK\r\nX-Date: x\r\nDate: long ago, in another form\r\nA: b\r\n\r\nbody";
        assert_eq!(written(head).as_deref(), Some(expected));
        assert_eq!(written(head), None, "it was that answer's");
    }
}
