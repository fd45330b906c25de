//! A configuration text, and where in it something stands.

use std::ops::Range;

/// A range of bytes in a source.
pub type Span = Range<usize>;

/// A configuration text and the name under which messages mention it.
#[derive(Clone, Debug)]
pub struct Source {
    name: String,
    text: String,
    /// Where each line starts, so that a position is found without reading the text again.
    lines: Vec<usize>,
}

impl Source {
    /// A text with its name, usually a path. A byte order mark is taken off.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(end, _)| end + 1);
        let lines = std::iter::once(0).chain(ends).collect();
        Self { name: name.into(), text, lines }
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
        let offset = self.floor(offset);
        let line = self.line_of(offset);
        (line, self.part(self.lines[line - 1]..offset).chars().count() + 1)
    }

    /// The number of the line that holds a byte offset, from 1.
    pub(super) fn line_of(&self, offset: usize) -> usize {
        // The first line starts at 0, so one start at least is not behind the offset.
        self.lines.partition_point(|start| *start <= offset)
    }

    /// The line that holds a byte offset, without its end.
    pub(super) fn line(&self, offset: usize) -> &str {
        let start = self.lines[self.line_of(self.floor(offset)) - 1];
        self.part(start..self.text.len()).lines().next().unwrap_or_default()
    }

    /// The part of the text between two offsets, which are moved back to where a character starts.
    pub(super) fn part(&self, span: Span) -> &str {
        self.text.get(self.floor(span.start)..self.floor(span.end)).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters() {
        let source = Source::new("f.toml", "\u{feff}aä\r\nß€😀x\n\nz");
        let at = |part: &str| source.position(source.text().find(part).unwrap());
        assert_eq!(at("a"), (1, 1));
        assert_eq!(at("ä"), (1, 2));
        assert_eq!(at("ß"), (2, 1));
        assert_eq!(at("x"), (2, 4));
        assert_eq!(at("z"), (4, 1));
        assert_eq!(source.line(source.text().find('😀').unwrap() + 2), "ß€😀x", "an offset within a character");
        assert_eq!(source.line(0), "aä", "no end of line");
        assert_eq!(source.position(usize::MAX), (4, 2), "behind the end");
    }

    #[test]
    fn an_empty_text_has_one_position() {
        for text in ["", "\u{feff}"] {
            let source = Source::new("f.toml", text);
            assert_eq!((source.position(0), source.position(9), source.line(0)), ((1, 1), (1, 1), ""));
        }
    }
}
