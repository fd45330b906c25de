//! Lines of logs, in the form that tools know.

use std::collections::BTreeMap;

/// What the lines begin with (after level, time and process id) that users of tinyproxy look for: others are nobody's
/// business but the program's.
const NAMED: &[&str] = &[
    "Connect (file descriptor",
    "Request (file descriptor",
    "Established connection to host",
    "Closed connection between local client",
    "Unauthorized connection from",
    "Failed auth attempt (file descriptor",
    "Proxying refused on filtered",
    "Refused CONNECT method on port",
    "Request for the stathost.",
    "opensock: Could not establish a connection to",
    "No upstream proxy for",
    "Found upstream proxy",
    "Reloading config file",
    "Maximum number of connections reached",
    "Shutting down.",
    // Of a start, on standard error.
    "ERROR: Syntax error on line",
    "Unable to parse config file. Not starting.",
    "WARNING: obsolete config item on line",
    "WARNING: logging deactivated",
    "Bad port number",
    "tinyproxy: Could not open config file",
    "tinyproxy: You MUST set a Port",
    "Bad regex in",
    "filter file:",
];

/// The lines that have names, without time and process id, and with `N` for each descriptor.
pub(super) fn named(text: &str) -> String {
    text.lines().filter_map(line).collect()
}

/// The same by the beginnings that they share.
pub(super) fn by_name(text: &str) -> BTreeMap<&'static str, String> {
    let mut found: BTreeMap<_, String> = BTreeMap::new();
    for line in named(text).lines() {
        let message = without_level(line);
        let name = NAMED.iter().find(|name| message.starts_with(**name));
        let name = name.expect("only lines with names are left");
        *found.entry(*name).or_default() += &format!("{line}\n");
    }
    found
}

/// Standard output without the log that is there, too.
pub(super) fn without_log(bytes: &[u8]) -> Vec<u8> {
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| parse(&String::from_utf8_lossy(line)).is_none())
        .flatten()
        .copied()
        .collect()
}

fn line(text: &str) -> Option<String> {
    let (level, message) = parse(text).unwrap_or(("", text));
    let is_named = NAMED.iter().any(|name| message.starts_with(name));
    let mut message = without_descriptors(message);
    if text.len() == LONGEST {
        // Where it is cut depends on how many digits the numbers before have.
        message = format!("{}(cut)", message.chars().take(600).collect::<String>());
    }
    is_named.then(|| format!("{level} {message}\n").trim_start().to_owned())
}

/// Bytes of a line that tinyproxy cuts.
const LONGEST: usize = 798;

/// Level and message of `LEVEL     Mon DD HH:MM:SS.mmm [pid]: message`.
fn parse(text: &str) -> Option<(&str, &str)> {
    let level = text.split_whitespace().next()?;
    let (_, rest) = text.split_once(" [")?;
    let (id, message) = rest.split_once("]: ")?;
    (LEVELS.contains(&level) && id.bytes().all(|byte| byte.is_ascii_digit())).then_some((level, message.trim_end()))
}

const LEVELS: [&str; 6] = ["CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "CONNECT"];

fn without_level(line: &str) -> &str {
    let after = line.split_once(' ').filter(|(level, _)| LEVELS.contains(level));
    after.map_or(line, |(_, message)| message)
}

fn without_descriptors(message: &str) -> String {
    let mut message = message.to_owned();
    for before in ["file descriptor ", "file descriptor: ", "(fd:"] {
        let mut done = String::new();
        let mut rest = message.as_str();
        while let Some(at) = rest.find(before) {
            let (start, after) = rest.split_at(at + before.len());
            let after_number = after.trim_start_matches(|character: char| character.is_ascii_digit());
            done += start;
            done += if after_number.len() < after.len() { "N" } else { "" };
            rest = after_number;
        }
        message = done + rest;
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart() {
        let log = "CONNECT   Nov 24 03:42:12.694 [23945]: Connect (file descriptor 4): 127.0.0.1\n\
                   INFO      Nov 24 03:42:12.694 [23945]: something else\n\
                   CONNECT   Nov 24 03:42:12.694 [1]: Closed connection between local client (fd:4) and remote client (fd:5)\n\
                   ERROR: Syntax error on line 4\n";
        let expected = "CONNECT Connect (file descriptor N): 127.0.0.1\n\
                        CONNECT Closed connection between local client (fd:N) and remote client (fd:N)\n\
                        ERROR: Syntax error on line 4\n";
        assert_eq!(named(log), expected);
        assert_eq!(without_log(log.as_bytes()), b"ERROR: Syntax error on line 4\n");
    }
}
