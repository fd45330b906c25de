//! What an operator is told about a wrong file: each mistake at its own line and column, all of them in one run.

use std::{
    collections::BTreeMap,
    time::{Duration as Time, Instant},
};

use plugin_api::{
    config::{ByteSize, ConfigError, Duration, Problems, Source, Table, parse},
    schemars::{self, JsonSchema},
    serde::{self, Deserialize},
};

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "serde")]
#[expect(dead_code, reason = "only decoding is tested")]
struct Server {
    servers: Vec<String>,
    #[serde(default)]
    wait: Option<Duration>,
    #[serde(default)]
    size: Option<ByteSize>,
    #[serde(default)]
    limit: Option<Limit>,
    #[serde(default)]
    by_port: BTreeMap<u16, Limit>,
    #[serde(default)]
    by_name: BTreeMap<String, Limit>,
    #[serde(default)]
    pair: Option<(Limit, Limit)>,
    #[serde(default)]
    nested: Vec<Vec<Limit>>,
    #[serde(default)]
    mode: Option<Mode>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "serde")]
#[expect(dead_code, reason = "only decoding is tested")]
struct Limit {
    most: u8,
    #[serde(default)]
    wait: Option<Duration>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(crate = "serde", tag = "kind", rename_all = "kebab-case")]
#[expect(dead_code, reason = "only decoding is tested")]
enum Mode {
    Weighted { weight: u8 },
    Hashed { seed: u8 },
}

/// Decodes `chain = [{ use = …, … }]` of every `[[route]]`, as the binary does it.
fn read(text: &str) -> Problems {
    let source = Source::new("f.toml", text);
    let mut problems = Problems::new(source.clone());
    let mut root = parse(&source, &mut problems);
    for (_, mut route) in root.take_tables("route", &mut problems).into_iter().flat_map(|array| array.items) {
        for (_, link) in route.take_tables("chain", &mut problems).into_iter().flat_map(|array| array.items) {
            decode(link, &mut problems);
        }
    }
    problems
}

fn decode(mut link: Table<'_>, problems: &mut Problems) {
    let named = link.take_text("use", problems);
    if named.is_some_and(|(_, name)| name == "server") {
        link.decode::<Server>(problems);
    }
}

/// `line:column: message` of every problem.
fn told(text: &str) -> Vec<String> {
    let shown = read(text).to_string();
    shown.lines().filter_map(|line| line.strip_prefix("f.toml:")).map(str::to_owned).collect()
}

/// A chain of one link with these keys, which begin in column 35.
fn link(keys: &str) -> Vec<String> {
    told(&format!("[[route]]\nchain = [{{ use = \"server\",        {keys} }}]\n"))
}

#[test]
fn a_table_in_an_array_in_a_table_keeps_its_columns() {
    assert_eq!(link("servers = [\"a\"]"), Vec::<String>::new());
    assert_eq!(link("srvers = []"), ["2:35: unknown key `srvers`"], "that `servers` is missing is the same mistake");
    assert_eq!(link(""), ["2:10: missing field `servers`"]);
    assert_eq!(link("servers = 1"), ["2:45: invalid type: integer `1`, expected a sequence"]);
    assert_eq!(link("servers = [\"ä\", 2]"), ["2:51: invalid type: integer `2`, expected a string"]);
}

#[test]
fn unknown_keys_are_found_at_every_depth() {
    for (keys, expected) in [
        ("limit = { most = 1, mots = 2 }", "2:69: unknown key `mots`"),
        ("by_port = { 80 = { most = 1, a = 1 } }", "2:78: unknown key `a`"),
        ("by_name = { x = { most = 1, a = 1 } }", "2:77: unknown key `a`"),
        ("pair = [{ most = 1 }, { most = 1, a = 1 }]", "2:83: unknown key `a`"),
        ("nested = [[{ most = 1 }, { most = 1, a = 1 }]]", "2:86: unknown key `a`"),
        ("mode = { kind = \"weighted\", weight = 1, a = 1 }", "2:89: unknown key `a`"),
        ("mode = { kind = \"weighted\", weight = 1, seed = 1 }", "2:89: unknown key `seed`"),
    ] {
        assert_eq!(link(&format!("servers = [], {keys}")), [expected], "{keys}");
    }
}

#[test]
fn what_a_type_knows_is_accepted_at_every_depth() {
    for keys in [
        "by_port = { 80 = { most = 1 }, 443 = { most = 2, wait = \"1s\" } }",
        "by_name = { \"any name\" = { most = 1 } }",
        "pair = [{ most = 1 }, { most = 2 }]",
        "nested = [[], [{ most = 1 }]]",
        "mode = { kind = \"weighted\", weight = 1 }",
        "mode = { kind = \"hashed\", seed = 1 }",
        "wait = \"500ms\", size = \"16KiB\"",
    ] {
        assert_eq!(link(&format!("servers = [], {keys}")), Vec::<String>::new(), "{keys}");
    }
    assert_eq!(link("servers = [], by_port = { http = { most = 1 } }").len(), 1, "a port is a number");
}

#[test]
fn a_missing_key_is_told_unless_its_misspelling_was() {
    let missing = "2:57: missing field `most`";
    assert_eq!(link("servers = [], limit = { wait = \"1s\" }"), [missing]);
    assert_eq!(link("servers = [], limit = { mots = 1 }"), ["2:59: unknown key `mots`"]);
    let elsewhere = link("servers = [], by_name = { a = { most = 1, mot = 1 }, b = {} }");
    assert_eq!(elsewhere.len(), 2, "the slip in `a` does not explain what `b` lacks: {elsewhere:?}");
}

#[test]
fn times_and_sizes_say_how_they_are_written() {
    let of = |keys: &str| link(&format!("servers = [], {keys}")).concat();
    assert_eq!(of("wait = 5"), "2:56: invalid type: integer `5`, expected a time such as \"10s\" or \"2m\"");
    assert!(of("wait = \"5 parsecs\"").starts_with("2:56: `5 parsecs` is not a time such as"));
    assert_eq!(of("size = 5"), "2:56: invalid type: integer `5`, expected a size such as \"16KiB\" or \"8MiB\"");
    assert!(of("size = \"5 stone\"").starts_with("2:56: `5 stone` is not a size such as"));
}

#[test]
fn everything_is_told_in_one_run_and_in_order() {
    let text = "[[route]]\nchain = [\n  { use = \"server\", servers = [1] },\n  { use = \"server\", srvers = [] },\n  { use = 7 },\n]\n\
                [[route]]\nchain = [{ use = \"server\" }]\n[[route]]\nchain = 5\n[route2\n";
    assert_eq!(
        told(text),
        [
            "3:32: invalid type: integer `1`, expected a string",
            "4:21: unknown key `srvers`",
            "5:11: `use` must be a string, not integer",
            "8:10: missing field `servers`",
            "10:9: `chain` must be an array of tables",
            "11:8: unclosed table, expected `]`",
        ]
    );
}

#[test]
fn of_the_syntax_errors_of_a_region_three_are_told() {
    let region = "a = [\"b\" \"c\" \"d\" \"e\" \"f\" \"g\"]\n";
    assert_eq!(told(region).len(), 3);
    let regions = told(&format!("{region}\n\n\n{region}"));
    assert_eq!(regions.len(), 6, "{regions:?}");
    assert!(regions.iter().all(|told| told.starts_with("1:") || told.starts_with("5:")), "{regions:?}");
}

#[test]
fn line_ends_and_byte_order_marks_move_nothing() {
    let plain = "# ä\n[[route]]\nchain = [{ use = \"server\", servers = [\"ß\", 1], ab = 1 }]\n";
    let expected = told(plain);
    assert_eq!(expected, ["3:44: invalid type: integer `1`, expected a string", "3:48: unknown key `ab`"]);
    assert_eq!(told(&plain.replace('\n', "\r\n")), expected);
    assert_eq!(told(&format!("\u{feff}{plain}")), expected);
    for nothing in ["", "\u{feff}", "\n", "# only a comment"] {
        assert_eq!(told(nothing), Vec::<String>::new(), "{nothing:?}");
    }
}

#[test]
fn a_hint_offers_a_near_word_or_all_words() {
    let hint = |keys: &str| {
        let shown = read(&format!("[[route]]\nchain = [{{ use = \"server\", servers = [], {keys} }}]")).to_string();
        shown.lines().filter_map(|line| line.trim().strip_prefix("= hint: ")).collect::<Vec<_>>().concat()
    };
    assert_eq!(hint("wiat = \"1s\""), "did you mean `wait`?");
    assert_eq!(hint("limit = { most = 1, x = 1 }"), "known keys: most, wait");
    assert_eq!(hint("colour = 1"), "known keys: by_name, by_port, limit, mode, nested, pair, servers, size, wait");
}

#[test]
fn an_error_of_build_finds_its_place_when_the_tables_are_gone() {
    let source = Source::new("f.toml", "servers = [\n  \"a\",\n  \"ä\", \"b\",\n]\n");
    let mut problems = Problems::new(source.clone());
    let spans = parse(&source, &mut problems).spans();
    for (error, expected) in [
        (ConfigError::key("servers", "m").index(2), (3, 8)),
        (ConfigError::key("servers", "m").index(9), (1, 11)),
        (ConfigError::key("servers", "m"), (1, 11)),
        (ConfigError::key("absent", "m"), (1, 1)),
        (ConfigError::table("m"), (1, 1)),
    ] {
        let problem = error.at(&spans);
        assert_eq!(source.position(problem.span.start), expected, "{problem:?}");
    }
    assert_eq!(source.position(spans.of_key("servers").start), (1, 1));
}

#[test]
fn hostile_input_ends_soon_and_is_told_briefly() {
    let many: String = (0..40_000).map(|number| format!("k{number} = 1, ")).collect();
    for (what, text) in [
        ("many unknown keys", format!("[[route]]\nchain = [{{ use = \"server\", {many} servers = [] }}]")),
        ("a long key", format!("[[route]]\nchain = [{{ use = \"server\", {} = 1 }}]", "k".repeat(1 << 20))),
        ("a long value", format!("[[route]]\nchain = [{{ use = \"server\", wait = \"{}\" }}]", "1".repeat(1 << 20))),
        ("deep arrays", format!("route = {}{}", "[".repeat(500_000), "]".repeat(500_000))),
        ("deep tables", format!("route = {}", "{a=".repeat(300_000))),
        ("deep dotted keys", format!("{}a = 1", "a.".repeat(400_000))),
        ("deep headers", format!("[{}a]", "a.".repeat(400_000))),
        ("no syntax", "= = =\n".repeat(150_000)),
        ("no syntax on one line", "[[[[".repeat(250_000)),
    ] {
        let started = Instant::now();
        let shown = read(&text).to_string();
        assert!(started.elapsed() < Time::from_secs(20), "{what}: {:?}", started.elapsed());
        assert!(!shown.is_empty(), "{what}");
        assert!(shown.len() < 100_000, "{what}: {} bytes", shown.len());
    }
}
