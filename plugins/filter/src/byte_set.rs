//! Sets of bytes, and the named classes of POSIX in its own locale, in which a byte is a character.

use regex_syntax::hir::{Class, ClassBytes, ClassBytesRange, Hir};

/// Which bytes may stand at a place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByteSet([u128; 2]);

impl ByteSet {
    pub(crate) const EMPTY: Self = Self([0; 2]);
    pub(crate) const ALL: Self = Self([u128::MAX; 2]);

    /// The bytes for which this holds.
    pub(crate) fn of(holds: impl Fn(u8) -> bool) -> Self {
        let mut set = Self::EMPTY;
        set.extend((0..=u8::MAX).filter(|byte| holds(*byte)));
        set
    }

    /// Those of `[:name:]`.
    pub(crate) fn class(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"alnum" => Self::of(|byte| byte.is_ascii_alphanumeric()),
            b"alpha" => Self::of(|byte| byte.is_ascii_alphabetic()),
            b"blank" => Self::of(|byte| b" \t".contains(&byte)),
            b"cntrl" => Self::of(|byte| byte.is_ascii_control()),
            b"digit" => Self::of(|byte| byte.is_ascii_digit()),
            b"graph" => Self::of(|byte| byte.is_ascii_graphic()),
            b"lower" => Self::of(|byte| byte.is_ascii_lowercase()),
            b"print" => Self::of(|byte| byte.is_ascii_graphic() || byte == b' '),
            b"punct" => Self::of(|byte| byte.is_ascii_punctuation()),
            b"space" => Self::of(is_space),
            b"upper" => Self::of(|byte| byte.is_ascii_uppercase()),
            b"xdigit" => Self::of(|byte| byte.is_ascii_hexdigit()),
            _ => return None,
        })
    }

    /// What `\w` stands for.
    pub(crate) fn word() -> Self {
        Self::of(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    }

    /// What `\s` stands for.
    pub(crate) fn space() -> Self {
        Self::of(is_space)
    }

    pub(crate) fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 7)] >> (byte & 127) & 1 == 1
    }

    pub(crate) fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 7)] |= 1 << (byte & 127);
    }

    pub(crate) fn extend(&mut self, bytes: impl IntoIterator<Item = u8>) {
        bytes.into_iter().for_each(|byte| self.insert(byte));
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.extend((0..=u8::MAX).filter(|byte| other.contains(*byte)));
    }

    #[must_use]
    pub(crate) fn negated(&self) -> Self {
        Self::of(|byte| !self.contains(byte))
    }

    /// The bytes whose image is in this set.
    #[must_use]
    pub(crate) fn under(&self, image: impl Fn(u8) -> u8) -> Self {
        Self::of(|byte| self.contains(image(byte)))
    }

    pub(crate) fn to_hir(self) -> Hir {
        let bytes = (0..=u8::MAX).filter(|byte| self.contains(*byte));
        let ranges = bytes.map(|byte| ClassBytesRange::new(byte, byte));
        Hir::class(Class::Bytes(ClassBytes::new(ranges)))
    }
}

fn is_space(byte: u8) -> bool {
    // Rust's own notion leaves out the vertical tab.
    byte.is_ascii_whitespace() || byte == 0x0b
}
