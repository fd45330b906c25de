//! wrk and h2load, and what they say.

use std::{path::Path, process::Command, time::Duration};

use test_support::Process;

use crate::{
    count::Count,
    table::{GIB, MIB},
};

/// What a program is told to ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load<'a> {
    pub(crate) url: &'a str,
    pub(crate) connections: u32,
    pub(crate) seconds: u32,
    pub(crate) unit: Unit,
    /// What programs with OpenSSL are told about TLS.
    pub(crate) openssl: Option<&'a Path>,
}

/// What is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Unit {
    Requests,
    /// For answers so large that one which is cut at the end of the time would count.
    Bytes,
}

/// wrk: HTTP/1.1, one request after the other on each connection.
pub(crate) fn http1(load: Load<'_>) -> Option<Count> {
    let Load { url, connections, seconds, unit, openssl } = load;
    let mut command = crate::place().command("wrk");
    command.args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--timeout", "10s", url]);
    command.envs(openssl.map(|file| ("OPENSSL_CONF", file)));
    of_wrk(&output(&command, seconds)?, unit)
}

/// h2load: HTTP/2, so many requests at once on each connection.
pub(crate) fn http2(load: Load<'_>, streams: u32) -> Option<Count> {
    let Load { url, connections, seconds, unit, openssl } = load;
    let mut command = crate::place().command("h2load");
    command.args([&format!("-c{connections}"), &format!("-m{streams}"), &format!("-D{seconds}"), url]);
    command.envs(openssl.map(|file| ("OPENSSL_CONF", file)));
    of_h2load(&output(&command, seconds)?, unit)
}

fn output(command: &Command, seconds: u32) -> Option<String> {
    let mut process = Process::spawn(command).ok()?;
    process.wait(Duration::from_secs(u64::from(seconds) + 30)).ok()?;
    Some(process.output())
}

fn of_wrk(output: &str, unit: Unit) -> Option<Count> {
    let line = |start: &str| output.lines().find_map(|line| line.trim().strip_prefix(start).map(str::to_owned));
    let rate: f64 = line("Requests/sec:")?.trim().parse().ok()?;
    let (requests, rest) = output.lines().find_map(|line| line.split_once(" requests in "))?;
    let requests: u64 = requests.trim().parse().ok()?;
    let bytes = rest.strip_suffix(" read")?.split_once(", ")?.1;
    let bad = line("Socket errors:").map_or(0, numbers) + line("Non-2xx or 3xx responses:").map_or(0, numbers);
    let took = if requests == 0 { Duration::ZERO } else { Duration::from_secs_f64(requests as f64 / rate) };
    let done = match unit {
        Unit::Requests => requests,
        Unit::Bytes => size(bytes)?,
    };
    Some(Count { done, bad, took, cpu: Duration::ZERO })
}

fn of_h2load(output: &str, unit: Unit) -> Option<Count> {
    let line = |start: &str| output.lines().find_map(|line| line.strip_prefix(start));
    let requests = line("requests: ")?;
    let number = |word: &str| -> Option<u64> {
        requests.split(", ").find_map(|part| part.strip_suffix(word)?.trim().parse().ok())
    };
    let good: u64 = line("status codes: ")?.split_once(" 2xx")?.0.parse().ok()?;
    let data = line("traffic: ")?.strip_suffix(") data")?.rsplit_once('(')?.1;
    let seconds = line("finished in ")?.split_once("s,")?.0.parse().ok()?;
    let (done, succeeded) = (number(" done")?, number(" succeeded")?);
    // Where the server does not agree on HTTP/2, h2load takes what it gets.
    let other = u64::from(line("Application protocol: ")? != "h2");
    let bad = number(" failed")? + number(" errored")? + number(" timeout")? + done.saturating_sub(good) + other;
    let done = match unit {
        Unit::Requests => succeeded,
        Unit::Bytes => data.parse().ok()?,
    };
    Some(Count { done, bad, took: Duration::from_secs_f64(seconds), cpu: Duration::ZERO })
}

/// Bytes of `1.50MB`, as wrk writes 1.5 MiB.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.strip_prefix(digits)? {
        "B" => 1.0,
        "KB" => 1024.0,
        "MB" => MIB,
        "GB" => GIB,
        _ => return None,
    };
    Some((digits.parse::<f64>().ok()? * unit) as u64)
}

fn numbers(text: String) -> u64 {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wrk_prints_is_understood() {
        let text = "Running 1s test\n  1 threads and 32 connections\n  1234 requests in 1.00s, 1.50MB read\n  \
                    Socket errors: connect 0, read 2, write 0, timeout 1\n  Non-2xx or 3xx responses: 4\nRequests/sec:   1230.5\n";
        let count = of_wrk(text, Unit::Requests).unwrap();
        assert_eq!((count.done, count.bad), (1234, 7));
        assert!((count.rate() - 1230.5).abs() < 0.1, "{count:?}");
        assert_eq!(of_wrk(text, Unit::Bytes).unwrap().done, 1_572_864);
    }

    #[test]
    fn what_h2load_prints_is_understood() {
        let text = "Application protocol: h2\nfinished in 2.02s, 20.00 req/s, 218.57MB/s\n\
                    requests: 40 total, 48 started, 40 done, 39 succeeded, 1 failed, 0 errored, 2 timeout\n\
                    status codes: 47 2xx, 0 3xx, 0 4xx, 0 5xx\n\
                    traffic: 437.13MB (458365796) total, 5.69KB (5828) headers (space savings 33.33%), 436.59MB (457799999) data\n";
        let count = of_h2load(text, Unit::Requests).unwrap();
        assert_eq!((count.done, count.bad, count.took), (39, 3, Duration::from_millis(2020)));
        assert_eq!(of_h2load(text, Unit::Bytes).unwrap().done, 457_799_999);
        let other = text.replace("protocol: h2", "protocol: http/1.1");
        assert_eq!(of_h2load(&other, Unit::Requests).unwrap().bad, 4);
    }
}
