//! wrk, and what it says.

use std::{net::SocketAddr, time::Duration};

use test_support::Process;

/// One run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Result {
    rate: f64,
    requests: f64,
    pub(crate) bad: u64,
    cpu: Duration,
}

impl Result {
    pub(crate) fn with_cpu(self, cpu: Duration) -> Self {
        Self { cpu, ..self }
    }

    fn micros_per_request(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.requests
    }
}

/// Loads a proxy for so many seconds on 32 connections.
pub(crate) fn run(address: SocketAddr, path: &str, seconds: u32) -> Option<Result> {
    let mut command = crate::place().command("wrk");
    command.args(["-t1", "-c32", &format!("-d{seconds}s"), &format!("http://{address}{path}")]);
    let mut wrk = Process::spawn(&command).ok()?;
    wrk.wait(Duration::from_secs(u64::from(seconds) + 30)).ok()?;
    read(&wrk.output())
}

fn read(output: &str) -> Option<Result> {
    let line = |start: &str| output.lines().find_map(|line| line.trim().strip_prefix(start).map(str::to_owned));
    let rate = line("Requests/sec:")?.trim().parse().ok()?;
    let requests = output.lines().find_map(|line| line.split_once(" requests in ")?.0.trim().parse().ok())?;
    let numbers =
        |text: String| text.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse::<u64>().ok()).sum::<u64>();
    let bad = line("Socket errors:").map_or(0, numbers) + line("Non-2xx or 3xx responses:").map_or(0, numbers);
    Some(Result { rate, requests, bad, cpu: Duration::ZERO })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

pub(crate) fn median_rate(results: &[Result]) -> f64 {
    median(results.iter().map(|result| result.rate).collect())
}

pub(crate) fn median_cpu(results: &[Result]) -> f64 {
    median(results.iter().map(Result::micros_per_request).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_understood() {
        let text = "Running 1s test\n  1 threads and 32 connections\n  1234 requests in 1.00s, 1MB read\n  \
                    Socket errors: connect 0, read 2, write 0, timeout 1\n  Non-2xx or 3xx responses: 4\nRequests/sec:   1230.5\n";
        let result = read(text).unwrap();
        assert_eq!((result.rate, result.requests, result.bad), (1230.5, 1234.0, 7));
    }
}
