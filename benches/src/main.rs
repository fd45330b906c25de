//! Lockgate beside other proxies: one machine, one run. `comparison LOCKGATE BARE-PINGORA [reverse] [forward] [tls] [quick]`.
//!
//! What counts is the CPU time that a proxy's processes use: on a shared machine throughput says as much about the
//! neighbours. Rounds are interleaved, so that a bad minute hits everybody, and medians are shown.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is a table")]

mod contender;
mod count;
mod effort;
mod forward;
mod load;
mod reverse;
mod table;
mod tls;

use std::{error::Error, process::ExitCode};

use effort::Effort;
use test_support::{Place, Process};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().skip(2).map(String::as_str).collect();
    let known = words.iter().all(|word| *word == "quick" || TABLES.contains(word));
    let ([lockgate, bare, ..], true) = (&arguments[..], known) else {
        eprintln!("usage: comparison LOCKGATE BARE-PINGORA [reverse] [forward] [tls] [quick]");
        return ExitCode::from(64);
    };
    let effort = if words.contains(&"quick") { Effort::QUICK } else { Effort::FULL };
    let wanted = |table: &str| words.contains(&table) || !TABLES.iter().any(|table| words.contains(table));
    let mut results: Vec<Result<(), Box<dyn Error>>> = Vec::new();
    if wanted("reverse") {
        results.push(reverse::compare(lockgate, bare, effort).map_err(Into::into));
    }
    if wanted("forward") {
        results.push(forward::compare(lockgate, effort).map_err(Into::into));
    }
    if wanted("tls") {
        results.push(tls::compare(lockgate, effort));
    }
    let mut exit = ExitCode::SUCCESS;
    for error in results.into_iter().filter_map(Result::err) {
        eprintln!("comparison: {error}");
        exit = ExitCode::FAILURE;
    }
    exit
}

/// Programs are started here, and found by name.
pub(crate) fn place() -> Place {
    Place::Loopback
}

/// A guard that stops a program when it is dropped.
pub(crate) type Running = Process;

/// What can be compared; all of it unless some are named.
const TABLES: [&str; 3] = ["reverse", "forward", "tls"];
