//! A pattern as it was read, before it is known what looks for it.

use regex_syntax::hir::{Hir, Look, Repetition};

use crate::byte_set::ByteSet;

/// A regular expression, in which a part may ask for what another part found.
#[derive(Clone)]
pub(crate) enum Expression {
    Empty,
    Byte(u8),
    Set(ByteSet),
    Look(Look),
    Concat(Vec<Expression>),
    Alternation(Vec<Expression>),
    /// What is in parentheses, by its number from 1.
    Group(usize, Box<Expression>),
    Repetition(Repeated),
    /// A back-reference: what the group of this number found.
    Reference(usize),
}

/// So many times a part, or without an end.
#[derive(Clone)]
pub(crate) struct Repeated {
    pub(crate) min: u32,
    pub(crate) max: Option<u32>,
    pub(crate) part: Box<Expression>,
}

impl Expression {
    /// What this is repeated. Repetitions that repeat each other are one, so that a row of them is no deeper than one of them.
    pub(crate) fn repeated(self, min: u32, max: Option<u32>) -> Self {
        let is_simple = |min: u32, max: Option<u32>| min <= 1 && max.is_none_or(|max| max <= 1);
        match self {
            Self::Repetition(inner) if is_simple(inner.min, inner.max) && is_simple(min, max) => {
                let max = inner.max.zip(max).map(|(inner, outer)| inner * outer);
                // No times without an end is still no time.
                let max = if inner.max == Some(0) { Some(0) } else { max };
                Self::Repetition(Repeated { min: inner.min * min, max, part: inner.part })
            }
            part if (min, max) == (1, Some(1)) => part,
            part => Self::Repetition(Repeated { min, max, part: Box::new(part) }),
        }
    }

    /// About how many states a machine for it has.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Empty | Self::Byte(_) | Self::Set(_) | Self::Look(_) | Self::Reference(_) => 1,
            Self::Concat(parts) | Self::Alternation(parts) => {
                parts.iter().map(Self::size).fold(1, usize::saturating_add)
            }
            Self::Group(_, part) => part.size(),
            Self::Repetition(Repeated { min, max, part }) => {
                let times = usize::try_from(max.unwrap_or(*min).max(1)).unwrap_or(usize::MAX);
                part.size().saturating_mul(times).saturating_add(1)
            }
        }
    }

    /// Whether it has a back-reference.
    pub(crate) fn refers(&self) -> bool {
        match self {
            Self::Reference(_) => true,
            Self::Empty | Self::Byte(_) | Self::Set(_) | Self::Look(_) => false,
            Self::Concat(parts) | Self::Alternation(parts) => parts.iter().any(Self::refers),
            Self::Group(_, part) | Self::Repetition(Repeated { part, .. }) => part.refers(),
        }
    }

    /// The same for machines that need linear time. They have no back-references, for which anything stands.
    pub(crate) fn to_hir(&self) -> Hir {
        match self {
            Self::Empty => Hir::empty(),
            Self::Byte(byte) => Hir::literal([*byte]),
            Self::Set(set) => set.to_hir(),
            Self::Look(look) => Hir::look(*look),
            Self::Concat(parts) => Hir::concat(parts.iter().map(Self::to_hir).collect()),
            Self::Alternation(parts) => Hir::alternation(parts.iter().map(Self::to_hir).collect()),
            Self::Group(_, part) => part.to_hir(),
            Self::Repetition(Repeated { min, max, part }) => repetition(*min, *max, part.to_hir()),
            Self::Reference(_) => repetition(0, None, ByteSet::ALL.to_hir()),
        }
    }
}

fn repetition(min: u32, max: Option<u32>, sub: Hir) -> Hir {
    Hir::repetition(Repetition { min, max, greedy: true, sub: Box::new(sub) })
}
