//! Patterns with wildcards as [`fnmatch`](https://pubs.opengroup.org/onlinepubs/9799919799/functions/fnmatch.html) of the GNU
//! C library reads them without flags: `?` and `*` stand for any character, also for `/` and a dot in the first place.

use regex_syntax::hir::{Dot, Hir, Look, Repetition};

use crate::byte_set::ByteSet;

/// Reads a pattern, which is about the whole subject. There is no wrong one: what cannot be understood matches nothing. With
/// `ignore_case` it is one for subjects in lower case.
pub(crate) fn parse(pattern: &[u8], ignore_case: bool) -> Hir {
    let mut parser = Parser { rest: pattern, ignore_case };
    let mut parts = vec![Hir::look(Look::Start)];
    while let Some(byte) = parser.take() {
        let part = match byte {
            b'?' => Some(Hir::dot(Dot::AnyByte)),
            b'*' => Some(anything()),
            b'\\' => parser.take().map(|escaped| parser.byte(escaped)),
            b'[' => parser.bracket(),
            plain => Some(parser.byte(plain)),
        };
        let Some(part) = part else { return Hir::fail() };
        parts.push(part);
    }
    parts.push(Hir::look(Look::End));
    Hir::concat(parts)
}

fn anything() -> Hir {
    Hir::repetition(Repetition { min: 0, max: None, greedy: true, sub: Box::new(Hir::dot(Dot::AnyByte)) })
}

struct Parser<'p> {
    rest: &'p [u8],
    ignore_case: bool,
}

/// Why brackets are no set of characters.
enum Odd {
    /// They do not end, so `[` is a character.
    Open,
    /// Nothing matches them.
    Nothing,
}

impl Parser<'_> {
    fn take(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn byte(&self, byte: u8) -> Hir {
        Hir::literal([if self.ignore_case { byte.to_ascii_lowercase() } else { byte }])
    }

    /// What follows `[`; `None` when nothing matches it.
    fn bracket(&mut self) -> Option<Hir> {
        let before = self.rest;
        match self.set() {
            Ok(set) => Some(set.to_hir()),
            Err(Odd::Open) => {
                self.rest = before;
                Some(self.byte(b'['))
            }
            Err(Odd::Nothing) => None,
        }
    }

    fn set(&mut self) -> Result<ByteSet, Odd> {
        let is_negated = matches!(self.rest.first(), Some(b'!' | b'^'));
        if is_negated {
            self.take();
        }
        let mut set = ByteSet::EMPTY;
        let mut is_first = true;
        loop {
            match self.take().ok_or(Odd::Open)? {
                b']' if !is_first => break,
                b'[' if self.rest.first() == Some(&b':') => self.class(&mut set)?,
                b'[' if matches!(self.rest, [b'=', _, b'=', b']', ..]) => {
                    set.insert(self.rest[1]);
                    self.rest = self.rest.get(4..).unwrap_or_default();
                }
                b'[' if self.rest.first() == Some(&b'.') => {
                    // Other names of characters are not known in the locale of POSIX.
                    let [_, from, b'.', b']', behind @ ..] = self.rest else { return Err(Odd::Nothing) };
                    self.rest = behind;
                    self.range(*from, &mut set)?;
                }
                b'\\' => {
                    let from = self.take().ok_or(Odd::Nothing)?;
                    self.range(from, &mut set)?;
                }
                from => self.range(from, &mut set)?,
            }
            is_first = false;
        }
        if self.ignore_case {
            set =
                ByteSet::of(|byte| set.contains(byte.to_ascii_lowercase()) || set.contains(byte.to_ascii_uppercase()));
        }
        Ok(if is_negated { set.negated() } else { set })
    }

    /// Adds a character, or the range that begins with it.
    fn range(&mut self, from: u8, set: &mut ByteSet) -> Result<(), Odd> {
        match self.rest {
            [b'-', next, ..] if *next != b']' => {
                self.take();
                let to = match self.take() {
                    Some(b'\\') => self.take().ok_or(Odd::Nothing)?,
                    Some(to) => to,
                    None => return Err(Odd::Nothing),
                };
                set.extend(from..=to);
            }
            _ => set.insert(from),
        }
        Ok(())
    }

    /// `:name:]`; what only looks like it is a plain `[`.
    fn class(&mut self, set: &mut ByteSet) -> Result<(), Odd> {
        let name = self.rest.get(1..).unwrap_or_default();
        let length = name.iter().take_while(|byte| byte.is_ascii_lowercase()).count();
        let (name, behind) = name.split_at(length);
        match behind {
            [b':', b']', behind @ ..] => {
                set.add(&ByteSet::class(name).ok_or(Odd::Nothing)?);
                self.rest = behind;
                Ok(())
            }
            _ => self.range(b'[', set),
        }
    }
}
