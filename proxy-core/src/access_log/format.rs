//! The forms of a log line.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use http::Version;
use plugin_api::Client;
use serde::Serialize;

use super::Record;

/// The combined log format, then `host upstream seconds route ending`.
pub(super) fn text(record: &Record, line: &mut String) {
    let status = record.status.map_or(0, |status| status.as_u16());
    let _ = write!(line, "{} - - [", record.client.name());
    date(record.time, line);
    let _ = write!(line, "] \"{} ", record.method);
    escaped(&record.target, line);
    let _ = write!(line, " {}\" {status} {} ", version(record.version), record.bytes);
    for quoted in [&record.referer, &record.user_agent] {
        line.push('"');
        escaped(quoted.as_deref().unwrap_or("-"), line);
        line.push_str("\" ");
    }
    escaped(record.host.as_deref().unwrap_or("-"), line);
    line.push(' ');
    escaped(record.upstream.as_deref().unwrap_or("-"), line);
    let route = record.route.as_deref().unwrap_or("-");
    let _ = writeln!(line, " {:.6} {} {route} {}", record.duration.as_secs_f64(), record.listener, record.ending);
}

/// One JSON object.
pub(super) fn json(record: &Record, line: &mut String) {
    #[derive(Serialize)]
    struct Line<'a> {
        time: String,
        #[serde(serialize_with = "as_text")]
        client: Client,
        listener: &'a str,
        route: Option<&'a str>,
        method: &'a str,
        host: Option<&'a str>,
        target: &'a str,
        version: &'a str,
        status: Option<u16>,
        bytes: u64,
        seconds: f64,
        upstream: Option<&'a str>,
        ending: &'a str,
        user_agent: Option<&'a str>,
        referer: Option<&'a str>,
    }
    let mut time = String::with_capacity(24);
    date(record.time, &mut time);
    let object = Line {
        time,
        client: record.client,
        listener: &record.listener,
        route: record.route.as_deref(),
        method: record.method.as_str(),
        host: record.host.as_deref(),
        target: &record.target,
        version: version(record.version),
        status: record.status.map(|status| status.as_u16()),
        bytes: record.bytes,
        seconds: record.duration.as_secs_f64(),
        upstream: record.upstream.as_deref(),
        ending: record.ending,
        user_agent: record.user_agent.as_deref(),
        referer: record.referer.as_deref(),
    };
    // Text, numbers and options always serialize.
    if let Ok(object) = serde_json::to_string(&object) {
        line.push_str(&object);
        line.push('\n');
    }
}

fn as_text<S: serde::Serializer>(value: &Client, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Nothing that a client sends may end a field or a line, or reach a terminal as a control character.
fn escaped(text: &str, line: &mut String) {
    for character in text.chars() {
        match character {
            '"' | '\\' | ' ' => {
                let _ = write!(line, "\\x{:02x}", u32::from(character));
            }
            control if control.is_control() => {
                let _ = write!(line, "\\x{:02x}", u32::from(control));
            }
            plain => line.push(plain),
        }
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/?",
    }
}

/// RFC 3339 in UTC with milliseconds.
fn date(time: SystemTime, line: &mut String) {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let _ =
        write!(line, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis());
}

/// Days since 1970-01-01 to a date. A year is counted from March, so that the leap day is its last one and months follow
/// the pattern of 153 days in five.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::record, *};

    #[test]
    fn a_text_line_is_one_line_with_fixed_fields() {
        let mut line = String::new();
        text(&record("/a\n\"b c\u{1b}"), &mut line);
        assert_eq!(
            line,
            "192.0.2.7 - - [2026-11-23T19:34:56.123Z] \"GET /a\\x0a\\x22b\\x20c\\x1b HTTP/1.1\" 200 42 \"-\" \"cu\\x22rl\" \
             example.com 127.0.0.1:8080 0.001500 http site complete\n"
        );
    }

    #[test]
    fn a_json_line_is_an_object() {
        let mut line = String::new();
        json(&record("/a\n\""), &mut line);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["target"], "/a\n\"");
        assert_eq!(value["time"], "2026-11-23T19:34:56.123Z");
        assert_eq!(value["referer"], serde_json::Value::Null);
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (days, expected) in [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (19_782, (2024, 2, 29)),
            (20_780, (2026, 11, 23)),
        ] {
            assert_eq!(civil(days), expected);
        }
    }
}
