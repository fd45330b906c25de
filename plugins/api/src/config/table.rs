//! Tables that remember where their keys stand.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use super::{Problem, Problems, Source, Span, problem::Step, unknown};

/// Parses a whole text. Syntax errors go to `problems`; what could be read is returned all the same, so that other
/// mistakes are found in the same run.
pub fn parse<'s>(source: &'s Source, problems: &mut Problems) -> Table<'s> {
    let (table, errors) = DeTable::parse_recoverable(source.text());
    // One slip makes the parser stumble several times: what follows the first three of a region is an echo.
    let (mut region_ends, mut number) = (0, 0);
    for error in errors {
        let span = error.span().unwrap_or_default();
        let line = source.line_of(span.start);
        number = if line > region_ends { 1 } else { number + 1 };
        region_ends = region_ends.max(line + REGION);
        if number <= 3 {
            problems.push(Problem::new(span, error.message().to_owned()));
        }
    }
    let span = table.span();
    Table { keys: table.into_inner(), span }
}

/// So many lines behind an error belong to its region.
const REGION: usize = 1;

/// A table. Keys are taken out one by one; the rest is decoded.
#[derive(Debug)]
pub struct Table<'s> {
    keys: DeTable<'s>,
    span: Span,
}

/// An array whose elements remember where they stand.
#[derive(Debug)]
pub struct Array<'s> {
    /// The elements.
    pub items: Vec<(Span, Table<'s>)>,
    /// The whole array.
    pub span: Span,
}

impl<'s> Table<'s> {
    /// Where the table stands: its header, or the whole of an inline table.
    pub fn span(&self) -> Span {
        self.span.clone()
    }

    /// Whether the key is there.
    pub fn contains(&self, key: &str) -> bool {
        self.keys.contains_key(key)
    }

    /// The names of the keys that are still in the table.
    pub fn keys(&self) -> Vec<String> {
        self.keys.keys().map(|key| key.get_ref().to_string()).collect()
    }

    /// The spans of everything that is still in the table.
    pub fn spans(&self) -> Spans {
        Spans { span: self.span.clone(), key: None, node: Node::of_table(&self.keys) }
    }

    /// A text that is the same for two tables with the same keys and values, wherever they stand and however they are
    /// written.
    pub fn fingerprint(&self) -> String {
        let mut text = String::new();
        write_table(&self.keys, &mut text);
        text
    }

    /// Takes a text out of the table; anything else under that key is a problem.
    pub fn take_text(&mut self, key: &str, problems: &mut Problems) -> Option<(Span, String)> {
        let value = self.keys.remove(key)?;
        let span = value.span();
        if let DeValue::String(text) = value.get_ref() {
            return Some((span, text.to_string()));
        }
        problems.push(Problem::new(span, format!("`{key}` must be a string, not {}", value.get_ref().type_str())));
        None
    }

    /// Takes a table out of the table; anything else under that key is a problem.
    pub fn take_table(&mut self, key: &str, problems: &mut Problems) -> Option<Self> {
        let value = self.keys.remove(key)?;
        let span = value.span();
        match value.into_inner() {
            DeValue::Table(keys) => Some(Table { keys, span }),
            other => {
                problems.push(Problem::new(span, format!("`{key}` must be a table, not {}", other.type_str())));
                None
            }
        }
    }

    /// Takes an array of tables out of the table; anything else under that key is a problem. Absent is empty.
    pub fn take_tables(&mut self, key: &str, problems: &mut Problems) -> Option<Array<'s>> {
        let value = self.keys.remove(key)?;
        let span = value.span();
        let DeValue::Array(values) = value.into_inner() else {
            let hint = format!("write `[[{key}]]` for each, or `{key} = [{{ … }}]`");
            problems.push(Problem::new(span, format!("`{key}` must be an array of tables")).with_hint(hint));
            return None;
        };
        let mut items = Vec::new();
        for value in values {
            let span = value.span();
            match value.into_inner() {
                DeValue::Table(keys) => items.push((span.clone(), Table { keys, span })),
                other => problems.push(Problem::new(span, format!("this must be a table, not {}", other.type_str()))),
            }
        }
        Some(Array { items, span })
    }

    /// Decodes what is left in the table. Keys that `T` does not have, at any depth, are problems at their own place;
    /// after them one decoding error can be told, because serde stops at the first.
    ///
    /// What keys `T` has is what its schema says: `serde(alias)` is not in it, so an alias is an unknown key.
    pub fn decode<T: DeserializeOwned + JsonSchema>(mut self, problems: &mut Problems) -> Option<T> {
        let unknown = unknown::remove::<T>(&mut self.keys, &self.span, problems);
        let value = Spanned::new(self.span.clone(), DeValue::Table(self.keys));
        match T::deserialize(ValueDeserializer::from(value)) {
            Ok(decoded) => unknown.is_empty().then_some(decoded),
            Err(error) => {
                let span = error.span().unwrap_or(self.span);
                let message = error.message().trim_end();
                // A key that is missing because it is misspelt has been told.
                if !unknown.iter().any(|key| key.explains(message, &span)) {
                    problems.push(Problem::new(span, message.to_owned()));
                }
                None
            }
        }
    }
}

fn write_table(keys: &DeTable<'_>, text: &mut String) {
    let sorted: BTreeMap<&str, &DeValue<'_>> =
        keys.iter().map(|(key, value)| (&**key.get_ref(), value.get_ref())).collect();
    text.push('{');
    for (key, value) in sorted {
        text.push_str(&format!("{key:?}="));
        write_value(value, text);
    }
    text.push('}');
}

fn write_value(value: &DeValue<'_>, text: &mut String) {
    match value {
        DeValue::Table(keys) => write_table(keys, text),
        DeValue::Array(items) => {
            text.push('[');
            items.iter().for_each(|item| write_value(item.get_ref(), text));
            text.push(']');
        }
        // Everything else holds no places.
        other => text.push_str(&format!("{other:?},")),
    }
}

/// Where the keys and values of a table stand, for errors that are found after decoding.
#[derive(Clone, Debug)]
pub struct Spans {
    span: Span,
    /// Where its key stands, for a value in a table.
    key: Option<Span>,
    node: Node,
}

#[derive(Clone, Debug)]
enum Node {
    Value,
    Array(Vec<Spans>),
    Table(BTreeMap<String, Spans>),
}

impl Spans {
    /// Where the value of a key stands; the table's own place when it is absent.
    pub fn of(&self, key: &str) -> Span {
        self.find(&[Step::Key(key.to_owned())])
    }

    /// Where an element of the array under a key stands; the nearest place around it when it is absent.
    pub fn of_index(&self, key: &str, index: usize) -> Span {
        self.find(&[Step::Key(key.to_owned()), Step::Index(index)])
    }

    /// Where the key itself stands; the table's own place when it is absent.
    pub fn of_key(&self, key: &str) -> Span {
        let Node::Table(keys) = &self.node else { return self.span.clone() };
        keys.get(key).and_then(|found| found.key.clone()).unwrap_or_else(|| self.span.clone())
    }

    pub(super) fn find(&self, path: &[Step]) -> Span {
        let mut here = self;
        for step in path {
            let next = match (step, &here.node) {
                (Step::Key(key), Node::Table(keys)) => keys.get(key),
                (Step::Index(index), Node::Array(items)) => items.get(*index),
                _ => None,
            };
            let Some(next) = next else { break };
            here = next;
        }
        here.span.clone()
    }

    fn of_value(value: &Spanned<DeValue<'_>>) -> Self {
        let node = match value.get_ref() {
            DeValue::Array(items) => Node::Array(items.iter().map(Self::of_value).collect()),
            DeValue::Table(keys) => Node::of_table(keys),
            _ => Node::Value,
        };
        Self { span: value.span(), key: None, node }
    }
}

impl Node {
    fn of_table(keys: &DeTable<'_>) -> Self {
        let keyed = |key: &Spanned<_>, value| Spans { key: Some(key.span()), ..Spans::of_value(value) };
        Self::Table(keys.iter().map(|(key, value)| (key.get_ref().to_string(), keyed(key, value))).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::config::ConfigError;

    #[derive(Debug, Deserialize, JsonSchema)]
    #[allow(dead_code, reason = "only decoding is tested")]
    struct Site {
        servers: Vec<String>,
        #[serde(default)]
        limit: Option<Limit>,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[allow(dead_code, reason = "only decoding is tested")]
    struct Limit {
        most: u8,
    }

    fn errors(text: &str) -> String {
        let source = Source::new("f.toml", text);
        let mut problems = Problems::new(source.clone());
        let mut table = parse(&source, &mut problems);
        for (_, site) in table.take_tables("site", &mut problems).into_iter().flat_map(|array| array.items) {
            site.decode::<Site>(&mut problems);
        }
        problems.to_string()
    }

    #[test]
    fn every_mistake_of_a_file_is_reported_at_its_own_place() {
        let text = "[[site]]\nservres = []\nservers = [\"a\"]\n\n[[site]]\nservers = [1]\n[[site]]\n[[site]]\nservers = []\nlimit = { mots = 1, most = 300 }\n";
        let errors = errors(text);
        for expected in [
            "f.toml:2:1: unknown key `servres`",
            "= hint: did you mean `servers`?",
            "f.toml:6:12: invalid type: integer `1`, expected a string",
            "f.toml:7:1: missing field `servers`",
            "f.toml:10:11: unknown key `mots`",
            "f.toml:10:28: invalid value: integer `300`, expected u8",
        ] {
            assert!(errors.contains(expected), "{expected} is not in\n{errors}");
        }
        assert!(errors.contains("2 | servres = []\n  | ^^^^^^^\n"), "{errors}");
    }

    #[test]
    fn columns_count_characters_and_windows_line_ends_do_no_harm() {
        let errors = errors("\u{feff}# ä\r\n[[site]]\r\nservers = [\"ä\", 1]\r\n");
        assert!(errors.contains("f.toml:3:17: invalid type"), "{errors}");
    }

    #[test]
    fn syntax_errors_do_not_hide_other_mistakes() {
        let errors = errors("[[site]]\nservers = [\n[[site]]\nservrs = 1\n");
        assert!(errors.contains("f.toml:"), "{errors}");
        assert_eq!(
            errors.lines().filter(|line| line.starts_with("f.toml:")).count().min(6),
            errors.lines().filter(|line| line.starts_with("f.toml:")).count()
        );
        assert!(errors_of_whole("site = 1").contains("f.toml:1:8: `site` must be an array of tables"));
        assert_eq!(errors_of_whole(""), "");
    }

    fn errors_of_whole(text: &str) -> String {
        errors(text)
    }

    #[test]
    fn deep_nesting_and_large_input_end() {
        let deep = format!("[[site]]\nservers = {}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(errors(&deep).contains("f.toml:2:"));
        let large = format!("[[site]]\nservers = [{}]", "\"a\",".repeat(250_000));
        assert_eq!(errors(&large), "");
    }

    #[test]
    fn a_fingerprint_is_about_keys_and_values_only() {
        let print = |text: &str| {
            let source = Source::new("f.toml", text);
            parse(&source, &mut Problems::new(source.clone())).fingerprint()
        };
        let one = print("a = 1\nb = { c = [\"x\", \"y\"] }\n");
        assert_eq!(one, print("# moved\n\nb.c = ['x',   'y']\na = 1"));
        for other in [
            "a = 2\nb = { c = [\"x\", \"y\"] }",
            "a = 1\nb = { c = [\"xy\"] }",
            "a = \"1\"\nb = { c = [\"x\", \"y\"] }",
        ] {
            assert_ne!(one, print(other), "{other}");
        }
    }

    #[test]
    fn later_errors_find_their_place() {
        let source = Source::new("f.toml", "servers = [\"a\", \"b\"]\nlimit = { most = 1 }\n");
        let mut problems = Problems::new(source.clone());
        let spans = parse(&source, &mut problems).spans();
        assert_eq!(source.position(spans.of_index("servers", 1).start), (1, 17));
        assert_eq!(source.position(spans.of("limit").start), (2, 9));
        problems.push(ConfigError::key("servers", "is wrong").index(1).with_hint("mend it").at(&spans));
        let text = problems.to_string();
        assert!(text.starts_with("f.toml:1:17: is wrong\n"), "{text}");
        assert!(text.ends_with("= hint: mend it\n"), "{text}");
    }
}
