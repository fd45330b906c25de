//! Arguments of a directive: the tokens that tinyproxy's grammar is made of.

use plugin_api::config::{Problem, Span};

use super::line::is_blank;
use crate::octet;

/// A value and where it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

impl<T> At<T> {
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> At<U> {
        At { value: change(self.value), span: self.span }
    }
}

/// A walk through the arguments of one directive.
pub(super) struct Arguments<'t> {
    /// Where the keyword stands, which is the place of an argument that is missing.
    keyword: Span,
    rest: &'t str,
    at: usize,
}

impl<'t> Arguments<'t> {
    /// What follows a keyword, and where that starts.
    pub(super) fn new(keyword: Span, rest: &'t str, at: usize) -> Self {
        Self { keyword, rest, at }
    }

    /// Everything that is left, with the blanks before it; for directives with a grammar of their own.
    pub(super) fn take_rest(&mut self) -> At<&'t str> {
        let rest = std::mem::take(&mut self.rest);
        let span = self.at..self.at + rest.len();
        self.at = span.end;
        At { value: rest, span }
    }

    /// Where the keyword stands.
    pub(super) fn keyword(&self) -> Span {
        self.keyword.clone()
    }

    /// Whether anything but blanks is left.
    pub(super) fn has_more(&self) -> bool {
        !self.rest.trim_start_matches(is_blank).is_empty()
    }

    /// A text in double quotes. What is not UTF-8 in it is read as Latin-1, which files of that age are written in.
    pub(super) fn quoted(&mut self, what: &str) -> Result<At<String>, Problem> {
        Ok(self.quoted_bytes(what)?.map(|text| octet::latin1(&text)))
    }

    /// A text in double quotes, of one character at least, for what keeps its bytes. There are no escapes.
    pub(super) fn quoted_bytes(&mut self, what: &str) -> Result<At<String>, Problem> {
        let token = self.peek(what)?;
        let Some(inner) = self.rest.strip_prefix('"') else {
            let hint = format!("write \"{}\"", self.rest.trim_end_matches(is_blank).replace('"', ""));
            return Err(Problem::new(token.span, format!("{what} stands in double quotes")).with_hint(hint));
        };
        let Some(length) = inner.find('"') else {
            let end = self.at + self.rest.trim_end_matches(is_blank).len();
            return Err(Problem::new(self.at..end, "the closing quote is missing"));
        };
        if length == 0 {
            return Err(Problem::new(self.at..self.at + 2, format!("{what} must not be empty")));
        }
        Ok(self.advance(length + 2).map(|text| text.trim_matches('"').to_owned()))
    }

    /// A number. One with a leading zero is octal, and one that does not fit wraps to 32 bits: that is how tinyproxy
    /// reads them.
    pub(super) fn number(&mut self, what: &str) -> Result<At<u32>, Problem> {
        let token = self.word(what)?;
        if !token.value.bytes().all(|byte| byte.is_ascii_digit()) {
            let message = format!("`{}` is not {what}", token.value);
            return Err(Problem::new(token.span, message).with_hint("write it in digits, without a sign or a unit"));
        }
        Ok(token.map(number))
    }

    /// `yes`, `on`, `no` or `off`.
    pub(super) fn switch(&mut self) -> Result<At<bool>, Problem> {
        self.choice(&[("yes", true), ("on", true), ("no", false), ("off", false)])
    }

    /// One of these words, in any case.
    pub(super) fn choice<C: Copy>(&mut self, known: &[(&str, C)]) -> Result<At<C>, Problem> {
        let words: Vec<_> = known.iter().map(|(word, _)| *word).collect();
        let what = format!("one of {}", words.join(", "));
        let token = self.word(&what)?;
        let Some((_, chosen)) = known.iter().find(|(word, _)| word.eq_ignore_ascii_case(token.value)) else {
            return Err(Problem::new(token.span, format!("`{}` is not {what}", token.value)));
        };
        Ok(token.map(|_| *chosen))
    }

    /// Letters, digits, `-`, `.` and `_`, without quotes.
    pub(super) fn name(&mut self, what: &str) -> Result<At<String>, Problem> {
        let token = self.word(what)?;
        if is_name(token.value) {
            return Ok(token.map(str::to_owned));
        }
        let problem = Problem::new(token.span, format!("`{}` is not {what}", token.value));
        let bare = token.value.trim_matches('"');
        Err(if is_name(bare) {
            problem.with_hint(format!("write {bare}, without quotes"))
        } else {
            problem.with_hint("it may have letters, digits, `-`, `.` and `_`")
        })
    }

    /// What stands up to the next blank.
    pub(super) fn word(&mut self, what: &str) -> Result<At<&'t str>, Problem> {
        let length = self.peek(what)?.value.len();
        Ok(self.advance(length))
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<(), Problem> {
        let rest = self.rest.trim_matches(is_blank);
        if rest.is_empty() {
            return Ok(());
        }
        let start = self.at + self.rest.len() - self.rest.trim_start_matches(is_blank).len();
        Err(Problem::new(start..start + rest.len(), "nothing may follow here"))
    }

    /// The next word, with the blanks before it skipped.
    fn peek(&mut self, what: &str) -> Result<At<&'t str>, Problem> {
        let rest = self.rest.trim_start_matches(is_blank);
        let skipped = self.rest.len() - rest.len();
        if rest.is_empty() {
            return Err(Problem::new(self.keyword.clone(), format!("{what} is missing")));
        }
        if skipped == 0 {
            let length = rest.chars().next().map_or(0, char::len_utf8);
            return Err(Problem::new(self.at..self.at + length, format!("a blank is missing before {what}")));
        }
        self.rest = rest;
        self.at += skipped;
        let word = rest.split(is_blank).next().unwrap_or(rest);
        Ok(At { value: word, span: self.at..self.at + word.len() })
    }

    fn advance(&mut self, length: usize) -> At<&'t str> {
        let (taken, rest) = self.rest.split_at(length);
        let span = self.at..self.at + length;
        self.rest = rest;
        self.at = span.end;
        At { value: taken, span }
    }
}

/// Whether a text is made of letters, digits, `-`, `.` and `_`.
pub(super) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// Digits as `strtoul` reads them with base 0, cut to the 32 bits of the settings. Octal digits end at the first that is none.
pub(super) fn number(digits: &str) -> u32 {
    let (digits, base) = match digits.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => (octal, 8),
        _ => (digits, 10),
    };
    let values = digits.chars().map_while(|digit| digit.to_digit(base).map(u64::from));
    let value = values.fold(0_u64, |sum, digit| sum.saturating_mul(base.into()).saturating_add(digit));
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_like_c_does() {
        for (digits, value) in [
            ("0", 0),
            ("8888", 8888),
            ("044710", 18888),
            ("08", 0),
            ("0178", 15),
            ("00", 0),
            ("4294967296", 0),
            ("4294976184", 8888),
            ("99999999999", 1_215_752_191),
            ("99999999999999999999", u32::MAX),
        ] {
            assert_eq!(number(digits), value, "{digits}");
        }
    }

    #[test]
    fn tokens_know_where_they_stand() {
        let mut arguments = Arguments::new(0..4, " \t\"a b\"  Off c-1.x_ 7 \t", 4);
        assert_eq!(arguments.quoted("a text").unwrap(), At { value: "a b".to_owned(), span: 6..11 });
        assert_eq!(arguments.switch().unwrap(), At { value: false, span: 13..16 });
        assert_eq!(arguments.name("a name").unwrap(), At { value: "c-1.x_".to_owned(), span: 17..23 });
        assert!(arguments.has_more());
        assert_eq!(arguments.number("a number").unwrap(), At { value: 7, span: 24..25 });
        assert!(!arguments.has_more());
        assert_eq!(arguments.end(), Ok(()));
        assert_eq!(arguments.number("a number").unwrap_err(), Problem::new(0..4, "a number is missing"));
    }
}
