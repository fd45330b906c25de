//! What is wrong with a configuration, and where.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use super::{Source, Span, Spans};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub span: Span,
    /// What.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem at a place.
    pub fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), hint: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Everything that is wrong with one source. Displayed in the order of the text, each with its line and a mark under it;
/// of very many the first hundred.
#[derive(Clone, Debug)]
pub struct Problems {
    source: Source,
    /// By their place, so that they are in order and one seen twice is found without looking at all of them.
    places: BTreeMap<(usize, usize), Vec<Problem>>,
}

impl Problems {
    /// No problem yet.
    pub fn new(source: Source) -> Self {
        Self { source, places: BTreeMap::new() }
    }

    /// Adds a problem.
    pub fn push(&mut self, problem: Problem) {
        let place = self.places.entry((problem.span.start, problem.span.end)).or_default();
        // One mistake may be seen from two sides.
        if !place.contains(&problem) {
            place.push(problem);
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The problems, in the order of the text.
    pub fn sorted(&self) -> Vec<&Problem> {
        self.places.values().flatten().collect()
    }

    /// The line of the first problem, from 1.
    pub fn first_line(&self) -> Option<usize> {
        self.sorted().first().map(|problem| self.source.position(problem.span.start).0)
    }

    /// `value` when nothing is wrong.
    ///
    /// # Errors
    ///
    /// The problems, at least one.
    pub fn or_ok<T>(mut self, value: Option<T>) -> Result<T, Self> {
        match value {
            Some(value) if self.is_empty() => Ok(value),
            None if self.is_empty() => {
                self.push(Problem::new(0..0, "the configuration cannot be used"));
                Err(self)
            }
            _ => Err(self),
        }
    }

    fn show(&self, problem: &Problem, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.source.position(problem.span.start);
        writeln!(f, "{}:{line}:{column}: {}", self.source.name(), visible(&problem.message, MOST_MESSAGE))?;
        let text = covered(self.source.line(problem.span.start));
        // Of a very long line the part around the place is shown.
        let skipped =
            if text.chars().nth(MOST_COLUMNS).is_some() { column.saturating_sub(MOST_COLUMNS / 2) } else { 0 };
        let before = if skipped > 0 { "…" } else { "" };
        let shown: String = text.chars().skip(skipped).collect();
        let (gutter, shown) = (line.to_string(), visible(&shown, MOST_COLUMNS));
        writeln!(f, "{gutter} | {before}{shown}")?;
        let marked = self.source.part(problem.span.clone()).lines().next().unwrap_or_default();
        let room = (shown.chars().count() + skipped + 1).saturating_sub(column);
        let marks = "^".repeat(marked.chars().count().min(room).max(1));
        // Tabs are kept as tabs, so that the mark stands under its place however wide they are.
        let pad = before.chars().chain(shown.chars()).take(column + before.chars().count() - 1 - skipped);
        let pad: String = pad.map(|character| if character == '\t' { '\t' } else { ' ' }).collect();
        let gutter = " ".repeat(gutter.len());
        writeln!(f, "{gutter} | {pad}{marks}")?;
        match &problem.hint {
            Some(hint) => writeln!(f, "{gutter} = hint: {}", visible(hint, MOST_MESSAGE)),
            None => Ok(()),
        }
    }
}

/// A line with a password in it, without what may be the password: problems are printed, and logged.
fn covered(line: &str) -> Cow<'_, str> {
    let lower = line.to_ascii_lowercase();
    let first = lower.split_whitespace().next().unwrap_or_default();
    let is_secret = lower.contains("password")
        || lower.contains("hmac_key")
        || first == "basicauth"
        || (first == "upstream" && line.contains('@'));
    if !is_secret {
        return line.into();
    }
    // Each character stays one, so that the mark stands where it should.
    let is_shown = |character: char| character.is_whitespace() || "={}[],\"".contains(character);
    let behind = line.len() - line.trim_start().len() + first.len();
    let cover = |(at, character)| if at < behind || is_shown(character) { character } else { '•' };
    line.char_indices().map(cover).collect::<String>().into()
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sorted = self.sorted();
        for (index, problem) in sorted.iter().take(MOST_SHOWN).enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            self.show(problem, f)?;
        }
        match sorted.len().saturating_sub(MOST_SHOWN) {
            0 => Ok(()),
            1 => writeln!(f, "\nand 1 more problem"),
            more => writeln!(f, "\nand {more} more problems"),
        }
    }
}

impl std::error::Error for Problems {}

/// The text with at most so many characters, none of which a terminal obeys. Each stays one character, or marks would
/// stand in the wrong place.
fn visible(text: &str, most: usize) -> Cow<'_, str> {
    let is_plain = |character: char| character == '\t' || !character.is_control();
    if text.len() <= most && text.chars().all(is_plain) {
        return text.into();
    }
    let symbol = |character: char| match character {
        plain if is_plain(plain) => plain,
        '\0'..='\x1f' => char::from_u32(u32::from(character) + 0x2400).unwrap_or('\u{fffd}'),
        '\x7f' => '\u{2421}',
        _ => '\u{fffd}',
    };
    let mut rest = text.chars();
    let mut shown: String = rest.by_ref().take(most).map(symbol).collect();
    if rest.next().is_some() {
        shown.push('…');
    }
    shown.into()
}

const MOST_SHOWN: usize = 100;
const MOST_COLUMNS: usize = 200;
const MOST_MESSAGE: usize = 1000;

/// What a plugin's or authenticator's `build` says about a value that decodes but cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    path: Vec<Step>,
    message: String,
    hint: Option<String>,
}

/// One step from a table to a value in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

impl ConfigError {
    /// About the table as a whole.
    pub fn table(message: impl Into<String>) -> Self {
        Self { path: Vec::new(), message: message.into(), hint: None }
    }

    /// About the value of this key.
    pub fn key(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: vec![Step::Key(key.into())], message: message.into(), hint: None }
    }

    /// About this element of the array that the error is about.
    #[must_use]
    pub fn index(mut self, index: usize) -> Self {
        self.path.push(Step::Index(index));
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with its place, found in the spans of the table.
    pub fn at(self, spans: &Spans) -> Problem {
        Problem { span: spans.find(&self.path), message: self.message, hint: self.hint }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, span: Span) -> String {
        let mut problems = Problems::new(Source::new("f.toml", text));
        problems.push(Problem::new(span, "is wrong").with_hint("mend it"));
        problems.to_string()
    }

    #[test]
    fn a_problem_is_shown_with_its_line_and_a_mark() {
        assert_eq!(
            shown("a = 1\nb = 22\n", 10..12),
            "f.toml:2:5: is wrong\n2 | b = 22\n  |     ^^\n  = hint: mend it\n"
        );
        assert_eq!(shown("\tä = 22", 6..8), "f.toml:1:6: is wrong\n1 | \tä = 22\n  | \t    ^^\n  = hint: mend it\n");
        assert_eq!(shown("a = [\n1]", 4..8), "f.toml:1:5: is wrong\n1 | a = [\n  |     ^\n  = hint: mend it\n");
        assert_eq!(shown("", 0..0), "f.toml:1:1: is wrong\n1 | \n  | ^\n  = hint: mend it\n");
        assert_eq!(shown("a", 7..9), "f.toml:1:2: is wrong\n1 | a\n  |  ^\n  = hint: mend it\n");
    }

    #[test]
    fn a_password_is_not_shown() {
        for (line, kept) in [
            ("users = [{ name = \"ann\", password = \"hunter2\" }]", "users"),
            ("BasicAuth ann hunter2", "BasicAuth"),
            ("  Upstream http ann:hunter2@h:0", "Upstream"),
            ("PASSWORD = hunter2", "PASSWORD"),
        ] {
            let text = shown(line, 12..13);
            assert!(!text.contains("hunter2") && text.contains(kept), "{text}");
            let lines: Vec<_> = text.lines().collect();
            assert_eq!(lines[1].chars().count(), line.chars().count() + 4, "{text}");
        }
        assert!(shown("Upstream http h:0", 9..10).contains("http h:0"));
    }

    #[test]
    fn of_a_long_line_the_part_around_the_place_is_shown() {
        for at in [0, 99, 100, 101, 5000, 9_999] {
            let mut text = "x".repeat(10_000);
            text.replace_range(at..=at, "Y");
            let shown = shown(&text, at..at + 1);
            let lines: Vec<_> = shown.lines().collect();
            assert!(lines[1].chars().count() < 220, "{shown}");
            assert_eq!(lines[1].chars().position(|c| c == 'Y'), lines[2].chars().position(|c| c == '^'), "{shown}");
        }
        let all = shown(&"x".repeat(10_000), 0..10_000);
        assert!(all.lines().all(|line| line.chars().count() < 220), "{all}");
    }

    #[test]
    fn no_text_gives_orders_to_the_terminal() {
        let mut problems = Problems::new(Source::new("f.toml", "\x1b[31ma\u{9b}\x7f"));
        problems.push(Problem::new(5..6, "\x1b[31m").with_hint("\x07"));
        let shown = problems.to_string();
        assert!(!shown.chars().any(|character| character.is_control() && character != '\n'), "{shown:?}");
        assert!(shown.contains("␛[31ma\u{fffd}␡\n"), "{shown:?}");
        assert!(shown.contains("  |      ^\n"), "{shown:?}");
    }

    #[test]
    fn one_problem_is_told_once_and_very_many_are_counted() {
        let mut problems = Problems::new(Source::new("f.toml", "x".repeat(1000)));
        for at in (0..150).rev() {
            problems.push(Problem::new(at..at, "is wrong"));
            problems.push(Problem::new(at..at, "is wrong"));
        }
        let sorted = problems.sorted();
        assert_eq!(sorted.len(), 150);
        assert!(sorted.is_sorted_by_key(|problem| problem.span.start));
        let shown = problems.to_string();
        assert_eq!(shown.matches("is wrong").count(), MOST_SHOWN);
        assert!(shown.ends_with("\nand 50 more problems\n"), "{shown}");
    }

    #[test]
    fn an_error_says_at_least_one_thing() {
        let problems = || Problems::new(Source::new("f.toml", ""));
        assert_eq!(problems().or_ok(Some(1)).unwrap(), 1);
        assert_eq!(problems().or_ok(None::<u8>).unwrap_err().sorted().len(), 1);
        let mut wrong = problems();
        wrong.push(Problem::new(0..0, "is wrong"));
        assert_eq!(wrong.or_ok(Some(1)).unwrap_err().sorted().len(), 1);
    }
}
