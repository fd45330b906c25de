//! `cargo xtask fuzz`: the tests that make their cases at random, with many more cases than in an ordinary run.

use std::process::{Command, ExitCode};

use crate::steps::{step, summary};

/// A target, the package that it is in, and the tests.
const TARGETS: &[(&str, &str, &str)] = &[
    ("head", "proxy-core", "head::fuzz::"),
    ("authority", "proxy-core", "head::host::fuzz::"),
    ("authority", "plugin-api", "way_out::destination::fuzz::"),
    ("tinyproxy-conf", "lockgate", "tinyproxy::fuzz::"),
    ("filter", "plugin-filter", "rules::fuzz::"),
    ("template", "plugin-api", "template::fuzz::"),
];

/// Runs one target or all of them; `arguments` are its name and the number of cases, either of which may be missing.
pub fn run(arguments: &[String]) -> ExitCode {
    let (names, numbers): (Vec<&String>, Vec<&String>) =
        arguments.iter().partition(|argument| argument.parse::<u32>().is_err());
    let is_known = |name: &&String| TARGETS.iter().any(|(target, ..)| target == name);
    if numbers.len() > 1 || !names.iter().all(is_known) {
        let mut known: Vec<&str> = TARGETS.iter().map(|(target, ..)| *target).collect();
        known.dedup();
        eprintln!("usage: cargo xtask fuzz [{}] [executions]", known.join(" | "));
        return ExitCode::from(64);
    }
    let executions = numbers.first().map_or(EXECUTIONS, |number| number.as_str());
    let mut done = Vec::new();
    for (target, package, tests) in TARGETS {
        if !names.is_empty() && !names.iter().any(|name| name == target) {
            continue;
        }
        let arguments = ["test", "--profile", "fuzz", "--package", package, "--lib", tests];
        let listed = Command::new("cargo").args(arguments).args(["--", "--list"]).output();
        if !listed.is_ok_and(|listed| String::from_utf8_lossy(&listed.stdout).contains(": test")) {
            // A test that moved would pass for ever.
            eprintln!("there is no test {tests} in {package}, or it cannot be built");
            return ExitCode::FAILURE;
        }
        let mut command = Command::new("cargo");
        command.args(arguments).env("PROPTEST_CASES", executions);
        done.push(step(&format!("{target} ({package}), {executions} executions"), &mut command));
    }
    summary(&done)
}

const EXECUTIONS: &str = "1000000";
