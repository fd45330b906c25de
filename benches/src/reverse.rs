//! As reverse proxies: CPU time per request, compared with bare pingora.

use std::fs;

use test_support::{StartError, Usage, scratch_dir};

use crate::{
    contender::{ALL, Contender, Setup, origin, prepare},
    count::{Count, median},
    effort::Effort,
    load::{self, Load, Unit},
};

const SIZES: [(&str, &str); 2] = [("small", "/small"), ("64 KiB", "/large")];
const CONNECTIONS: u32 = 32;

type Cells = [Vec<Count>; SIZES.len()];

/// Prints the table.
pub(crate) fn compare(lockgate: &str, bare: &str, effort: Effort) -> Result<(), StartError> {
    let directory = scratch_dir().map_err(prepare("a directory"))?;
    let root = directory.path();
    fs::write(root.join("small"), "Somebody is always at home.\n").map_err(prepare("the site"))?;
    fs::write(root.join("large"), vec![b'x'; 64 * 1024]).map_err(prepare("the site"))?;
    let (address, _origin) = origin(root)?;
    let setup = Setup { root, origin: address, lockgate, bare, credentials: None };
    let mut contenders: Vec<(Contender, Cells)> = Vec::new();
    for start in ALL {
        match start(&setup) {
            Ok(contender) => contenders.push((contender, Cells::default())),
            // Everything is compared with the first one, and with Lockgate.
            Err(error) if contenders.len() < 2 => return Err(error),
            Err(error) => println!("left out: {error}"),
        }
    }
    for round in 0..effort.rounds {
        for (contender, cells) in &mut contenders {
            for ((_, path), cell) in SIZES.iter().zip(cells) {
                eprintln!("round {} of {}: {} {path}", round + 1, effort.rounds, contender.name);
                let before = Usage::of_tree(contender.process.id()).cpu;
                let url = format!("http://{}{path}", contender.address);
                let load = Load {
                    url: &url,
                    connections: CONNECTIONS,
                    seconds: effort.seconds,
                    unit: Unit::Requests,
                    openssl: None,
                };
                let Some(count) = load::http1(load) else {
                    println!("{} {path}: wrk failed in round {}", contender.name, round + 1);
                    continue;
                };
                let used = Usage::of_tree(contender.process.id()).cpu.saturating_sub(before);
                cell.push(count.with_cpu(used));
            }
        }
    }
    table(&contenders);
    Ok(())
}

fn table(contenders: &[(Contender, Cells)]) {
    println!("\n{:<14}{}", "", SIZES.map(|(name, _)| format!("{name:^44}")).concat());
    let columns = format!("{:>12}{:>16}{:>10}{:>6}", "requests/s", "CPU us/request", "to bare", "bad");
    println!("{:<14}{columns}{columns}", "");
    let cpu = |counts: &[Count]| median(counts, |count| count.cost() * 1e6).unwrap_or(f64::NAN);
    let bare: Vec<f64> =
        contenders.first().map(|(_, cells)| cells.iter().map(|cell| cpu(cell)).collect()).unwrap_or_default();
    for (contender, cells) in contenders {
        let mut line = format!("{:<14}", contender.name);
        for (cell, bare) in cells.iter().zip(&bare) {
            let (rate, cpu) = (median(cell, Count::rate).unwrap_or(f64::NAN), cpu(cell));
            let bad: u64 = cell.iter().map(|count| count.bad).sum();
            line += &format!("{rate:>12.0}{cpu:>16.1}{:>10.2}{bad:>6}", cpu / bare);
        }
        println!("{line}");
    }
    println!(
        "\nbad: read errors and answers that are not 2xx or 3xx; a proxy that closes after each answer makes wrk count one for each"
    );
    println!("aims: at most 1.05 times the CPU of bare pingora, at least 5 times tinyproxy's throughput");
}
