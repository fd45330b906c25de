//! Lockgate beside other proxies: one machine, one origin, one run. `comparison LOCKGATE BARE-PINGORA`.
//!
//! What counts is the CPU time that a proxy's processes use per request: on a shared machine throughput says as much about
//! the neighbours. Rounds are interleaved, so that a bad minute hits everybody, and medians are shown.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is a table")]

mod contender;
mod cpu;
mod load;

use std::{fs, process::ExitCode};

use contender::Contender;
use test_support::{Place, Process, StartError, scratch_dir};

/// Seconds of load in each cell of a round, and rounds.
const SECONDS: u32 = 4;
const ROUNDS: usize = 3;
const SIZES: [(&str, &str); 2] = [("small", "/small"), ("64 KiB", "/large")];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [lockgate, bare] = &arguments[..] else {
        eprintln!("usage: comparison LOCKGATE BARE-PINGORA");
        return ExitCode::from(64);
    };
    match compare(lockgate, bare) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("comparison: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(lockgate: &str, bare: &str) -> Result<(), StartError> {
    let directory = scratch_dir().map_err(contender::prepare("a directory"))?;
    let root = directory.path();
    fs::write(root.join("small"), "Somebody is always at home.\n").map_err(contender::prepare("the site"))?;
    fs::write(root.join("large"), vec![b'x'; 64 * 1024]).map_err(contender::prepare("the site"))?;
    let (origin_address, _origin) = contender::origin(root)?;
    let mut contenders: Vec<Contender> = Vec::new();
    for start in contender::ALL {
        match start(root, origin_address, lockgate, bare) {
            Ok(contender) => contenders.push(contender),
            // Everything is compared with the first one, and with Lockgate.
            Err(error) if contenders.len() < 2 => return Err(error),
            Err(error) => println!("left out: {error}"),
        }
    }
    for round in 0..ROUNDS {
        for contender in &mut contenders {
            for (index, (_, path)) in SIZES.iter().enumerate() {
                eprintln!("round {} of {ROUNDS}: {} {path}", round + 1, contender.name);
                let before = cpu::used_by_tree(contender.process.id());
                let Some(result) = load::run(contender.address, path, SECONDS) else {
                    println!("{} {path}: wrk failed in round {}", contender.name, round + 1);
                    continue;
                };
                let used = cpu::used_by_tree(contender.process.id()).saturating_sub(before);
                contender.results[index].push(result.with_cpu(used));
            }
        }
    }
    table(&contenders);
    Ok(())
}

fn table(contenders: &[Contender]) {
    println!("\n{:<14}{}", "", SIZES.map(|(name, _)| format!("{name:^44}")).concat());
    let columns = format!("{:>12}{:>16}{:>10}{:>6}", "requests/s", "CPU us/request", "to bare", "bad");
    println!("{:<14}{columns}{columns}", "");
    let bare: Vec<f64> =
        contenders.first().map(|bare| bare.results.iter().map(|of| load::median_cpu(of)).collect()).unwrap_or_default();
    for contender in contenders {
        let mut line = format!("{:<14}", contender.name);
        for (index, results) in contender.results.iter().enumerate() {
            let cpu = load::median_cpu(results);
            let ratio = cpu / bare.get(index).copied().unwrap_or(f64::NAN);
            let bad: u64 = results.iter().map(|result| result.bad).sum();
            line += &format!("{:>12.0}{cpu:>16.1}{ratio:>10.2}{bad:>6}", load::median_rate(results));
        }
        println!("{line}");
    }
    println!(
        "\nbad: read errors and answers that are not 2xx or 3xx; a proxy that closes after each answer makes wrk count one for each"
    );
    println!("aims: at most 1.05 times the CPU of bare pingora, at least 5 times tinyproxy's throughput");
}

/// Programs are started here, and found by name.
pub(crate) fn place() -> Place {
    Place::Loopback
}

/// A guard that stops a program when it is dropped.
pub(crate) type Running = Process;
