//! The plugin on the harness: which requests are for it, and what they get.

use std::sync::Arc;

use plugin_api::{
    Meter, Named, Reading,
    config::Problems,
    harness::Harness,
    http::{StatusCode, header},
};
use plugin_stats::Stats;

struct Counted;

impl Meter for Counted {
    fn readings(&self) -> Vec<Reading> {
        [
            ("lockgate_connections_accepted_total", 12),
            ("lockgate_connections_closed_total", 5),
            ("lockgate_requests_total", 20),
            ("lockgate_requests_refused_total", 3),
            ("lockgate_requests_denied_total", 4),
            ("lockgate_requests_bad_total", 2),
        ]
        .map(|(name, value)| Reading::new(name, value))
        .into()
    }
}

fn harness(keys: &str) -> Result<Harness, Problems> {
    let mut named = Named::default();
    named.insert::<dyn Meter>(<dyn Meter>::ENGINE, Arc::new(Counted));
    Harness::with::<Stats>(keys, &named)
}

fn get(harness: &Harness, target: &str, host: &str) -> String {
    // A URL names its host; a path leaves that to the field.
    let request = harness.request("GET", target);
    if host.is_empty() { request.send().text() } else { request.host(host).send().text() }
}

#[test]
fn a_host_a_path_or_both_stand_for_the_statistics() {
    let page = "Number of open connections: 7<br />\nNumber of requests: 23<br />";
    let host = harness("host = \"tinyproxy.stats\"").unwrap();
    for (target, name, shown) in [
        ("/", "tinyproxy.stats", true),
        ("/any?thing", "tinyproxy.stats:8888", true),
        ("http://tinyproxy.stats/", "", true),
        ("/", "Tinyproxy.stats", false),
        ("/", "tinyproxy.stats.example", false),
        ("http://other/", "", false),
    ] {
        assert_eq!(get(&host, target, name).contains(page), shown, "{target} {name}");
    }
    let both = harness("host = \"stats\"\npath = \"/s\"").unwrap();
    assert!(get(&both, "/s?x", "stats").contains(page));
    assert!(!get(&both, "/s/", "stats").contains(page) && !get(&both, "/s", "other").contains(page));
    let tunnel = host.request("CONNECT", "tinyproxy.stats:80").send();
    assert_eq!(tunnel.text(), "the application", "a tunnel is not for us");
}

#[test]
fn prometheus_gets_every_counter() {
    let harness = harness("path = \"/metrics\"\nformat = \"prometheus\"").unwrap();
    let exchange = harness.get("/metrics");
    assert!(exchange.text().contains("# TYPE lockgate_requests_total counter\nlockgate_requests_total 20\n"));
    assert_eq!(exchange.response.headers[header::CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(exchange.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_template_is_filled_and_a_missing_one_does_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("stats");
    std::fs::write(&file, "{opens} {reqs} {badconns} {deniedconns} {refusedconns} {clientip} {clienthost}").unwrap();
    let harness = harness(&format!("host = \"s\"\nfile = \"{}\"", file.display())).unwrap();
    let ask = || async { harness.request("GET", "http://s/").send_async().await.text() };
    assert_eq!(ask().await, "7 23 5 4 0 192.0.2.99 {clienthost}");
    std::fs::remove_file(&file).unwrap();
    assert!(ask().await.contains("<h1>lockgate"));
}

#[test]
fn what_cannot_work_is_refused_where_it_stands() {
    for (keys, expected) in [
        ("", "nothing stands for the statistics"),
        ("path = \"metrics\"", "harness:1:8: a path starts with `/`"),
        ("host = \"\"", "harness:1:8: no host is called so"),
        ("path = \"/m\"\nformat = \"prometheus\"\nfile = \"x\"", "harness:3:8: Prometheus reads no page"),
        ("path = \"/m\"\nformat = \"html\"", "harness:2:10: unknown variant"),
    ] {
        let problems = harness(keys).map(|_| ()).unwrap_err().to_string();
        assert!(problems.contains(expected), "{expected} is not in\n{problems}");
    }
}
