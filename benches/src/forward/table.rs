//! What is shown of forward proxies.

use super::proxy::Proxy;
use crate::{
    count::Count,
    effort::Effort,
    table::{self, Column, GIB, Memory},
};

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

/// The name of a column, what is counted in it, how it is computed of that, and with how many digits it is shown.
type Shown = (&'static str, fn(&Cells) -> &Vec<Count>, fn(&Count) -> f64, usize);

const REQUESTS: [Shown; 6] = [
    ("kept: requests/s", |cells| &cells.kept, Count::rate, 0),
    ("CPU µs each", |cells| &cells.kept, |count| count.cost() * 1e6, 1),
    ("closed: requests/s", |cells| &cells.closed, Count::rate, 0),
    ("CPU µs each", |cells| &cells.closed, |count| count.cost() * 1e6, 1),
    ("CONNECT/s", |cells| &cells.connects, Count::rate, 0),
    ("CPU µs each", |cells| &cells.connects, |count| count.cost() * 1e6, 1),
];

const TUNNELS: [Shown; 4] = [
    ("1 stream: GiB/s", |cells| &cells.one_stream, |count| count.rate() / GIB, 2),
    ("CPU s per GiB", |cells| &cells.one_stream, |count| count.cost() * GIB, 3),
    ("4 streams: GiB/s", |cells| &cells.four_streams, |count| count.rate() / GIB, 2),
    ("CPU s per GiB", |cells| &cells.four_streams, |count| count.cost() * GIB, 3),
];

/// Prints everything; in parentheses the ratio to the first one.
pub(crate) fn print(rows: &[(&Proxy, Cells)], effort: Effort) {
    println!("\nMedians of {} rounds of {} s; in parentheses the ratio to tinyproxy.\n", effort.rounds, effort.seconds);
    counts("forward: requests", &REQUESTS, rows);
    counts("forward: tunnels", &TUNNELS, rows);
    let each = rows.iter().flat_map(|(proxy, cells)| cells.memory.iter().map(|memory| (proxy.name, memory)));
    table::memory("forward: idle tunnels", each);
    println!(
        "haproxy takes requests for addresses in numbers only. It does not end CONNECT; its tunnels are plain relays to"
    );
    println!(
        "fixed places (mode tcp, splice-auto). tinyproxy closes after each answer, so its kept column opens connections too."
    );
    println!("aims: 5 times tinyproxy's requests, half its CPU per tunnelled GiB, 10 000 idle tunnels in 150 MiB");
}

fn counts(title: &str, shown: &[Shown], rows: &[(&Proxy, Cells)]) {
    let columns = shown.iter().map(|(name, of, value, digits)| Column {
        name: (*name).to_owned(),
        counts: rows.iter().map(|(_, cells)| of(cells).as_slice()).collect(),
        value: *value,
        digits: *digits,
    });
    let names: Vec<&str> = rows.iter().map(|(proxy, _)| proxy.name).collect();
    table::counts(title, &names, &columns.collect::<Vec<_>>());
}
