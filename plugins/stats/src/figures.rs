//! Counters as figures of a page, and as text for Prometheus.

use std::fmt::Write as _;

use plugin_api::Reading;

/// The figures that templates know, as tinyproxy's do.
pub(crate) struct Figures([(&'static str, String); 5]);

impl Figures {
    pub(crate) fn of(readings: &[Reading]) -> Self {
        let reading = |name: &str| {
            let name = format!("lockgate_{name}_total");
            readings.iter().find(|reading| reading.name == name).map_or(0, |reading| reading.value)
        };
        let open = (reading("connections_accepted") - reading("connections_closed")).max(0);
        // A connection on which nothing is asked counts like a request that cannot be read.
        let outside = reading("requests_refused") + reading("requests_unrouted") + reading("connections_silent");
        Self([
            ("opens", open.to_string()),
            ("reqs", (reading("requests") + outside).to_string()),
            ("badconns", (outside + reading("requests_bad")).to_string()),
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
pub(crate) fn prometheus(readings: &[Reading]) -> String {
    let mut text = String::new();
    let mut before = "";
    for Reading { name, labels, value, help, .. } in readings {
        if *name != before {
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            if !help.is_empty() {
                let _ = writeln!(text, "# HELP {name} {help}");
            }
            let _ = writeln!(text, "# TYPE {name} {kind}");
            before = name;
        }
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(text, "{name}{labels} {value}");
    }
    text
}

/// As the format wants the values of labels.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_one_name_have_one_type_and_labels_that_tell_them_apart() {
        let days = |name: &str, days| Reading::labelled("lockgate_days", vec![("certificate", name.to_owned())], days);
        let readings =
            [Reading::new("lockgate_a_total", 7).with_help("All of a."), days("a.example", 3), days("\"b\"\\", -1)];
        let expected = "# HELP lockgate_a_total All of a.\n# TYPE lockgate_a_total counter\nlockgate_a_total 7\n# TYPE lockgate_days gauge\n\
                        lockgate_days{certificate=\"a.example\"} 3\nlockgate_days{certificate=\"\\\"b\\\"\\\\\"} -1\n";
        assert_eq!(prometheus(&readings), expected);
    }
}
