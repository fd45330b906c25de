//! What becomes of every directive, as a table: the README's, made by translating an example of each.

use std::{collections::BTreeMap, fmt::Write as _};

use plugin_api::config::Source;

use super::{Mode, Surroundings, translate};

/// An example of a directive.
struct Example {
    /// The line.
    line: &'static str,
    /// What it needs around it to have an effect.
    beside: &'static str,
    /// Where Lockgate differs, or what may surprise.
    note: &'static str,
}

/// The table in Markdown.
pub(crate) fn table() -> String {
    let mut table = "| directive | becomes | notes |\n|---|---|---|\n".to_owned();
    for Example { line, beside, note } in EXAMPLES {
        let note = if note.is_empty() { String::new() } else { format!("{note} ") };
        let _ = writeln!(table, "| `{line}` | {} | {note}|", becomes(line, beside));
    }
    table
}

/// What the line changes in a translation: keys that hold what it says, or else all that change.
fn becomes(line: &str, beside: &str) -> String {
    let (without, with) = (entries(beside), entries(&format!("{beside}{line}\n")));
    let mut changed: Vec<_> = with.iter().filter(|(place, value)| without.get(*place) != Some(value)).collect();
    let words: Vec<_> = line.split(' ').skip(1).map(|word| word.trim_matches('"')).collect();
    let holds = |value: &str| words.iter().any(|word| value.contains(word));
    if changed.iter().any(|(_, value)| holds(value)) {
        changed.retain(|(_, value)| holds(value));
    }
    let mut changes: Vec<(&str, &str, Vec<String>)> = Vec::new();
    for ((section, key), value) in changed {
        let key = format!("`{key}`");
        match changes.iter_mut().find(|(known, same, _)| known == section && same == value) {
            Some((_, _, keys)) => keys.push(key),
            None => changes.push((section, value, vec![key])),
        }
    }
    let set = |(section, value, keys): &(&str, &str, Vec<String>)| format!("{section} {} = `{value}`", keys.join(", "));
    let gone = without.keys().filter(|place| !with.contains_key(*place));
    let is_there = |section: &str| with.keys().any(|(other, _)| other == section);
    let gone = gone.map(|(section, key)| match is_there(section) {
        true => format!("no {section} `{key}`"),
        false => format!("no {section}"),
    });
    let mut told: Vec<_> = changes.iter().map(set).chain(gone).collect();
    told.dedup();
    if told.is_empty() { "nothing".to_owned() } else { told.join("; ") }
}

/// Every key of the translation of a file, by its section or plugin, with its value on one line.
fn entries(text: &str) -> BTreeMap<(String, String), String> {
    let surroundings = Surroundings {
        mode: Mode::Foreground,
        host_name: "HOSTNAME".to_owned(),
        is_root: false,
        interfaces: BTreeMap::new(),
        kept: None,
    };
    let source = Source::new("an example", format!("Port 8888\n{text}"));
    let toml = translate(&source, &surroundings).map(|translation| translation.toml).unwrap_or_default();
    let (mut entries, mut section) = (BTreeMap::new(), String::new());
    let mut lines = toml.lines();
    while let Some(line) = lines.next() {
        let Some((key, value)) = line.split_once(" = ") else {
            section = format!("`{line}`");
            continue;
        };
        let mut value = value.to_owned();
        if value == "[" {
            let items = lines.by_ref().take_while(|line| *line != "]");
            let items: Vec<_> = items.map(|line| line.trim().trim_end_matches(',').to_owned()).collect();
            value = format!("[{}]", items.join(", "));
        }
        if key == "use" {
            section = format!("`{}`", value.trim_matches('"'));
            continue;
        }
        entries.insert((section.clone(), key.to_owned()), value);
    }
    entries
}

const fn plain(line: &'static str) -> Example {
    Example { line, beside: "", note: "" }
}

const fn noted(line: &'static str, note: &'static str) -> Example {
    Example { line, beside: "", note }
}

const fn beside(beside: &'static str, line: &'static str) -> Example {
    Example { line, beside, note: "" }
}

const OBSOLETE: &str = "ignored with a warning, as by tinyproxy";
const STICKY: &str = "once on, a later `No` does not turn it off";
const MAPPED: &str = "ReversePath \"/a/\" \"http://app:8080/\"\n";

/// Every directive, in the order of the alphabet.
const EXAMPLES: &[Example] = &[
    noted("AddHeader \"X-Name\" \"value\"", "`Host` has no effect"),
    noted("Allow 10.0.0.0/8", "the first rule that matches decides; names end at a dot"),
    noted("Anonymous \"Accept\"", "bodies of any framing pass"),
    noted("BasicAuth user password", "blanks at the end are no part of the password"),
    beside("BasicAuth user password\n", "BasicAuthRealm \"Proxy\""),
    plain("Bind 192.0.2.1"),
    plain("BindSame Yes"),
    noted("ConnectPort 443", "`0` alone: no tunnels"),
    plain("DefaultErrorFile \"/etc/error.html\""),
    beside("Allow 10.0.0.0/8\n", "Deny 10.0.0.1"),
    beside("XTinyproxy Yes\n", "DisableViaHeader Yes"),
    noted("ErrorFile 404 \"/etc/404.html\"", "values are escaped for HTML"),
    noted("Filter \"/etc/tinyproxy/filter\"", "a list that cannot be used changes nothing at reload"),
    Example { line: "FilterCaseSensitive Yes", beside: "Filter \"/etc/tinyproxy/filter\"\n", note: STICKY },
    Example { line: "FilterDefaultDeny Yes", beside: "Filter \"/etc/tinyproxy/filter\"\n", note: STICKY },
    Example { line: "FilterExtended Yes", beside: "Filter \"/etc/tinyproxy/filter\"\n", note: STICKY },
    beside("Filter \"/etc/tinyproxy/filter\"\n", "FilterType fnmatch"),
    Example { line: "FilterURLs Yes", beside: "Filter \"/etc/tinyproxy/filter\"\n", note: STICKY },
    plain("Group tinyproxy"),
    noted("Listen 127.0.0.1", "without it, every address of IPv4 and IPv6; a reload keeps them"),
    noted(
        "LogFile \"/var/log/tinyproxy/tinyproxy.log\"",
        "`/dev/stdout` works; what a full disk does not take goes to the syslog",
    ),
    noted("LogLevel Notice", "a reload without the line keeps it, as in tinyproxy"),
    noted("MaxClients 50", "more connections wait"),
    noted("MaxRequestsPerChild 0", OBSOLETE),
    noted("MaxSpareServers 20", OBSOLETE),
    noted("MinSpareServers 5", OBSOLETE),
    plain("PidFile \"/run/tinyproxy/tinyproxy.pid\""),
    noted("Port 3128", "required; a reload keeps it"),
    beside(MAPPED, "ReverseBaseURL \"http://me/\""),
    beside(MAPPED, "ReverseMagic Yes"),
    beside(MAPPED, "ReverseOnly Yes"),
    noted("ReversePath \"/a/\" \"http://app:8080/\"", "the last one is tried first; `https://` works, too"),
    noted("StartServers 10", OBSOLETE),
    plain("StatFile \"/etc/stats.html\""),
    plain("StatHost \"stats.example\""),
    plain("Syslog On"),
    noted("Timeout 60", "for each wait, as in tinyproxy; in TOML each can be set"),
    noted(
        "Upstream http parent:3128 \".example\"",
        "of rules with a host the last one wins; also `socks4`, `socks5`, `none`",
    ),
    plain("User tinyproxy"),
    plain("ViaProxyName \"gate\""),
    plain("XTinyproxy Yes"),
];

#[cfg(test)]
mod tests {
    use super::{super::directive::names, *};

    #[test]
    fn every_directive_has_an_example_that_says_what_it_becomes() {
        let shown: Vec<_> = EXAMPLES.iter().filter_map(|example| example.line.split(' ').next()).collect();
        assert_eq!(shown, names().collect::<Vec<_>>());
        for Example { line, beside, note } in EXAMPLES {
            assert!(entries(&format!("{beside}{line}\n")).len() > 5, "{line} cannot be translated");
            let is_nothing = becomes(line, beside) == "nothing";
            assert_eq!(is_nothing, *note == OBSOLETE, "{line}");
        }
    }

    #[test]
    fn changes_are_told_by_section_and_value() {
        assert_eq!(becomes("DisableViaHeader Yes", ""), "no `headers`");
        assert_eq!(becomes("DisableViaHeader Yes", "XTinyproxy Yes\n"), "no `headers` `via`");
        assert_eq!(becomes("ConnectPort 443", ""), "`forward` `connect_ports` = `[443]`");
        assert_eq!(
            becomes("Timeout 60", "ReversePath \"/\" \"http://a/\"\nReverseOnly Yes\n"),
            "`[server]` `head_timeout`, `keep_alive_timeout`, `read_timeout`, `write_timeout` = `\"1m\"`; \
             `reverse-path` `connect_timeout`, `read_timeout`, `upgraded_idle_timeout`, `write_timeout` = `\"1m\"`"
        );
    }
}
