//! The file with patterns, as tinyproxy reads it.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read as _},
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

/// A pattern and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'t> {
    /// From 1.
    pub(crate) number: usize,
    pub(crate) pattern: &'t [u8],
}

/// Reads a file, up to a size that no list has.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(in_bytes(path))?.take(LARGEST + 1).read_to_end(&mut text)?;
    let is_list = u64::try_from(text.len()).is_ok_and(|length| length <= LARGEST);
    if is_list { Ok(text) } else { Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 64 MB")) }
}

/// A path as the `tinyproxy.conf` has it that it comes from: characters from U+EF80 to U+EFFF stand for its bytes that are not UTF-8.
pub(crate) fn in_bytes(path: &Path) -> PathBuf {
    let Some(text) = path.to_str() else { return path.to_owned() };
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match u32::from(character).checked_sub(0xef00).and_then(|byte| u8::try_from(byte).ok()) {
            Some(byte) if !byte.is_ascii() => bytes.push(byte),
            _ => bytes.extend(character.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    OsString::from_vec(bytes).into()
}

/// The patterns of a text: the first word of each line, up to a `#` that no backslash stands before.
pub(crate) fn lines(text: &[u8]) -> impl Iterator<Item = Line<'_>> {
    // Editors put it there; tinyproxy takes it for a part of the first pattern, which then is found nowhere.
    let text = text.strip_prefix(BOM).unwrap_or(text);
    let lines = (1..).zip(text.split(|byte| *byte == b'\n'));
    lines.map(|(number, line)| Line { number, pattern: pattern(line) }).filter(|line| !line.pattern.is_empty())
}

fn pattern(line: &[u8]) -> &[u8] {
    // What stands behind a NUL is not seen by programs that are written in C.
    let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
    let word = line.split(|byte| is_blank(*byte)).find(|word| !word.is_empty()).unwrap_or_default();
    let is_comment = |at: &usize| word[*at] == b'#' && (*at == 0 || word[*at - 1] != b'\\');
    let end = (0..word.len()).find(is_comment).unwrap_or(word.len());
    word.get(..end).unwrap_or_default()
}

fn is_blank(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// Whether a list begins with a byte order mark.
pub(crate) fn has_bom(text: &[u8]) -> bool {
    text.starts_with(BOM)
}

const BOM: &[u8] = b"\xef\xbb\xbf";
const LARGEST: u64 = 64_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn read_lines(text: &str) -> Vec<(usize, &str)> {
        lines(text.as_bytes()).map(|line| (line.number, str::from_utf8(line.pattern).unwrap())).collect()
    }

    #[test]
    fn the_first_word_of_a_line_is_a_pattern() {
        let text =
            "a\n\n  b c\n\t# x\n#d\ne#f\ng\\#h i\nj\\##k\r\nl\r\n\x0b\x0cm\x0bn\n\\#\n\0o\np\0q\nr s#\n # t\nlast";
        let expected = [
            (1, "a"),
            (3, "b"),
            (6, "e"),
            (7, "g\\#h"),
            (8, "j\\#"),
            (9, "l"),
            (10, "m"),
            (11, "\\#"),
            (13, "p"),
            (14, "r"),
            (16, "last"),
        ];
        assert_eq!(read_lines(text), expected);
        assert_eq!(read_lines("\u{feff}a\n"), [(1, "a")]);
        assert_eq!(read_lines(""), []);
    }

    #[test]
    fn a_path_may_have_any_bytes() {
        let path = |text: &str| in_bytes(Path::new(text)).into_os_string().into_vec();
        assert_eq!(path("a/l\u{eff6}st"), b"a/l\xf6st");
        assert_eq!(path("a/é"), "a/é".as_bytes());
    }

    #[test]
    fn what_is_no_list_is_not_read_to_its_end() {
        assert_eq!(read(Path::new("/dev/zero")).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read(Path::new("/dev/null")).unwrap(), b"");
        assert!(read(Path::new("/")).is_err());
    }
}
