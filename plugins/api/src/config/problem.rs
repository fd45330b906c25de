//! What is wrong with a configuration, and where.

use std::{borrow::Cow, fmt, ops::Range};

use super::Spans;

/// A range of bytes in a source.
pub type Span = Range<usize>;

/// A configuration text and the name under which messages mention it.
#[derive(Clone, Debug)]
pub struct Source {
    name: String,
    text: String,
}

impl Source {
    /// A text with its name, usually a path. A byte order mark is taken off.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        Self { name: name.into(), text }
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Line and column, both from 1, of a byte offset; the column counts characters.
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..self.floor(offset)).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        (line, before.get(line_start..).unwrap_or_default().chars().count() + 1)
    }

    /// The line that holds a byte offset, without its end, and the offset where it starts.
    fn line(&self, offset: usize) -> (usize, &str) {
        let offset = self.floor(offset);
        let start = self.text.get(..offset).unwrap_or_default().rfind('\n').map_or(0, |newline| newline + 1);
        let rest = self.text.get(start..).unwrap_or_default();
        (start, rest.lines().next().unwrap_or_default())
    }

    /// The last character boundary up to this offset.
    fn floor(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

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

/// Everything that is wrong with one source. Displayed in the order of the text, each with its line and a mark under it.
#[derive(Clone, Debug)]
pub struct Problems {
    source: Source,
    list: Vec<Problem>,
}

impl Problems {
    /// No problem yet.
    pub fn new(source: Source) -> Self {
        Self { source, list: Vec::new() }
    }

    /// Adds a problem.
    pub fn push(&mut self, problem: Problem) {
        // One mistake may be seen from two sides.
        if !self.list.contains(&problem) {
            self.list.push(problem);
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The problems, in the order of the text.
    pub fn sorted(&self) -> Vec<&Problem> {
        let mut sorted: Vec<_> = self.list.iter().collect();
        sorted.sort_by_key(|problem| (problem.span.start, problem.span.end));
        sorted
    }

    /// `value` when nothing is wrong.
    ///
    /// # Errors
    ///
    /// The problems, at least one.
    pub fn or_ok<T>(self, value: Option<T>) -> Result<T, Self> {
        match value {
            Some(value) if self.list.is_empty() => Ok(value),
            Some(_) => Err(self),
            None => {
                let mut problems = self;
                if problems.list.is_empty() {
                    problems.push(Problem::new(0..0, "the configuration cannot be used"));
                }
                Err(problems)
            }
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.sorted().into_iter().enumerate() {
            let (line, column) = self.source.position(problem.span.start);
            let separator = if index == 0 { "" } else { "\n" };
            writeln!(f, "{separator}{}:{line}:{column}: {}", self.source.name, problem.message)?;
            let (start, text) = self.source.line(problem.span.start);
            let shown = shorten(text);
            let gutter = line.to_string();
            writeln!(f, "{gutter} | {shown}")?;
            if column <= shown.chars().count() + 1 {
                let end = problem.span.end.min(start + text.len()).max(problem.span.start);
                let marked = self.source.text.get(problem.span.start..self.source.floor(end)).unwrap_or_default();
                let marks = "^".repeat(marked.chars().count().clamp(1, MOST_MARKS));
                // Tabs are kept as tabs, so that the mark stands under its place however wide they are.
                let pad: String = text.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
                writeln!(f, "{} | {pad}{marks}", " ".repeat(gutter.len()))?;
            }
            if let Some(hint) = &problem.hint {
                writeln!(f, "{} = hint: {hint}", " ".repeat(gutter.len()))?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

fn shorten(line: &str) -> Cow<'_, str> {
    if line.chars().count() <= MOST_COLUMNS {
        return line.into();
    }
    line.chars().take(MOST_COLUMNS).chain(['…']).collect::<String>().into()
}

const MOST_COLUMNS: usize = 200;
const MOST_MARKS: usize = 80;

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
