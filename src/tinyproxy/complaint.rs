//! What tinyproxy itself says on standard error about a file that it does not start with: there are scripts that look for it.

use std::io;

use plugin_api::config::Problems;

use crate::config::LoadError;

/// Its lines about this, in its words. The places and hints are in ours.
pub(crate) fn complaint(error: &LoadError) -> Vec<String> {
    match error {
        // It reads a directory like an empty file.
        LoadError::Read { source, .. } if source.kind() == io::ErrorKind::IsADirectory => vec![MUST.to_owned()],
        LoadError::Read { path, .. } => vec![format!("tinyproxy: Could not open config file \"{path}\".")],
        LoadError::Problems(problems) => syntax(problems),
        LoadError::Filter(problems) => first(problems).and_then(filter).into_iter().collect(),
        LoadError::Listen(_) => vec!["tinyproxy: Could not create listening sockets.".to_owned()],
    }
}

/// It stops at the first.
fn syntax(problems: &Problems) -> Vec<String> {
    let message = first(problems).unwrap_or_default();
    if message == NO_PORT {
        return vec![MUST.to_owned()];
    }
    let port = message.strip_suffix(NOT_A_PORT).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    let port = port.map(|port| format!("Bad port number ({port}) supplied for Port."));
    let line = problems.first_line().map(|line| format!("ERROR: Syntax error on line {line}"));
    port.into_iter().chain(line).chain(["Unable to parse config file. Not starting.".to_owned()]).collect()
}

fn filter(message: &str) -> Option<String> {
    let Some((_, cause)) = message.split_once("`: ").filter(|_| message.starts_with("cannot read")) else {
        return Some(message.to_owned());
    };
    let cause = cause.split(" (os error").next().unwrap_or_default();
    (cause != "Is a directory").then(|| format!("filter file: {cause}"))
}

fn first(problems: &Problems) -> Option<&str> {
    problems.sorted().first().map(|problem| problem.message.as_str())
}

const MUST: &str = "tinyproxy: You MUST set a Port in the config file.";
/// What a file without a port is told.
pub(super) const NO_PORT: &str = "there is no port to listen on";
/// What stands behind a number that is no port.
pub(super) const NOT_A_PORT: &str = " is not a port";

#[cfg(test)]
mod tests {
    use plugin_api::config::{Problem, Source};

    use super::*;

    fn told(message: &str) -> Problems {
        let mut problems = Problems::new(Source::new("t.conf", "# one\nPort x\n"));
        problems.push(Problem::new(6..10, message));
        problems
    }

    #[test]
    fn the_words_are_those_that_scripts_know() {
        for (error, expected) in [
            (
                LoadError::Problems(told("wrong")),
                &["ERROR: Syntax error on line 2", "Unable to parse config file. Not starting."][..],
            ),
            (
                LoadError::Problems(told("65536 is not a port")),
                &[
                    "Bad port number (65536) supplied for Port.",
                    "ERROR: Syntax error on line 2",
                    "Unable to parse config file. Not starting.",
                ],
            ),
            (LoadError::Problems(told(NO_PORT)), &["tinyproxy: You MUST set a Port in the config file."]),
            (LoadError::Filter(told("Bad regex in /f: line 3 - [a")), &["Bad regex in /f: line 3 - [a"]),
            (
                LoadError::Filter(told("cannot read the filter file `/f`: No such file or directory (os error 2)")),
                &["filter file: No such file or directory"],
            ),
            (LoadError::Listen(told("twice")), &["tinyproxy: Could not create listening sockets."]),
        ] {
            assert_eq!(complaint(&error), expected);
        }
    }
}
