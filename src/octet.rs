//! Bytes that are not UTF-8, in texts that are: a `tinyproxy.conf` may hold any bytes, TOML may not.
//!
//! Each such byte is a character between U+EF80 and U+EFFF, where nothing else is defined, so that a path can be told apart from
//! every other one and made into its bytes again.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _, path::PathBuf};

/// Bytes as a text.
pub(crate) fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            // What looks like one of ours is written as its bytes: two files never have the same text.
            match byte(character) {
                Some(_) => character.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| text.push(stand_in(byte))),
                None => text.push(character),
            }
        }
        chunk.invalid().iter().for_each(|byte| text.push(stand_in(*byte)));
    }
    text
}

/// The bytes of a text.
pub(crate) fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match byte(character) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend(character.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    bytes
}

/// The path that a text is.
pub(crate) fn path(text: &str) -> PathBuf {
    OsString::from_vec(bytes(text)).into()
}

/// Whether a text has bytes that are not UTF-8.
pub(crate) fn has_any(text: &str) -> bool {
    text.chars().any(|character| byte(character).is_some())
}

/// The text as people read it, with each byte as the character that it is in Latin-1.
pub(crate) fn latin1(text: &str) -> String {
    text.chars().map(|character| byte(character).map_or(character, char::from)).collect()
}

/// The byte that a character stands for.
fn byte(character: char) -> Option<u8> {
    let byte = u8::try_from(u32::from(character).checked_sub(BASE)?).ok()?;
    (!byte.is_ascii()).then_some(byte)
}

fn stand_in(byte: u8) -> char {
    char::from_u32(BASE + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The same place that MirBSD uses.
const BASE: u32 = 0xef00;

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).chain("aé\u{ef80}\u{efe9}\u{10ffff}".bytes()).collect();
        assert_eq!(bytes(&text(&all)), all);
        assert_eq!(path(&text(b"l\xf6g")).as_os_str().as_bytes(), b"l\xf6g");
        assert_ne!(text(b"\xe9"), text("\u{efe9}".as_bytes()));
    }

    #[test]
    fn a_text_is_read_as_latin_1_where_it_is_not_utf_8() {
        let read = text(b"caf\xe9 caf\xc3\xa9");
        assert!(has_any(&read));
        assert_eq!(latin1(&read), "café café");
        assert!(!has_any("café"));
    }
}
