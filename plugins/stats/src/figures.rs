//! Counters as figures of a page, and as text for Prometheus.

use std::fmt::Write as _;

/// The figures that templates know, as tinyproxy's do.
pub(crate) struct Figures([(&'static str, String); 5]);

impl Figures {
    pub(crate) fn of(readings: &[(&'static str, u64)]) -> Self {
        let reading = |name: &str| {
            let name = format!("lockgate_{name}_total");
            readings.iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| *value)
        };
        let open = reading("connections_accepted").saturating_sub(reading("connections_closed"));
        let bad = reading("requests_refused") + reading("requests_unrouted");
        Self([
            ("opens", open.to_string()),
            ("reqs", (reading("requests") + bad).to_string()),
            ("badconns", bad.to_string()),
            ("deniedconns", reading("requests_denied").to_string()),
            // Nobody is refused for want of room: who comes late waits.
            ("refusedconns", "0".to_owned()),
        ])
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }
}

/// The [text format](https://prometheus.io/docs/instrumenting/exposition_formats/) of Prometheus.
pub(crate) fn prometheus(readings: &[(&'static str, u64)]) -> String {
    let mut text = String::new();
    for (name, value) in readings {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        let _ = writeln!(text, "# TYPE {name} {kind}\n{name} {value}");
    }
    text
}
