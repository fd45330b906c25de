//! Bracket expressions: `[a-z]`, `[^[:space:]]`.

use super::Parser;
use crate::{byte_set::ByteSet, syntax::PatternError};

/// What stands in brackets.
#[derive(Clone, Copy)]
enum Element {
    Byte(u8),
    Set(ByteSet),
}

impl Parser<'_> {
    /// Reads what follows `[`, up to and including `]`.
    pub(super) fn bracket(&mut self) -> Result<ByteSet, PatternError> {
        let is_negated = self.peek(0) == Some(b'^');
        self.at += usize::from(is_negated);
        let mut set = ByteSet::EMPTY;
        let mut is_first = true;
        // A `]` in the first place is one of the characters.
        while is_first || self.peek(0) != Some(b']') {
            match self.element(is_first)? {
                Element::Byte(from) if self.begins_range() => {
                    self.at += 1;
                    let Element::Byte(to) = self.element(true)? else { return Err(PatternError::Range) };
                    if from > to {
                        return Err(PatternError::Range);
                    }
                    set.extend(from..=to);
                }
                Element::Byte(byte) => set.insert(byte),
                Element::Set(class) => set.add(&class),
            }
            is_first = false;
        }
        self.at += 1;
        let set = if is_negated { set.negated() } else { set };
        // Subjects are in lower case, but what is compared is the upper case of both: it decides what lies in a range.
        Ok(if self.ignore_case { set.under(|byte| byte.to_ascii_uppercase()) } else { set })
    }

    /// One element; a `-` may only begin one where it cannot be taken for the middle of a range.
    fn element(&mut self, may_be_hyphen: bool) -> Result<Element, PatternError> {
        let byte = self.peek(0).ok_or(PatternError::Bracket)?;
        self.at += 1;
        match (byte, self.peek(0)) {
            (b'[', Some(kind @ (b'.' | b'=' | b':'))) => {
                self.at += 1;
                self.named(kind)
            }
            (b'-', Some(next)) if !may_be_hyphen && next != b']' => Err(PatternError::Range),
            _ => Ok(Element::Byte(self.compared(byte))),
        }
    }

    /// `[:alpha:]`, `[.a.]` and `[=a=]`, behind their first two bytes.
    fn named(&mut self, kind: u8) -> Result<Element, PatternError> {
        let rest = self.pattern.get(self.at..).unwrap_or_default();
        let length = rest.windows(2).take(LONGEST_NAME).position(|end| end == [kind, b']']);
        let (name, _) = rest.split_at(length.ok_or(PatternError::Bracket)?);
        self.at += name.len() + 2;
        match (kind, name) {
            (b':', b"upper" | b"lower") if self.ignore_case => ByteSet::class(b"alpha"),
            (b':', name) => ByteSet::class(name),
            (b'.', [byte]) => return Ok(Element::Byte(self.compared(*byte))),
            (_, [byte]) => Some(ByteSet::of(|other| other == self.compared(*byte))),
            _ => return Err(PatternError::Element),
        }
        .map(Element::Set)
        .ok_or(PatternError::Class)
    }

    /// Whether a `-` follows that has something on its other side.
    fn begins_range(&self) -> bool {
        self.peek(0) == Some(b'-') && self.peek(1) != Some(b']')
    }

    fn compared(&self, byte: u8) -> u8 {
        if self.ignore_case { byte.to_ascii_uppercase() } else { byte }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.pattern.get(self.at + ahead).copied()
    }
}

/// What the GNU C library has room for.
const LONGEST_NAME: usize = 32;
