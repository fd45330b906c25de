//! The `lockgate` program: parses arguments, runs a command, and maps its end to an exit code.

mod cli;
mod config;
mod registry;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
