//! The tables, in Markdown.

use test_support::Usage;

use super::{proxy::Proxy, requests::Count};
use crate::effort::Effort;

/// What one proxy did.
#[derive(Default)]
pub(crate) struct Cells {
    pub(crate) kept: Vec<Count>,
    pub(crate) closed: Vec<Count>,
    pub(crate) connects: Vec<Count>,
    pub(crate) one_stream: Vec<Count>,
    pub(crate) four_streams: Vec<Count>,
    pub(crate) memory: Vec<Result<Memory, String>>,
}

/// What idle tunnels weigh.
pub(crate) struct Memory {
    pub(crate) tunnels: usize,
    pub(crate) wanted: usize,
    pub(crate) before: Usage,
    pub(crate) after: Usage,
}

/// How a column is computed and shown.
struct Column {
    name: &'static str,
    cells: fn(&Cells) -> &Vec<Count>,
    value: fn(&Count) -> f64,
    digits: usize,
}

const REQUESTS: [Column; 6] = [
    Column { name: "kept: requests/s", cells: |cells| &cells.kept, value: Count::rate, digits: 0 },
    Column { name: "CPU µs each", cells: |cells| &cells.kept, value: |count| count.cost() * 1e6, digits: 1 },
    Column { name: "closed: requests/s", cells: |cells| &cells.closed, value: Count::rate, digits: 0 },
    Column { name: "CPU µs each", cells: |cells| &cells.closed, value: |count| count.cost() * 1e6, digits: 1 },
    Column { name: "CONNECT/s", cells: |cells| &cells.connects, value: Count::rate, digits: 0 },
    Column { name: "CPU µs each", cells: |cells| &cells.connects, value: |count| count.cost() * 1e6, digits: 1 },
];

const TUNNELS: [Column; 4] = [
    Column { name: "1 stream: GiB/s", cells: |cells| &cells.one_stream, value: |count| count.rate() / GIB, digits: 2 },
    Column { name: "CPU s per GiB", cells: |cells| &cells.one_stream, value: |count| count.cost() * GIB, digits: 3 },
    Column {
        name: "4 streams: GiB/s",
        cells: |cells| &cells.four_streams,
        value: |count| count.rate() / GIB,
        digits: 2,
    },
    Column { name: "CPU s per GiB", cells: |cells| &cells.four_streams, value: |count| count.cost() * GIB, digits: 3 },
];

const GIB: f64 = 1_073_741_824.0;
const MIB: f64 = 1_048_576.0;

/// Prints everything; in parentheses the ratio to the first one.
pub(crate) fn print(rows: &[(&Proxy, Cells)], effort: Effort) {
    println!("\nMedians of {} rounds of {} s; in parentheses the ratio to tinyproxy.\n", effort.rounds, effort.seconds);
    counts("forward: requests", &REQUESTS, rows);
    counts("forward: tunnels", &TUNNELS, rows);
    memory(rows);
    println!(
        "\nhaproxy takes requests for addresses in numbers only. It does not end CONNECT; its tunnels are plain relays to"
    );
    println!(
        "fixed places (mode tcp, splice-auto). tinyproxy closes after each answer, so its kept column opens connections too."
    );
    println!("aims: 5 times tinyproxy's requests, half its CPU per tunnelled GiB, 10 000 idle tunnels in 150 MiB");
}

fn counts(title: &str, columns: &[Column], rows: &[(&Proxy, Cells)]) {
    let names: String = columns.iter().map(|column| format!(" {} |", column.name)).collect();
    println!("| {title} |{names} bad |\n|---|{}---:|", "---:|".repeat(columns.len()));
    let first: Vec<Option<f64>> =
        columns.iter().map(|column| rows.first().and_then(|(_, cells)| median(cells, column))).collect();
    for (proxy, cells) in rows {
        let mut line = format!("| {} |", proxy.name);
        for (column, first) in columns.iter().zip(&first) {
            line += &match (median(cells, column), first) {
                (Some(value), Some(first)) => format!(" {value:.*} ({:.2}) |", column.digits, value / first),
                (Some(value), None) => format!(" {value:.*} |", column.digits),
                (None, _) => " – |".to_owned(),
            };
        }
        let mut lists: Vec<&Vec<Count>> = columns.iter().map(|column| (column.cells)(cells)).collect();
        lists.dedup_by_key(|list| std::ptr::from_ref(*list));
        let bad: u64 = lists.into_iter().flatten().map(|count| count.bad).sum();
        println!("{line} {bad} |");
    }
    println!();
}

fn memory(rows: &[(&Proxy, Cells)]) {
    println!(
        "| forward: idle tunnels | tunnels | RSS MiB before | RSS MiB | PSS MiB | KiB each | MiB at 10 000 | threads | descriptors |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    for (proxy, cells) in rows {
        for result in &cells.memory {
            match result {
                Ok(memory) => println!("{}", weight(proxy.name, memory)),
                Err(error) => println!("| {} | {error} |", proxy.name),
            }
        }
    }
}

fn weight(name: &str, memory: &Memory) -> String {
    let Memory { tunnels, wanted, before, after } = memory;
    let missing = if tunnels < wanted { format!(" of {wanted}") } else { String::new() };
    let mib = |bytes: u64| bytes as f64 / MIB;
    let each = after.proportional.saturating_sub(before.proportional) as f64 / 1024.0 / (*tunnels).max(1) as f64;
    // From a few hundred nothing can be said about so many.
    let many = if *tunnels < 5000 {
        "–".to_owned()
    } else {
        format!("{:.0}", mib(before.proportional) + each * 10_000.0 / 1024.0)
    };
    format!(
        "| {name} | {tunnels}{missing} | {:.1} | {:.1} | {:.1} | {each:.1} | {many} | {} | {} |",
        mib(before.resident),
        mib(after.resident),
        mib(after.proportional),
        after.threads,
        after.descriptors
    )
}

fn median(cells: &Cells, column: &Column) -> Option<f64> {
    let counts = (column.cells)(cells).iter().filter(|count| count.done > 0);
    let mut values: Vec<f64> = counts.map(column.value).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_middle_of_what_was_measured_is_shown() {
        let count =
            |done| Count { done, took: Duration::from_secs(1), cpu: Duration::from_secs(2), ..Count::default() };
        let cells = Cells { kept: [7, 0, 2, 4].map(count).to_vec(), ..Cells::default() };
        assert_eq!(median(&cells, &REQUESTS[0]), Some(4.0));
        assert_eq!(median(&cells, &REQUESTS[1]), Some(500_000.0));
        assert_eq!(median(&cells, &REQUESTS[4]), None);
    }
}
