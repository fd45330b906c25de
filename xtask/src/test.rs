//! `cargo xtask test`: everything that must hold before a change lands.

use std::{
    path::Path,
    process::{Command, ExitCode},
};

use crate::{
    install,
    steps::{privileged, step, summary},
};

/// Runs every check and reports all failures.
pub fn run() -> ExitCode {
    if let Err(message) = install::ensure(install::TEST) {
        eprintln!("xtask: {message}");
        return ExitCode::FAILURE;
    }
    let cargo = |arguments: &str| {
        let mut command = Command::new("cargo");
        command.args(arguments.split(' '));
        command
    };
    let mut done = vec![
        step("formatting", &mut cargo("fmt --all --check")),
        step("lints", &mut cargo("clippy --workspace --all-targets --all-features -- -D warnings")),
        step(
            "documentation",
            cargo("doc --workspace --no-deps --document-private-items --all-features")
                .env("RUSTDOCFLAGS", "-D warnings"),
        ),
    ];
    let mut licences = cargo("deny --all-features check bans licenses sources");
    // A check that cannot be made has failed: the step says so when cargo-deny could not be installed.
    if let Err(message) = install::ensure_deny() {
        eprintln!("xtask: {message}");
    }
    done.push(step("dependencies", &mut licences));
    // The example of CONTRIBUTING.md is a package of its own, as a plugin author's would be.
    let example = "test --manifest-path examples/maintenance/Cargo.toml --target-dir target/example";
    done.push(step("a plugin of somebody else", &mut cargo(example)));
    // Network namespaces need root. One test binary runs at a time; within it tests run side by side.
    let mut tests = privileged("cargo");
    tests.args(["test", "--workspace", "--all-features", "--no-fail-fast"]);
    done.push(step("tests", &mut tests));
    summary(&done)
}

/// `cargo xtask parity FILE`: the cases of a file of somebody's own, for Debian's tinyproxy and for Lockgate.
pub fn parity(file: &str) -> ExitCode {
    if let Err(message) = install::ensure(install::TEST) {
        eprintln!("xtask: {message}");
        return ExitCode::FAILURE;
    }
    let file = match Path::new(file).canonicalize() {
        Ok(file) => file,
        Err(error) => {
            eprintln!("xtask: {file}: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut test = privileged("cargo");
    test.args(["test", "--package", "lockgate", "--test", "integration", "parity::of_a_file"]);
    test.args(["--", "--exact", "--ignored", "--nocapture"]).env("LOCKGATE_PARITY_CASES", file);
    summary(&[step("parity", &mut test)])
}
