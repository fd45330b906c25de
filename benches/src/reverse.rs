//! As reverse proxies: CPU time per request, compared with bare pingora.

use std::fs;

use test_support::{StartError, Usage, scratch_dir};

use crate::{
    contender::{ALL, Contender, origin, prepare},
    effort::Effort,
    load,
};

const SIZES: [(&str, &str); 2] = [("small", "/small"), ("64 KiB", "/large")];

/// Prints the table.
pub(crate) fn compare(lockgate: &str, bare: &str, effort: Effort) -> Result<(), StartError> {
    let directory = scratch_dir().map_err(prepare("a directory"))?;
    let root = directory.path();
    fs::write(root.join("small"), "Somebody is always at home.\n").map_err(prepare("the site"))?;
    fs::write(root.join("large"), vec![b'x'; 64 * 1024]).map_err(prepare("the site"))?;
    let (address, _origin) = origin(root)?;
    let mut contenders: Vec<Contender> = Vec::new();
    for start in ALL {
        match start(root, address, lockgate, bare) {
            Ok(contender) => contenders.push(contender),
            // Everything is compared with the first one, and with Lockgate.
            Err(error) if contenders.len() < 2 => return Err(error),
            Err(error) => println!("left out: {error}"),
        }
    }
    for round in 0..effort.rounds {
        for contender in &mut contenders {
            for (index, (_, path)) in SIZES.iter().enumerate() {
                eprintln!("round {} of {}: {} {path}", round + 1, effort.rounds, contender.name);
                let before = Usage::of_tree(contender.process.id()).cpu;
                let Some(result) = load::run(contender.address, path, effort.seconds) else {
                    println!("{} {path}: wrk failed in round {}", contender.name, round + 1);
                    continue;
                };
                let used = Usage::of_tree(contender.process.id()).cpu.saturating_sub(before);
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
