//! The languages in which patterns are written, and what can be wrong with one.

use regex_syntax::hir::Hir;

use crate::{config::Syntax, posix, program::Program, shape, wildcard};

/// What is wrong with a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PatternError {
    #[error("a repetition has nothing to repeat")]
    Repetition,
    #[error("a parenthesis has no partner")]
    Parenthesis,
    #[error("a `[` has no `]`")]
    Bracket,
    #[error("there is no class of characters of this name")]
    Class,
    #[error("an element between `[.` and `.]`, or `[=` and `=]`, must be a single character")]
    Element,
    #[error("a range ends before it begins, or is none")]
    Range,
    #[error("an interval is not of the form {{1}}, {{1,}}, {{,2}} or {{1,2}}")]
    Interval,
    #[error("nothing can be repeated more than {} times", posix::MOST_REPEATED)]
    Count,
    #[error("a `\\` at the end has nothing to stand before")]
    Backslash,
    #[error("a back-reference has no group of its number before it")]
    Reference,
    #[error("it is nested too deeply")]
    Depth,
    #[error("it is too large")]
    Size,
}

/// A pattern that is right.
pub(crate) enum Pattern {
    /// It can be looked for in linear time.
    Plain(Hir),
    /// It has back-references.
    Referring(Program),
}

/// Reads a pattern. With `ignore_case` it is one for subjects in lower case.
pub(crate) fn parse(pattern: &[u8], syntax: Syntax, ignore_case: bool) -> Result<Pattern, PatternError> {
    let expression = match syntax {
        Syntax::Bre => posix::parse(pattern, posix::Dialect::Basic, ignore_case)?,
        Syntax::Ere => posix::parse(pattern, posix::Dialect::Extended, ignore_case)?,
        Syntax::Fnmatch => return plain(wildcard::parse(pattern, ignore_case)),
    };
    if expression.size() > MOST_STATES {
        return Err(PatternError::Size);
    }
    if expression.refers() {
        Program::new(pattern, &expression).map(Pattern::Referring)
    } else {
        plain(expression.to_hir())
    }
}

fn plain(hir: Hir) -> Result<Pattern, PatternError> {
    if shape::size(&hir) > MOST_STATES { Err(PatternError::Size) } else { Ok(Pattern::Plain(hir)) }
}

/// Room for a byte repeated as often as POSIX allows, or 255 times 255 times, in a few megabytes.
pub(crate) const MOST_STATES: usize = 100_000;
