//! Commands that are run one after the other, with a line for each.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use crate::{failures::Failures, install};

/// What became of a step.
pub struct Done {
    /// What it is called.
    pub name: String,
    /// Whether it succeeded.
    pub succeeded: bool,
    /// How long it took.
    pub took: Duration,
    /// Tests that passed and failed, as its output says.
    pub tests: (u64, u64),
    /// What failed tests said.
    pub failures: Failures,
}

/// A command as root: this process's own environment goes with it.
pub fn privileged(program: &str) -> Command {
    if install::is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["--preserve-env", "env"]);
    for name in ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "CARGO_TARGET_DIR"] {
        if let Ok(value) = std::env::var(name) {
            command.arg(format!("{name}={value}"));
        }
    }
    command.arg(program);
    command
}

/// Runs a step; its output goes on to ours while test results are counted.
pub fn step(name: &str, command: &mut Command) -> Done {
    println!("\n==> {name}");
    let started = Instant::now();
    let mut tests = (0, 0);
    let mut failures = Failures::default();
    let mut succeeded = false;
    match command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn() {
        Ok(mut child) => {
            if let Some(output) = child.stdout.take() {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    println!("{line}");
                    let (passed, failed) = counted(&line);
                    tests = (tests.0 + passed, tests.1 + failed);
                    failures.read(line);
                }
            }
            succeeded = child.wait().is_ok_and(|status| status.success());
        }
        Err(error) => println!("cannot run it: {error}"),
    }
    Done { name: name.to_owned(), succeeded, took: started.elapsed(), tests, failures }
}

/// The numbers in `test result: ok. 3 passed; 0 failed; …`.
fn counted(line: &str) -> (u64, u64) {
    let Some(numbers) = line.strip_prefix("test result:") else { return (0, 0) };
    let before = |word: &str| -> u64 {
        let words: Vec<&str> = numbers.split([' ', ';', '.']).filter(|word| !word.is_empty()).collect();
        let at = words.iter().position(|found| *found == word);
        at.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok()).unwrap_or(0)
    };
    (before("passed"), before("failed"))
}

/// Prints what failed tests said and what became of every step; the last line is the sum of all tests.
pub fn summary(done: &[Done]) -> ExitCode {
    for line in done.iter().flat_map(|step| step.failures.lines()) {
        println!("{line}");
    }
    println!();
    for step in done {
        let mark = if step.succeeded { "ok    " } else { "FAILED" };
        println!("{mark} {:>6.1} s  {}", step.took.as_secs_f64(), step.name);
    }
    let passed: u64 = done.iter().map(|step| step.tests.0).sum();
    let failed: u64 = done.iter().map(|step| step.tests.1).sum();
    let broken = done.iter().filter(|step| !step.succeeded && step.tests.1 == 0).count() as u64;
    println!("{passed} passed, {} failed", failed + broken);
    if done.iter().all(|step| step.succeeded) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// `cargo xtask demo`: builds the program and the demo, and runs the demo as root.
pub fn demo() -> ExitCode {
    if let Err(message) = install::ensure(install::DEMO) {
        eprintln!("xtask: {message}");
        return ExitCode::FAILURE;
    }
    let packages = ["--package", "lockgate", "--bin", "lockgate", "--package", "test-support", "--example", "demo"];
    let build = Command::new("cargo").arg("build").args(packages).status();
    if !build.is_ok_and(|status| status.success()) {
        eprintln!("xtask: the build failed");
        return ExitCode::FAILURE;
    }
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    // In place of this process: on Ctrl-C the terminal must wait until the demo has cleaned up.
    let mut demo = privileged(&format!("{target}/debug/examples/demo"));
    let error = demo.arg(format!("{target}/debug/lockgate")).exec();
    eprintln!("xtask: cannot run the demo: {error}");
    ExitCode::FAILURE
}
