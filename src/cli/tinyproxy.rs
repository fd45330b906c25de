//! `lockgate tinyproxy`, and a program that is called `tinyproxy`: its options, its exit codes, its ways.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::{Exit, report};
use crate::{
    lasting::Lasting,
    process::{Manner, Service},
    tinyproxy::{self, Mode, VERSION},
};

/// The arguments after the name, if this is to be tinyproxy: by the program's own name, or by that of the subcommand.
pub(super) fn arguments(mut all: impl Iterator<Item = OsString>) -> Option<Vec<OsString>> {
    let program = all.next()?;
    if Path::new(&program).file_name() == Some(OsStr::new(NAME)) {
        return Some(all.collect());
    }
    (all.next()? == NAME).then(|| all.collect())
}

pub(super) fn run(arguments: Vec<OsString>) -> Exit {
    match parse(arguments) {
        Ok(Wish::Version) => {
            report::line(format!("{NAME} {VERSION} (Lockgate {})", env!("CARGO_PKG_VERSION")));
            Exit::Success
        }
        Ok(Wish::Help) => {
            report::line(USAGE);
            Exit::Success
        }
        Ok(Wish::Serve { file, foreground }) => serve(file, foreground),
        Err(error) => {
            report::plain(format!("{NAME}: {error}\n"));
            report::line(USAGE);
            Exit::Usage
        }
    }
}

fn serve(file: PathBuf, foreground: bool) -> Exit {
    let mode = if foreground { Mode::Foreground } else { Mode::Daemon };
    let lasting = Arc::new(Lasting::default());
    let (for_loads, before) = (Arc::clone(&lasting), Mutex::new(None));
    Service {
        manner: Manner::Tinyproxy { foreground },
        name: file.display().to_string(),
        load: Box::new(move || {
            let mut before = before.lock().unwrap_or_else(PoisonError::into_inner);
            let mut loaded = tinyproxy::load(&file, mode, &for_loads, before.clone())?;
            *before = Some(loaded.kept);
            loaded.config.remarks.extend(loaded.warnings.sentences());
            Ok(loaded.config)
        }),
        lasting,
    }
    .run()
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wish {
    Version,
    Help,
    Serve { file: PathBuf, foreground: bool },
}

/// What cannot be understood, in the words of getopt(3).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum OptionError {
    #[error("invalid option -- '{0}'")]
    Unknown(char),
    #[error("option requires an argument -- '{0}'")]
    NoArgument(char),
}

/// Does what getopt(3) does with `c:vdh`: letters can be put together, the file may follow its letter at once, other words are
/// passed over, and what is asked for first is done.
fn parse(arguments: Vec<OsString>) -> Result<Wish, OptionError> {
    let mut words = VecDeque::from(arguments);
    let (mut file, mut foreground) = (PathBuf::from(FILE), false);
    while let Some(word) = words.pop_front() {
        let letters = match word.as_bytes() {
            b"--" => break,
            [b'-', letters @ ..] if !letters.is_empty() => letters,
            _ => continue,
        };
        for (index, letter) in letters.iter().enumerate() {
            match letter {
                b'd' => foreground = true,
                b'h' => return Ok(Wish::Help),
                b'v' => return Ok(Wish::Version),
                b'c' => {
                    let rest = letters.get(index + 1..).filter(|rest| !rest.is_empty());
                    let value = rest.map(|rest| OsString::from_vec(rest.to_vec())).or_else(|| words.pop_front());
                    file = value.ok_or(OptionError::NoArgument('c'))?.into();
                    break;
                }
                other => return Err(OptionError::Unknown(char::from(*other))),
            }
        }
    }
    Ok(Wish::Serve { file, foreground })
}

/// The name under which it is found.
const NAME: &str = "tinyproxy";
/// Where packages of tinyproxy have it.
const FILE: &str = "/etc/tinyproxy/tinyproxy.conf";

const USAGE: &str = "\
Usage: tinyproxy [-d] [-c FILE]
       tinyproxy -h | -v

    -d        Stay in the foreground.
    -c FILE   Read this instead of /etc/tinyproxy/tinyproxy.conf.
    -h        Print this.
    -v        Print the version.

Features compiled in:
    XTinyproxy header
    Filtering
    Transparent proxy support
    Reverse proxy support
    Upstream proxy support

This is Lockgate, which reads tinyproxy's file: `lockgate migrate` prints it as Lockgate's own.";

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Wish, OptionError> {
        parse(words.iter().map(OsString::from).collect())
    }

    fn serve(file: &str, foreground: bool) -> Result<Wish, OptionError> {
        Ok(Wish::Serve { file: file.into(), foreground })
    }

    #[test]
    fn options_are_read_as_getopt_reads_them() {
        assert_eq!(parsed(&[]), serve(FILE, false));
        assert_eq!(parsed(&["-d"]), serve(FILE, true));
        for words in
            [&["-d", "-c", "f"][..], &["-dc", "f"], &["-dcf"], &["-cf", "-d"], &["x", "-cf", "y", "-d"], &["-ddcf"]]
        {
            assert_eq!(parsed(words), serve("f", true), "{words:?}");
        }
        assert_eq!(parsed(&["-cd"]), serve("d", false));
        assert_eq!(parsed(&["-c", "-d"]), serve("-d", false));
        assert_eq!(parsed(&["-c", "a", "-c", "b"]), serve("b", false));
        assert_eq!(parsed(&["-", "--", "-d"]), serve(FILE, false));
        assert_eq!(parsed(&["-v", "-x"]), Ok(Wish::Version));
        assert_eq!(parsed(&["-dh"]), Ok(Wish::Help));
        assert_eq!(parsed(&["-x", "-v"]), Err(OptionError::Unknown('x')));
        assert_eq!(parsed(&["--help"]), Err(OptionError::Unknown('-')));
        assert_eq!(parsed(&["-d", "-c"]), Err(OptionError::NoArgument('c')));
    }

    #[test]
    fn it_is_known_by_its_name() {
        let found = |words: &[&str]| arguments(words.iter().map(OsString::from));
        assert_eq!(found(&["/usr/bin/tinyproxy", "-d"]), Some(vec!["-d".into()]));
        assert_eq!(found(&["lockgate", "tinyproxy", "-d"]), Some(vec!["-d".into()]));
        assert_eq!(found(&["tinyproxy"]), Some(vec![]));
        assert_eq!(found(&["lockgate", "run", "tinyproxy"]), None);
        assert_eq!(found(&["lockgate"]), None);
    }
}
