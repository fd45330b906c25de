//! The lines of a journal, as text.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use authenticator_api::{KeyAuthorization, Token};

/// Something that is about to be created below a webroot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A directory, with a name that is known.
    Directory {
        /// The webroot.
        root: PathBuf,
        /// Which one.
        part: Part,
    },
    /// The file of a token.
    File {
        /// The webroot.
        root: PathBuf,
        /// Its name in the end.
        token: Token,
        /// What is written into it.
        key_authorization: KeyAuthorization,
        /// Its name until it is whole.
        temporary: Temporary,
    },
}

/// The directories between a webroot and its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// `.well-known`
    WellKnown,
    /// `.well-known/acme-challenge`
    AcmeChallenge,
}

impl Part {
    /// From the webroot downwards.
    pub(crate) const DOWN: [Self; 2] = [Self::WellKnown, Self::AcmeChallenge];
    /// From the tokens upwards.
    pub(crate) const UP: [Self; 2] = [Self::AcmeChallenge, Self::WellKnown];

    /// Its last component.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WellKnown => ".well-known",
            Self::AcmeChallenge => "acme-challenge",
        }
    }
}

/// The name of a file that is not whole yet. It starts with a dot, which no token has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Temporary(String);

impl Temporary {
    /// The name made of `random`.
    pub(crate) fn new(random: u64) -> Self {
        Self(format!("{TEMPORARY_PREFIX}{random:016x}"))
    }

    fn parse(text: &str) -> Option<Self> {
        let random = text.strip_prefix(TEMPORARY_PREFIX)?;
        let hexadecimal = random.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (random.len() == 16 && hexadecimal).then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Entry {
    /// The line, with its end.
    pub(crate) fn encode(&self) -> String {
        match self {
            Self::Directory { root, part } => format!("directory {} {}\n", part.name(), escape(root)),
            Self::File { root, token, key_authorization, temporary } => {
                format!("file {token} {} {} {}\n", key_authorization.as_str(), temporary.as_str(), escape(root))
            }
        }
    }

    fn decode(line: &str) -> Option<Self> {
        let words: Vec<_> = line.split(' ').collect();
        match words.as_slice() {
            ["directory", part, root] => {
                let part = Part::DOWN.into_iter().find(|one| one.name() == *part)?;
                Some(Self::Directory { root: unescape(root)?, part })
            }
            ["file", token, key_authorization, temporary, root] => Some(Self::File {
                root: unescape(root)?,
                token: Token::parse(token).ok()?,
                key_authorization: KeyAuthorization::parse(key_authorization).ok()?,
                temporary: Temporary::parse(temporary)?,
            }),
            _ => None,
        }
    }
}

/// What a journal says, or `None` when it is not one of ours: then nothing of it may be believed.
///
/// A last line without an end was being written when the process died. What it announces has not happened, because an
/// entry is on disk before its file is created.
pub(crate) fn decode(journal: &[u8]) -> Option<Vec<Entry>> {
    let whole = journal.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let (whole, torn) = journal.split_at(whole);
    if whole.is_empty() {
        return HEADER.as_bytes().starts_with(torn).then(Vec::new);
    }
    let text = std::str::from_utf8(whole).ok()?;
    text.strip_prefix(HEADER)?.lines().map(Entry::decode).collect()
}

/// Everything but visible ASCII as `%xx`, so that a path is one word of one line.
fn escape(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_graphic() && *byte != b'%' {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02x}"));
        }
    }
    text
}

/// An absolute path; another would mean something else in another working directory.
fn unescape(text: &str) -> Option<PathBuf> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            u8::try_from(digit(rest.next()?)? * 16 + digit(rest.next()?)?).ok()?
        } else {
            byte
        });
    }
    let path = PathBuf::from(OsString::from_vec(bytes));
    (path.is_absolute() && !path.as_os_str().as_bytes().contains(&0)).then_some(path)
}

/// The first line; the number grows when older versions must not act on what follows.
pub(crate) const HEADER: &str = "lockgate-webroot-journal 1\n";

const TEMPORARY_PREFIX: &str = ".lockgate-";

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let strange = PathBuf::from(OsString::from_vec(b"/srv/a b%20\n\xff/\xc3\xa4".to_vec()));
        vec![
            Entry::Directory { root: strange.clone(), part: Part::WellKnown },
            Entry::Directory { root: "/srv/www".into(), part: Part::AcmeChallenge },
            Entry::File {
                root: strange,
                token: Token::parse("tok-en_1").unwrap(),
                key_authorization: KeyAuthorization::parse("tok-en_1.thumb").unwrap(),
                temporary: Temporary::new(0xab),
            },
        ]
    }

    fn text() -> String {
        HEADER.to_owned() + &entries().iter().map(Entry::encode).collect::<String>()
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(decode(text().as_bytes()), Some(entries()));
    }

    #[test]
    fn a_journal_cut_anywhere_is_a_shorter_journal() {
        let text = text();
        for length in 0..text.len() {
            let cut = decode(&text.as_bytes()[..length]).unwrap_or_else(|| panic!("cut at {length}"));
            assert_eq!(cut, entries()[..cut.len()], "cut at {length}");
        }
    }

    #[test]
    fn anything_else_is_no_journal() {
        for line in [
            "",
            "file",
            "remove /etc",
            "directory .. /srv/www",
            "directory .well-known srv/www",
            "directory .well-known /srv/%zz",
            "directory .well-known /srv/%00",
            "file ../passwd a.b .lockgate-00000000000000ab /etc",
            "file token a.b passwd /etc",
            "file token a.b .lockgate-../../etc/pass /etc",
            "file token no-authorization .lockgate-00000000000000ab /etc",
            "\0\0\0\0",
        ] {
            assert_eq!(decode(format!("{HEADER}{line}\n").as_bytes()), None, "{line:?}");
            assert_eq!(decode(format!("{}{line}\n", text()).as_bytes()), None, "{line:?}");
        }
        for journal in [&b"\xff\xfe\n"[..], b"\0", b"lockgate-webroot-journal 2\n", b"\n", b"garbage"] {
            assert_eq!(decode(journal), None, "{journal:?}");
        }
    }
}
