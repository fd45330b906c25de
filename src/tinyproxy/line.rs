//! Lines as tinyproxy sees them.

/// A line without its end, and where in the file it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'t> {
    pub(super) text: &'t str,
    pub(super) start: usize,
}

/// The lines of a file. What follows a NUL in a line is not seen, as in every program that keeps lines as C strings.
pub(super) fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    let mut start = 0;
    text.split_inclusive('\n').map(move |whole| {
        let line = Line { text: until_nul(whole.strip_suffix('\n').unwrap_or(whole)), start };
        start += whole.len();
        line
    })
}

/// How tinyproxy's buffer of `LINE_MAX` bytes cuts a long line: each part is a line to it.
pub(super) fn parts(line: Line<'_>) -> Vec<Line<'_>> {
    let (mut rest, mut start, mut parts) = (line.text, line.start, Vec::new());
    loop {
        let (part, after) = rest.split_at(floor(rest, BUFFER));
        parts.push(Line { text: part, start });
        if after.is_empty() {
            return parts;
        }
        start += part.len();
        rest = after;
    }
}

/// Whether a byte is white space to C's `isspace`.
pub(super) fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r')
}

/// Whether a character separates arguments.
pub(super) fn is_blank(character: char) -> bool {
    matches!(character, ' ' | '\t')
}

fn until_nul(text: &str) -> &str {
    text.split('\0').next().unwrap_or(text)
}

/// The last character boundary up to this offset, but not 0.
fn floor(text: &str, offset: usize) -> usize {
    (1..=offset.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(text.len())
}

/// `fgets` into a buffer of `LINE_MAX` (2048) leaves room for the terminating NUL.
const BUFFER: usize = 2047;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_know_where_they_start() {
        let all: Vec<_> = lines("a\n\nb\0c\r\nd").map(|line| (line.start, line.text)).collect();
        assert_eq!(all, [(0, "a"), (2, ""), (3, "b"), (8, "d")]);
        assert_eq!(lines("").count(), 0);
    }

    #[test]
    fn a_long_line_falls_apart() {
        let text = format!("#{}Port 1", "x".repeat(2046));
        let parts = parts(Line { text: &text, start: 10 });
        assert_eq!(parts.iter().map(|part| (part.start, part.text.len())).collect::<Vec<_>>(), [(10, 2047), (2057, 6)]);
        assert_eq!(parts[1].text, "Port 1");
        assert_eq!(super::parts(Line { text: "", start: 3 }), [Line { text: "", start: 3 }]);
        let wide = "ä".repeat(2000);
        assert_eq!(super::parts(Line { text: &wide, start: 0 })[0].text.len(), 2046);
    }
}
