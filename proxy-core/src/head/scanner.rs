//! Where a head ends, and what is settled about it before it is parsed.

use bytes::BytesMut;

use super::{Refusal, TARGET_TOO_LONG, TOO_LARGE, bad};
use crate::HeadLimits;

/// Looks for the end of a head in bytes that arrive piece by piece; every byte is looked at once.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    line: usize,
    scanned: usize,
    lines: usize,
}

impl Scanner {
    /// The length of the head in `bytes`, once it is complete. `bytes` starts where it did at the last call.
    pub(crate) fn find_end(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<Option<usize>, Refusal> {
        while let Some(offset) = memchr::memchr(b'\n', &bytes[self.scanned..]) {
            let newline = self.scanned + offset;
            let has_cr = newline > self.line && bytes[newline - 1] == b'\r';
            if !has_cr && !limits.bare_lf {
                return Err(bad("A line of the request does not end in CR LF."));
            }
            let end = newline - usize::from(has_cr);
            let is_empty = end == self.line;
            self.scanned = newline + 1;
            if !is_empty && self.lines == 0 {
                first_line(&bytes[self.line..end], true, limits)?;
            }
            self.lines += usize::from(!is_empty);
            self.line = newline + 1;
            if newline > limits.head {
                return Err(TOO_LARGE);
            }
            if is_empty && self.lines > 0 {
                return Ok(Some(self.scanned));
            }
            if is_empty && self.scanned > LEADING_BLANKS {
                return Err(bad("The request starts with empty lines."));
            }
        }
        self.scanned = bytes.len();
        if self.lines == 0 {
            let line = &bytes[self.line..];
            first_line(line.strip_suffix(b"\r").unwrap_or(line), line.len() > 1 && line.ends_with(b"\r"), limits)?;
        }
        if bytes.len() > limits.head { Err(TOO_LARGE) } else { Ok(None) }
    }

    /// Whether a request line has come, and so it is known that somebody asks for something.
    pub(crate) fn has_begun(&self) -> bool {
        self.lines > 0
    }
}

/// Something that is not HTTP at all must not be waited for; nor need the line be complete to see it.
fn first_line(line: &[u8], is_whole: bool, limits: &HeadLimits) -> Result<(), Refusal> {
    if line.len() > limits.target + 32 {
        return Err(TARGET_TOO_LONG);
    }
    let method = &line[..line.len().min(LONGEST_METHOD)];
    let method = method.split(|byte| *byte == b' ').next().unwrap_or_default();
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let has_no_target = is_whole && !line.contains(&b' ');
    if has_no_target || method.len() == LONGEST_METHOD || !method.iter().all(is_token) {
        return Err(bad("This is not an HTTP request."));
    }
    Ok(())
}

/// Brings a complete head into the form in which everything behind reads it the same: lines that end in CR LF, and a version that
/// is spoken. `HTTP/1.7` is to be taken for the highest 1.x that there is (RFC 9110 §2.5).
pub(crate) fn settle(head: &mut BytesMut, limits: &HeadLimits) {
    let line = memchr::memchr(b'\n', head).unwrap_or(head.len());
    let end = line - usize::from(line > 0 && head[line - 1] == b'\r');
    if let Some(version) = head[..end].last_chunk::<9>()
        && version.starts_with(b" HTTP/1.")
        && version[8].is_ascii_digit()
        && version[8] > b'1'
    {
        head[end - 1] = b'1';
    }
    let lone = |at: &usize| *at == 0 || head[at - 1] != b'\r';
    if limits.bare_lf && memchr::memchr_iter(b'\n', head).any(|at| lone(&at)) {
        let mut whole = BytesMut::with_capacity(head.len() + 64);
        for line in head.split_inclusive(|byte| *byte == b'\n') {
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            whole.extend_from_slice(text.strip_suffix(b"\r").unwrap_or(text));
            whole.extend_from_slice(b"\r\n");
        }
        *head = whole;
    }
}

const LONGEST_METHOD: usize = 32;
/// Empty lines before a request line are ignored (RFC 9112 §2.2), but not for ever.
const LEADING_BLANKS: usize = 128;
