//! How people and their programs learn of what becomes of certificates.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use test_support::{
    Connection,
    ca_front::{Endpoint, Fault},
    poll,
};

use super::{DEADLINE, FAILED, ISSUED, Running, Site, Stage, certificate};
use crate::support::LOCKGATE;

/// Keeps each call in a file of its own, which is whole when it has its name.
const NOTIFY: &str = "#!/bin/sh\n\
    { env | grep ^LOCKGATE_ | sort; cat; } > \"$1/.draft-$$\"\n\
    mv \"$1/.draft-$$\" \"$1/$LOCKGATE_CERTIFICATE-$LOCKGATE_EVENT\"\n";

/// A site with a notify command, and where that leaves what it was told.
fn notifying<'s>(stage: &'s Stage, certificates: &str) -> (Site<'s>, PathBuf) {
    let (program, notices) = (stage.file("notify"), stage.file("notices"));
    fs::write(&program, NOTIFY).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(&notices).unwrap();
    let acme = format!("notify = [{program:?}, {notices:?}]\n");
    (Site { acme, ..stage.site(certificates) }, notices)
}

/// What the command was told: its environment, and the object on its standard input.
fn notice(notices: &Path, certificate: &str, event: &str) -> (BTreeMap<String, String>, Value) {
    let file = notices.join(format!("{certificate}-{event}"));
    let text = poll(DEADLINE, || fs::read_to_string(&file).ok()).unwrap_or_else(|| panic!("there is no {file:?}"));
    let (environment, object) = text.split_once('{').unwrap();
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    (environment.lines().filter_map(pair).collect(), serde_json::from_str(&format!("{{{object}")).unwrap())
}

/// What the environment says is what the object says.
fn told(notices: &Path, certificate: &str, event: &str, expected: &[(&str, &str)]) {
    let (environment, object) = notice(notices, certificate, event);
    let all = ["event", "certificate", "names", "refused", "class", "message", "lineage"];
    let keys: Vec<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!((keys.len(), environment.len()), (all.len(), all.len()), "{environment:?}, {object}");
    for key in all {
        let said = match &object[key] {
            Value::Array(list) => list.iter().map(|item| item.as_str().unwrap()).collect::<Vec<_>>().join(" "),
            text => text.as_str().unwrap().to_owned(),
        };
        assert_eq!(environment[&format!("LOCKGATE_{}", key.to_uppercase())], said);
    }
    for (key, value) in expected.iter().chain(&[("event", event), ("certificate", certificate)]) {
        assert_eq!(environment[&format!("LOCKGATE_{}", key.to_uppercase())], *value, "{environment:?}");
    }
}

/// What `lockgate cert list` says, and how it ends.
fn listed(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(LOCKGATE).args(["cert", "list"]).args(arguments).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

/// The numbers about certificates.
fn metrics(running: &Running<'_>) -> BTreeMap<String, i64> {
    let request = "GET /metrics HTTP/1.1\r\nHost: site.example\r\nConnection: close\r\n\r\n";
    let response = Connection::open(running.stage.doors[0].address()).unwrap().exchange(request).unwrap();
    let text = response.text();
    let lines = text.lines().filter(|line| line.starts_with("lockgate_certificate_"));
    lines
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

const STATS: &str = "[[route]]\npath = \"/metrics\"\nchain = [\n  \
    { use = \"stats\", path = \"/metrics\", format = \"prometheus\" },\n  { use = \"upstream\", servers = [\"127.0.0.1:1\"] },\n]\n";

#[test]
fn the_notify_command_metrics_and_the_list_say_what_became_of_each_certificate() {
    let stage = Stage::new();
    stage.front.fail_challenges("dead.example", "dns", "NXDOMAIN");
    stage.front.refuse_name("refused.example", "not for you");
    let certificates = certificate(&["good.example"])
        + &certificate(&["some.example", "dead.example"])
        + &certificate(&["refused.example"]);
    let (site, notices) = notifying(&stage, &certificates);
    let site = Site { routes: STATS.to_owned(), ..site };
    let running = site.run();
    running.says(ISSUED);
    running.says(ISSUED);
    running.says(FAILED);
    let live = |name: &str| site.storage.join("live").join(name).display().to_string();
    let (good, some) = (live("good.example"), live("some.example"));
    let ok = |lineage| {
        [("names", "good.example"), ("refused", ""), ("class", "issued"), ("message", ""), ("lineage", lineage)]
    };
    told(&notices, "good.example", "issued", &ok(&good));
    let partly = [
        ("names", "some.example"),
        ("refused", "dead.example"),
        ("class", "issued"),
        ("message", "dead.example: NXDOMAIN"),
        ("lineage", &some),
    ];
    told(&notices, "some.example", "skipped", &partly);
    let message = "refused.example: the order challenge failed: not for you (rejectedIdentifier)";
    let failed =
        [("names", "refused.example"), ("refused", "refused.example"), ("class", "domain"), ("message", message)];
    told(&notices, "refused.example", "failed", &failed);

    let numbers = metrics(&running);
    let number = |name: &str, labels: &str| numbers.get(&format!("lockgate_certificate_{name}{{{labels}}}")).copied();
    let days = |certificate: &str| number("days_left", &format!("certificate=\"{certificate}\""));
    assert_eq!([days("good.example"), days("some.example"), days("refused.example")], [Some(89), Some(89), Some(-1)]);
    let tries = |certificate: &str, result: &str| {
        number("attempts_total", &format!("certificate=\"{certificate}\",result=\"{result}\""))
    };
    assert_eq!([tries("good.example", "issued"), tries("refused.example", "domain")], [Some(1); 2], "{numbers:?}");
    assert_eq!(tries("good.example", "domain"), None);
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    for certificate in ["good.example", "some.example", "refused.example"] {
        let last = number("last_attempt_seconds", &format!("certificate=\"{certificate}\"")).unwrap();
        assert!((now - 60..=now).contains(&last), "{numbers:?}");
    }

    let config = running.file("lockgate.toml").display().to_string();
    let (status, text) = listed(&["--config", &config]);
    assert_eq!(status, Some(1), "{text}");
    let row = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{text}"));
    assert!(row("good.example").contains("valid") && row("good.example").contains("89 days"), "{text}");
    assert!(row("some.example").contains("(dead.example)") && row("refused.example").contains("missing"), "{text}");
    assert!(text.contains("NXDOMAIN") && text.contains("not for you"), "{text}");
    let (status, text) = listed(&["--config", &config, "--json"]);
    let list: Vec<Value> = serde_json::from_str(&text).unwrap();
    let states: Vec<_> = list.iter().map(|one| one["state"].as_str().unwrap()).collect();
    assert_eq!((status, states), (Some(1), vec!["valid", "valid", "missing"]), "{text}");
    assert_eq!(
        (&list[1]["wanted"], &list[1]["refused"][0]["name"]),
        (&serde_json::json!(["some.example", "dead.example"]), &"dead.example".into())
    );
    assert!(list[2]["last_attempt"]["message"].as_str().unwrap().contains("not for you"), "{text}");
    // All that are there are valid, unless one asks for more.
    let storage = site.storage.display().to_string();
    assert_eq!(listed(&["--storage", &storage]).0, Some(0));
    assert_eq!(listed(&["--storage", &storage, "--within", "100d"]).0, Some(1));
}

#[test]
fn the_page_that_wakes_a_paused_account_is_told_everywhere() {
    let stage = Stage::new();
    let (site, notices) = notifying(&stage, &certificate(&["site.example"]));
    let page = "https://portal.example/sfe/v1/unpause?jwt=abc";
    stage.front.inject(Endpoint::NewOrder, 1, Fault::paused("site.example", page));
    let running = site.run();
    let said = running.says(FAILED);
    assert!(said.contains(&format!("link={page:?}")), "{said}");
    let (environment, object) = notice(&notices, "site.example", "failed");
    assert!(environment["LOCKGATE_MESSAGE"].contains(page), "{environment:?}");
    assert!(object["message"].as_str().unwrap().contains(page), "{object}");
    let config = running.file("lockgate.toml").display().to_string();
    let (status, text) = listed(&["--config", &config]);
    assert!(status == Some(1) && text.contains(&format!("see {page}")), "{text}");
    let (_, text) = listed(&["--config", &config, "--json"]);
    let list: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(list[0]["last_attempt"]["link"], page);
}
