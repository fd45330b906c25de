//! What differs between two observations, and which differences are known. Nothing here runs a program.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
};

use serde::Deserialize;

use super::{
    case::directory,
    observation::{Observation, Part},
};

/// `tests/parity/differences.toml`: everything in which the two may differ, and why.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    /// What we do otherwise on purpose, by name.
    #[serde(default)]
    deviation: BTreeMap<String, String>,
    /// Differences of all cases.
    #[serde(default)]
    rule: Vec<Rule>,
    /// Differences of single cases.
    #[serde(default)]
    difference: Vec<Entry>,
}

/// A difference that is the same wherever it appears.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// Pattern for aspects.
    aspect: String,
    /// Patterns for what each of the two has; `(absent)` for nothing.
    #[serde(default = "anything")]
    theirs: String,
    #[serde(default = "anything")]
    ours: String,
    /// A text of theirs, and what ours has instead of it: everything around it is the same.
    instead: Option<[String; 2]>,
    because: Option<Because>,
    reason: String,
    /// A case in which it makes a difference.
    example: String,
}

/// Why two programs may differ, at all.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
enum Because {
    /// We do better on purpose: the name of what.
    Deviation(String),
    /// Debian's 1.11.1 is older than what we follow: a release that has it changed.
    Since(String),
    /// A proxy must not do it: the document and its section.
    Rfc(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    cases: Vec<String>,
    /// Patterns for the aspects that differ. Each case must differ in each of them.
    #[serde(default)]
    aspects: Vec<String>,
    /// Patterns for aspects that differ in some runs only: who is first depends on the machine.
    #[serde(default)]
    sometimes: Vec<String>,
    /// Our status line, for requests that only tinyproxy relays: what it relayed, and our page instead of it, differ too.
    refused: Option<String>,
    /// Our status line (or exit code), when it is among the aspects.
    ours: Option<String>,
    because: Option<Because>,
    reason: String,
}

impl Because {
    /// Something that is listed, a release that there was, or a section of a document.
    fn is_one(&self, deviations: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Deviation(name) => deviations.contains_key(name),
            Self::Since(release) => ["1.11.2", "1.11.3", "after 1.11.3"].contains(&release.as_str()),
            Self::Rfc(clause) => clause.split_once(" section ").is_some_and(|(number, section)| {
                number.bytes().all(|byte| byte.is_ascii_digit())
                    && section.starts_with(|first: char| first.is_ascii_digit())
            }),
        }
    }
}

fn anything() -> String {
    "*".to_owned()
}

/// What is not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) aspect: String,
    pub(super) theirs: String,
    pub(super) ours: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |text: &String| text.chars().take(600).collect::<String>();
        write!(f, "  {}\n    tinyproxy: {:?}\n    lockgate:  {:?}", self.aspect, short(&self.theirs), short(&self.ours))
    }
}

/// Each aspect in which the two differ.
pub(super) fn differences(theirs: &Observation, ours: &Observation) -> Vec<Difference> {
    let mut found = Vec::new();
    let aspects: BTreeSet<_> = theirs.parts.keys().chain(ours.parts.keys()).collect();
    let absent = Part::Text(ABSENT.to_owned());
    let empty = Part::Fields(Vec::new());
    for aspect in aspects {
        let parts = (theirs.parts.get(aspect), ours.parts.get(aspect));
        let (theirs, ours) = match parts {
            (Some(Part::Fields(_)), None) => (parts.0.unwrap_or(&empty), &empty),
            (None, Some(Part::Fields(_))) => (&empty, parts.1.unwrap_or(&empty)),
            _ => (parts.0.unwrap_or(&absent), parts.1.unwrap_or(&absent)),
        };
        match (theirs, ours) {
            (Part::Fields(theirs), Part::Fields(ours)) => fields_differ(aspect, theirs, ours, &mut found),
            (theirs, ours) if theirs != ours => {
                found.push(Difference { aspect: aspect.clone(), theirs: theirs.to_string(), ours: ours.to_string() })
            }
            _ => {}
        }
    }
    found
}

/// Values by name, the order of the names that both have, and how those are written.
fn fields_differ(aspect: &str, theirs: &[(String, String)], ours: &[(String, String)], found: &mut Vec<Difference>) {
    let by_name = |fields: &[(String, String)]| -> BTreeMap<String, Vec<String>> {
        let mut map: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, value) in fields {
            map.entry(name.to_ascii_lowercase()).or_default().push(value.clone());
        }
        map
    };
    let (their_map, our_map) = (by_name(theirs), by_name(ours));
    let names: BTreeSet<_> = their_map.keys().chain(our_map.keys()).collect();
    let text = |values: Option<&Vec<String>>| values.map_or_else(|| ABSENT.to_owned(), |values| values.join(" | "));
    for name in names {
        let (theirs, ours) = (text(their_map.get(name)), text(our_map.get(name)));
        if theirs != ours {
            found.push(Difference { aspect: format!("{aspect}.{name}"), theirs, ours });
        }
    }
    // Fields of the proxy's own have no place that means anything.
    let is_own = |name: &str| OWN.iter().any(|own| name.eq_ignore_ascii_case(own));
    let common = |fields: &[(String, String)]| -> Vec<String> {
        let is_common = |name: &str| {
            let name = name.to_ascii_lowercase();
            their_map
                .get(&name)
                .is_some_and(|values| our_map.get(&name).is_some_and(|other| other.len() == values.len()))
        };
        fields.iter().filter(|(name, _)| is_common(name)).map(|(name, _)| name.clone()).collect()
    };
    let (theirs, ours) = (common(theirs), common(ours));
    let lower = |names: &[String]| -> String {
        let others: Vec<_> = names.iter().filter(|name| !is_own(name)).map(|name| name.to_ascii_lowercase()).collect();
        others.join(" ")
    };
    if lower(&theirs) != lower(&ours) {
        found.push(Difference { aspect: format!("{aspect}:order"), theirs: lower(&theirs), ours: lower(&ours) });
    }
    let (mut theirs, mut ours) = (theirs, ours);
    theirs.sort_by_key(|name| name.to_ascii_lowercase());
    ours.sort_by_key(|name| name.to_ascii_lowercase());
    if theirs != ours {
        let (theirs, ours) = (theirs.join(" "), ours.join(" "));
        found.push(Difference { aspect: format!("{aspect}:spelling"), theirs, ours });
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Fields(fields) => write!(f, "{fields:?}"),
        }
    }
}

/// Fields that a proxy writes, or writes anew.
const OWN: &[&str] =
    &["Host", "Connection", "Via", "X-Tinyproxy", "Date", "Server", "Content-Length", "Transfer-Encoding"];

const ABSENT: &str = "(absent)";

impl Known {
    pub(super) fn read() -> Self {
        let path = directory().join("differences.toml");
        toml::from_str(&fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The rules alone.
    pub(super) fn rules(self) -> Self {
        Self { difference: Vec::new(), ..self }
    }

    /// What is wrong with the outcome of a case: differences that nobody knows of, and known ones that are none.
    pub(super) fn judge(&self, case: &str, found: &[Difference]) -> Vec<String> {
        let mut wrong = Vec::new();
        for rule in self.rule.iter().filter(|rule| rule.example == case) {
            if !found.iter().any(|one| rule.covers(one)) {
                wrong.push(format!("  the rule for `{}` makes no difference here ({})", rule.aspect, rule.reason));
            }
        }
        let rest: Vec<_> = found.iter().filter(|one| !self.rule.iter().any(|rule| rule.covers(one))).collect();
        let mut excused = BTreeSet::new();
        for entry in self.difference.iter().filter(|entry| entry.cases.iter().any(|name| name == case)) {
            if let Some(status) = &entry.refused {
                let is_refused = rest.iter().any(|one| one.aspect == "status" && matches(status, &one.ours));
                if is_refused && !found.iter().any(|one| one.aspect == "origin.line" && one.ours != ABSENT) {
                    let consequences =
                        rest.iter().filter(|one| CONSEQUENCES.iter().any(|form| matches(form, &one.aspect)));
                    excused.extend(consequences.map(|one| &one.aspect));
                } else {
                    wrong.push(format!("  it is not refused with {status:?}, as is listed ({})", entry.reason));
                }
            }
            let sometimes = rest.iter().filter(|one| entry.sometimes.iter().any(|form| matches(form, &one.aspect)));
            excused.extend(sometimes.map(|one| &one.aspect));
            for pattern in &entry.aspects {
                let matching: Vec<_> = rest.iter().filter(|one| matches(pattern, &one.aspect)).collect();
                if matching.is_empty() {
                    wrong.push(format!("  `{pattern}` agrees, and is listed as a difference ({})", entry.reason));
                }
                for one in matching {
                    let names_outcome = OUTCOMES.iter().any(|outcome| one.aspect.ends_with(outcome));
                    let is_expected = entry.ours.as_ref().is_none_or(|ours| matches(ours, &one.ours));
                    if !names_outcome || is_expected {
                        excused.insert(&one.aspect);
                    }
                }
            }
        }
        wrong.extend(rest.iter().filter(|one| !excused.contains(&one.aspect)).map(ToString::to_string));
        wrong
    }

    /// What is wrong with the list itself, when these are the cases of an area.
    pub(super) fn check(&self, area: &str, cases: &BTreeSet<String>) -> Vec<String> {
        let prefix = format!("{area}/");
        let named =
            self.difference.iter().flat_map(|entry| &entry.cases).chain(self.rule.iter().map(|rule| &rule.example));
        let unknown = named.filter(|name| name.starts_with(&prefix) && !cases.contains(*name));
        let mut wrong: Vec<_> =
            unknown.map(|name| format!("{name} is listed as a difference, and is no case")).collect();
        for entry in &self.difference {
            let names_outcome =
                entry.aspects.iter().any(|aspect| OUTCOMES.iter().any(|outcome| matches(aspect, outcome)));
            if entry.aspects.is_empty() && entry.sometimes.is_empty() && entry.refused.is_none() {
                wrong.push(format!("{:?}: the entry says nothing", entry.cases));
            }
            if !entry.because.as_ref().is_some_and(|because| because.is_one(&self.deviation))
                || (names_outcome && entry.ours.is_none())
            {
                wrong.push(format!("{:?}: the entry does not say `because`, or not our outcome", entry.cases));
            }
        }
        let vague = self
            .rule
            .iter()
            .filter(|rule| !rule.because.as_ref().is_some_and(|because| because.is_one(&self.deviation)));
        wrong.extend(vague.map(|rule| format!("the rule for {} does not say why", rule.aspect)));
        wrong
    }

    /// Deviations that nothing shows.
    pub(super) fn unused(&self) -> Vec<&str> {
        let reasons =
            self.rule.iter().map(|rule| &rule.because).chain(self.difference.iter().map(|entry| &entry.because));
        let used: BTreeSet<&str> = reasons
            .filter_map(|because| match because {
                Some(Because::Deviation(name)) => Some(name.as_str()),
                _ => None,
            })
            .collect();
        self.deviation.keys().map(String::as_str).filter(|name| !used.contains(name)).collect()
    }

    /// Areas that are named.
    pub(super) fn areas(&self) -> BTreeSet<&str> {
        let named =
            self.difference.iter().flat_map(|entry| &entry.cases).chain(self.rule.iter().map(|rule| &rule.example));
        named.map(|name| name.split('/').next().unwrap_or_default()).collect()
    }
}

/// What differs when only one of the two relays a request.
const CONSEQUENCES: &[&str] = &[
    "status",
    "version",
    "end",
    "body",
    "page.*",
    "header.*",
    "header:*",
    "origin.*",
    "log.Established connection to host",
    "log.Closed connection between local client",
    "log.No upstream proxy for",
    "log.opensock: Could not establish a connection to",
];

/// Aspects of which an entry must say what ours is.
const OUTCOMES: &[&str] = &["status", "exit"];

impl Rule {
    fn covers(&self, one: &Difference) -> bool {
        // Steps are numbered, and so are connections: a rule holds for each of them.
        let aspect = one.aspect.split_once('.').filter(|(step, _)| step.bytes().all(|byte| byte.is_ascii_digit()));
        let aspect = aspect.map_or(one.aspect.as_str(), |(_, rest)| rest);
        let is_instead = |[theirs, ours]: &[String; 2]| one.theirs.replace(theirs, ours) == one.ours;
        matches(&self.aspect, aspect)
            && matches(&self.theirs, &one.theirs)
            && matches(&self.ours, &one.ours)
            && self.instead.as_ref().is_none_or(is_instead)
    }
}

/// Whether a text has the form of a pattern, in which `*` is anything and `?` is a character.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut read) = (0, 0);
    // Where to go on when the rest does not fit: behind the last `*`, which then stands for one character more.
    let mut last = None;
    while read < text.len() {
        match pattern.get(at) {
            Some('*') => {
                at += 1;
                last = Some((at, read));
            }
            Some(wanted) if *wanted == '?' || *wanted == text[read] => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((after, taken)) = last else { return false };
                at = after;
                read = taken + 1;
                last = Some((after, read));
            }
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(bytes: &str) -> Observation {
        let mut seen = Observation::default();
        seen.answer("", bytes.as_bytes(), "closed", false);
        seen
    }

    fn known(text: &str) -> Known {
        toml::from_str(text).unwrap()
    }

    fn aspects(theirs: &str, ours: &str) -> Vec<String> {
        differences(&seen(theirs), &seen(ours)).into_iter().map(|one| one.aspect).collect()
    }

    const GOOD: &str = "HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\n\r\nx";

    #[test]
    fn a_difference_that_is_made_up_is_found() {
        assert!(aspects(GOOD, GOOD).is_empty());
        for (ours, aspect) in [
            ("HTTP/1.0 200 OK\r\nA: 1\r\nB: 2\r\n\r\nx", "version"),
            ("HTTP/1.1 200 Ok\r\nA: 1\r\nB: 2\r\n\r\nx", "status"),
            ("HTTP/1.1 200 OK\r\nA: 1\r\nB: 3\r\n\r\nx", "header.b"),
            ("HTTP/1.1 200 OK\r\nA: 1\r\n\r\nx", "header.b"),
            ("HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\nC:\r\n\r\nx", "header.c"),
            ("HTTP/1.1 200 OK\r\nB: 2\r\nA: 1\r\n\r\nx", "header:order"),
            ("HTTP/1.1 200 OK\r\na: 1\r\nB: 2\r\n\r\nx", "header:spelling"),
            ("HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\n\r\ny", "body"),
        ] {
            assert_eq!(aspects(GOOD, ours), [aspect], "{ours}");
        }
    }

    #[test]
    fn only_what_is_listed_is_excused() {
        let known = known(
            "[[difference]]\ncases = [\"a/b\"]\naspects = [\"status\", \"header.a\"]\nours = \"400*\"\n\
             because = { since = \"1.11.3\" }\nreason = \"x\"",
        );
        let judge = |case: &str, ours: &str| known.judge(case, &differences(&seen(GOOD), &seen(ours)));
        let listed = "HTTP/1.1 400 No\r\nB: 2\r\n\r\nx";
        assert!(judge("a/b", listed).is_empty());
        assert_eq!(judge("a/c", listed).len(), 2, "for another case it is not listed");
        assert_eq!(judge("a/b", "HTTP/1.1 400 No\r\nB: 3\r\n\r\nx").len(), 1, "a second difference");
        assert_eq!(judge("a/b", "HTTP/1.1 500 No\r\nB: 2\r\n\r\nx").len(), 1, "another outcome than the one listed");
        assert_eq!(judge("a/b", "HTTP/1.1 400 No\r\nA: 1\r\nB: 2\r\n\r\nx").len(), 1, "one of the two agrees");
        assert_eq!(judge("a/b", GOOD).len(), 2, "both agree");
    }

    #[test]
    fn what_follows_from_a_refusal_is_excused_with_it() {
        let known = known(
            "[[difference]]\ncases = [\"a/b\"]\nrefused = \"400 No\"\nbecause = { rfc = \"9112 section 3\" }\nreason = \"x\"",
        );
        let judge = |ours: &Observation| known.judge("a/b", &differences(&seen(GOOD), ours));
        let mut refused = seen("HTTP/1.1 400 No\r\n\r\n<html><h1>No</h1><p>Why</p>");
        assert!(judge(&refused).is_empty());
        refused.text("log.Request (file descriptor", "none");
        assert_eq!(judge(&refused).len(), 1, "that is no consequence");
        assert!(!judge(&seen("HTTP/1.1 500 No\r\n\r\n")).is_empty(), "another status");
        assert_eq!(judge(&seen(GOOD)).len(), 1, "it is not refused");
    }

    #[test]
    fn a_rule_covers_what_it_says_and_must_matter() {
        let known = known(
            "[[rule]]\naspect = \"header.b\"\ntheirs = \"2\"\nours = \"(absent)\"\nbecause = { deviation = \"x\" }\n\
             reason = \"x\"\nexample = \"a/b\"",
        );
        let judge = |case: &str, ours: &str| known.judge(case, &differences(&seen(GOOD), &seen(ours)));
        assert!(judge("a/c", "HTTP/1.1 200 OK\r\nA: 1\r\n\r\nx").is_empty());
        assert_eq!(judge("a/c", "HTTP/1.1 200 OK\r\nA: 1\r\nB: 9\r\n\r\nx").len(), 1);
        assert!(judge("a/c", GOOD).is_empty());
        assert_eq!(judge("a/b", GOOD).len(), 1, "its example shows it");
    }

    #[test]
    fn a_rule_may_say_what_is_there_instead() {
        let known = known(
            "[[rule]]\naspect = \"header.*\"\ninstead = [\"2\", \"3\"]\nbecause = { deviation = \"x\" }\nreason = \"x\"\n\
             example = \"a/b\"",
        );
        let judge = |ours: &str| known.judge("a/c", &differences(&seen(GOOD), &seen(ours)));
        assert!(judge("HTTP/1.1 200 OK\r\nA: 1\r\nB: 3\r\n\r\nx").is_empty());
        assert_eq!(judge("HTTP/1.1 200 OK\r\nA: 1\r\nB: 33\r\n\r\nx").len(), 1);
    }

    #[test]
    fn a_list_names_only_cases_that_exist_and_says_why() {
        let entry = "[[difference]]\ncases = [\"a/b\", \"b/x\"]\naspects = [\"body\"]\nreason = \"x\"\n";
        let cases = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let good = known(&format!("{entry}because = {{ rfc = \"9112 section 5\" }}"));
        assert!(good.check("a", &cases(&["a/b"])).is_empty());
        assert_eq!(good.check("a", &cases(&["a/c"])).len(), 1);
        assert_eq!(known(entry).check("a", &cases(&["a/b"])).len(), 1, "no reason of the three");
        let without = known(&format!("{entry}because = {{ deviation = \"x\" }}").replace("body", "status"));
        assert_eq!(without.check("a", &cases(&["a/b"])).len(), 1, "which status, and what is x?");
        let listed = known(&format!("{entry}because = {{ deviation = \"x\" }}\n[deviation]\nx = \"y\""));
        assert!(listed.check("a", &cases(&["a/b"])).is_empty());
        assert!(listed.unused().is_empty());
        assert_eq!(known("[deviation]\nx = \"y\"").unused(), ["x"]);
    }

    #[test]
    fn patterns_match_what_they_say() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*", "a", true),
            ("a*c", "abbc", true),
            ("a*c", "abb", false),
            ("*a*", "xay", true),
            ("a", "ab", false),
            ("a?c*", "abc", true),
            ("a?c", "ac", false),
            ("*ab*abc", "xabxabxabc", true),
            ("**", "", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
        let long = "x".repeat(100_000);
        assert!(matches("*x*x", &long) && !matches("*y", &long));
    }
}
