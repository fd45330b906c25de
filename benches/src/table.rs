//! The tables, in Markdown.

use test_support::Usage;

use crate::count::{Count, median};

/// A column: a name, how it is computed of what was counted, and how many digits are shown.
pub(crate) struct Column<'a> {
    pub(crate) name: String,
    /// For each row, what was counted there.
    pub(crate) counts: Vec<&'a [Count]>,
    pub(crate) value: fn(&Count) -> f64,
    pub(crate) digits: usize,
}

/// What things that are held open weigh.
pub(crate) struct Memory {
    pub(crate) held: usize,
    pub(crate) wanted: usize,
    pub(crate) before: Usage,
    pub(crate) after: Usage,
}

/// Prints what was counted; in parentheses the ratio to the first row.
pub(crate) fn counts(title: &str, rows: &[&str], columns: &[Column<'_>]) {
    let names: String = columns.iter().map(|column| format!(" {} |", column.name)).collect();
    println!("| {title} |{names} bad |\n|---|{}---:|", "---:|".repeat(columns.len()));
    for (row, name) in rows.iter().enumerate() {
        let mut line = format!("| {name} |");
        for column in columns {
            let value = |row: usize| column.counts.get(row).and_then(|counts| median(counts, column.value));
            line += &match (value(row), value(0)) {
                (Some(value), Some(first)) => format!(" {value:.*} ({:.2}) |", column.digits, value / first),
                (Some(value), None) => format!(" {value:.*} |", column.digits),
                (None, _) => " – |".to_owned(),
            };
        }
        // Neighbouring columns show the same counts in another way.
        let mut all: Vec<&[Count]> = columns.iter().filter_map(|column| column.counts.get(row).copied()).collect();
        all.dedup_by_key(|counts| counts.as_ptr());
        let bad: u64 = all.into_iter().flatten().map(|count| count.bad).sum();
        println!("{line} {bad} |");
    }
    println!();
}

/// Prints what things weigh.
pub(crate) fn memory<'a>(title: &str, rows: impl Iterator<Item = (&'a str, &'a Result<Memory, String>)>) {
    println!(
        "| {title} | held | RSS MiB before | RSS MiB | PSS MiB | KiB each | MiB at 10 000 | threads | descriptors |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    for (name, result) in rows {
        match result {
            Ok(memory) => println!("{}", weight(name, memory)),
            Err(error) => println!("| {name} | {error} |"),
        }
    }
    println!();
}

fn weight(name: &str, memory: &Memory) -> String {
    let Memory { held, wanted, before, after } = memory;
    let missing = if held < wanted { format!(" of {wanted}") } else { String::new() };
    let mib = |bytes: u64| bytes as f64 / MIB;
    let each = after.proportional.saturating_sub(before.proportional) as f64 / 1024.0 / (*held).max(1) as f64;
    // From a few hundred nothing can be said about so many.
    let many = if *held < 2000 {
        "–".to_owned()
    } else {
        format!("{:.0}", mib(before.proportional) + each * 10_000.0 / 1024.0)
    };
    format!(
        "| {name} | {held}{missing} | {:.1} | {:.1} | {:.1} | {each:.1} | {many} | {} | {} |",
        mib(before.resident),
        mib(after.resident),
        mib(after.proportional),
        after.threads,
        after.descriptors
    )
}

pub(crate) const GIB: f64 = 1_073_741_824.0;
pub(crate) const MIB: f64 = 1_048_576.0;
