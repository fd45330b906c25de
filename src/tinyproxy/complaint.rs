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

/// Its line about something that it starts with all the same, when this is our sentence about that.
pub(crate) fn remark(sentence: &str) -> Option<String> {
    let (place, _) = sentence.strip_suffix(OBSOLETE)?.rsplit_once(": warning: ")?;
    let line = place.rsplit(':').nth(1)?;
    Some(format!("WARNING: obsolete config item on line {line}"))
}

/// It stops at the first.
fn syntax(problems: &Problems) -> Vec<String> {
    let message = first(problems).unwrap_or_default();
    if message == NO_PORT {
        return vec![MUST.to_owned()];
    }
    // The number is an `int` there.
    let port = message.strip_suffix(NOT_A_PORT).and_then(|port| port.parse::<u32>().ok()).map(u32::cast_signed);
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
/// What stands behind the name of a directive that has no effect any more.
const OBSOLETE: &str = " is obsolete in tinyproxy too and has no effect";
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
            (
                LoadError::Problems(told("4294967295 is not a port")),
                &[
                    "Bad port number (-1) supplied for Port.",
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

    #[test]
    fn obsolete_directives_are_told_in_its_words() {
        let source = Source::new("a:b.conf", "Port 1\nLogLevel Info\n\n StartServers 5\nMaxClients 0\n");
        let surroundings = super::super::Surroundings::here(super::super::Mode::Foreground);
        let translation = super::super::translate(&source, &surroundings).unwrap();
        let told: Vec<_> = translation.warnings.sentences().filter_map(|sentence| remark(&sentence)).collect();
        assert_eq!(told, ["WARNING: obsolete config item on line 4"]);
    }
}
