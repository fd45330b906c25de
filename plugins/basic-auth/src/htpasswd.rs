//! Files of names and hashes.

use std::{collections::HashMap, fs, io, path::Path, sync::Arc};

use argon2::{
    Argon2, Params,
    password_hash::{PasswordVerifier as _, phc::PasswordHash},
};
use bcrypt::HashParts;

/// Users by their names.
pub(crate) type Users = HashMap<Box<str>, Arc<Hash>>;

/// A hash that can be checked. No `Debug`: nobody shall print it.
pub(crate) enum Hash {
    Bcrypt(Box<str>),
    Argon2(Box<str>),
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("cannot read the file: {0}")]
    Read(#[from] io::Error),
    #[error("this is not a regular file")]
    Irregular,
    #[error("the file is larger than {} MiB", MOST_BYTES >> 20)]
    TooLarge,
    #[error("the file is not UTF-8")]
    NotUtf8,
    #[error("line {line} of the file: {source}")]
    Line { line: usize, source: LineError },
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LineError {
    #[error("there is no colon between a name and a hash")]
    NoColon,
    #[error("the name is empty, or holds a control character")]
    Name,
    #[error("an earlier line has the same name")]
    Twice,
    #[error("this is neither a bcrypt nor an Argon2 hash: write it with `htpasswd -B`")]
    Unknown,
    #[error("the hash is malformed")]
    Malformed,
    #[error("to check this hash takes too much time or memory")]
    TooCostly,
}

/// Reads a file.
pub(crate) fn read(path: &Path) -> Result<Users, FileError> {
    // A named pipe would keep us waiting.
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(FileError::Irregular);
    }
    if metadata.len() > MOST_BYTES {
        return Err(FileError::TooLarge);
    }
    let text = String::from_utf8(fs::read(path)?).map_err(|_error| FileError::NotUtf8)?;
    parse(&text).map_err(|(line, source)| FileError::Line { line, source })
}

/// Reads a text; an error has the number of its line.
fn parse(text: &str) -> Result<Users, (usize, LineError)> {
    let mut users = Users::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, hash) = user(line).map_err(|error| (index + 1, error))?;
        if users.insert(name.into(), Arc::new(hash)).is_some() {
            return Err((index + 1, LineError::Twice));
        }
    }
    Ok(users)
}

fn user(line: &str) -> Result<(&str, Hash), LineError> {
    let (name, hash) = line.split_once(':').ok_or(LineError::NoColon)?;
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(LineError::Name);
    }
    Ok((name, Hash::parse(hash)?))
}

impl Hash {
    fn parse(text: &str) -> Result<Self, LineError> {
        if ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix)) {
            let parts: HashParts = text.parse().map_err(|_error| LineError::Malformed)?;
            return match parts.get_cost() {
                4..=MOST_COST => Ok(Self::Bcrypt(text.into())),
                0..4 => Err(LineError::Malformed),
                _ => Err(LineError::TooCostly),
            };
        }
        if text.starts_with("$argon2") {
            let hash = PasswordHash::new(text).map_err(|_error| LineError::Malformed)?;
            let params = Params::try_from(&hash).map_err(|_error| LineError::Malformed)?;
            if hash.salt.is_none() || hash.hash.is_none() {
                return Err(LineError::Malformed);
            }
            let work = u64::from(params.m_cost()) * u64::from(params.t_cost());
            let is_costly = params.m_cost() > MOST_KIBIBYTES || work > MOST_WORK;
            return if is_costly { Err(LineError::TooCostly) } else { Ok(Self::Argon2(text.into())) };
        }
        Err(LineError::Unknown)
    }

    /// Whether it is the hash of this password. Takes its time: that is what such hashes are for.
    pub(crate) fn is_of(&self, password: &[u8]) -> bool {
        match self {
            Self::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            Self::Argon2(hash) => {
                PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
            }
        }
    }
}

/// The longest file that is read.
const MOST_BYTES: u64 = 16 << 20;
/// The highest cost of a bcrypt hash: a few seconds. Each step doubles it.
const MOST_COST: u32 = 15;
/// The memory that an Argon2 hash may need: 1 GiB.
const MOST_KIBIBYTES: u32 = 1 << 20;
/// Memory times passes: some seconds.
const MOST_WORK: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    // Made by crypt(3), with a cost that does not hold tests up.
    const BCRYPT: &str = "$2y$05$abcdefghijklmnopqrstuuhKF09ZYWwH2zP/0fwE1X8e/Q1YNx/hO";

    fn wrong(text: &str) -> (usize, LineError) {
        parse(text).err().unwrap()
    }

    #[test]
    fn lines_are_a_name_and_a_hash() {
        let users = parse(&format!("# users\n\nann:{BCRYPT}\r\n  bob:{BCRYPT}  \nbücher:{BCRYPT}")).unwrap();
        let mut names: Vec<_> = users.keys().map(|name| &**name).collect();
        names.sort_unstable();
        assert_eq!(names, ["ann", "bob", "bücher"]);
        assert!(users["ann"].is_of(b"x") && !users["ann"].is_of(b"y") && !users["ann"].is_of(b""));
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_checked_is_told_with_its_line() {
        for (line, expected) in [
            ("ann", LineError::NoColon),
            (":$2y$05$abc", LineError::Name),
            ("a\u{7}n:$2y$05$abc", LineError::Name),
            ("ann:$2y$05$abc", LineError::Malformed),
            ("ann:$apr1$abcdefgh$x", LineError::Unknown),
            ("ann:{SHA}x", LineError::Unknown),
            ("ann:plain", LineError::Unknown),
            ("ann:", LineError::Unknown),
            ("ann:$argon2id$x", LineError::Malformed),
            ("ann:$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ", LineError::Malformed),
            (
                "ann:$argon2id$v=19$m=4000000,t=1,p=1$c2FsdHNhbHQ$IwyUbf2vLQGjn5fLUuEhRA8vP0FDWqQyTTaoHSBVmrU",
                LineError::TooCostly,
            ),
            (
                "ann:$argon2id$v=19$m=65536,t=1000,p=1$c2FsdHNhbHQ$IwyUbf2vLQGjn5fLUuEhRA8vP0FDWqQyTTaoHSBVmrU",
                LineError::TooCostly,
            ),
        ] {
            assert_eq!(wrong(&format!("# one\n{line}\n")), (2, expected), "{line}");
        }
        assert_eq!(wrong(&format!("ann:{}", BCRYPT.replace("$05$", "$31$"))), (1, LineError::TooCostly));
        assert_eq!(wrong(&format!("ann:{BCRYPT}\nann:{BCRYPT}")), (2, LineError::Twice));
    }

    #[test]
    fn no_error_shows_a_hash() {
        for line in ["ann:plain-secret", "ann:$2y$05$plain-secret", "ann:$argon2id$plain-secret"] {
            let (line, source) = wrong(line);
            let error = FileError::Line { line, source };
            assert!(!format!("{error} {error:?}").contains("secret"));
        }
    }
}
