//! Entry point of `cargo xtask`: sets the machine up, then tests, fuzzes, shows or measures Lockgate.

mod bench;
mod failures;
mod fuzz;
mod install;
mod steps;
mod test;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["setup"] => install::everything(install::TEST),
        ["test"] => test::run(),
        ["demo"] => steps::demo(),
        ["bench", ..] => bench::run(&arguments[1..]),
        ["parity", file] => test::parity(file),
        ["fuzz", ..] => fuzz::run(&arguments[1..]),
        _ => {
            eprintln!(
                "usage: cargo xtask demo | test | bench [reverse] [forward] [tls] [quick] | fuzz [TARGET] [executions] | parity FILE | setup"
            );
            ExitCode::from(64)
        }
    }
}
