//! A TOML text that knows which directive each of its parts comes from.

use std::ops::Range;

use plugin_api::config::Span;

/// A text that is being written.
#[derive(Debug, Default)]
pub(super) struct Document {
    text: String,
    origins: Origins,
}

/// Where the parts of a TOML text stand, and where in the other file they come from.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins(Vec<(Range<usize>, Span)>);

/// A value to write.
#[derive(Debug)]
pub(super) enum Value {
    Text(String),
    Number(u64),
    Switch(bool),
    List(Vec<(Value, Span)>),
    Table(Vec<(&'static str, Value)>),
}

impl Document {
    /// A header, `[name]` or `[[name]]`.
    pub(super) fn section(&mut self, header: &str, origin: &Span) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.write(origin, |document| document.text.push_str(header));
        self.text.push('\n');
    }

    /// `key = value`, and where the value stands.
    pub(super) fn entry(&mut self, key: &str, value: impl Into<Value>, origin: &Span) -> Range<usize> {
        let value = value.into();
        let mut place = 0..0;
        self.write(origin, |document| {
            document.text.push_str(key);
            document.text.push_str(" = ");
            let start = document.text.len();
            document.value(&value);
            place = start..document.text.len();
        });
        self.text.push('\n');
        place
    }

    /// The text and its origins.
    pub(super) fn finish(self) -> (String, Origins) {
        (self.text, self.origins)
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Text(text) => self.quoted(text),
            Value::Number(number) => self.text.push_str(&number.to_string()),
            Value::Switch(on) => self.text.push_str(if *on { "true" } else { "false" }),
            Value::List(items) => self.list(items),
            Value::Table(keys) => {
                for (index, (key, value)) in keys.iter().enumerate() {
                    self.text.push_str(if index == 0 { "{ " } else { ", " });
                    self.text.push_str(key);
                    self.text.push_str(" = ");
                    self.value(value);
                }
                self.text.push_str(if keys.is_empty() { "{}" } else { " }" });
            }
        }
    }

    /// Tables stand on lines of their own.
    fn list(&mut self, items: &[(Value, Span)]) {
        let has_tables = items.iter().any(|(item, _)| matches!(item, Value::Table(_)));
        self.text.push('[');
        for (index, (item, origin)) in items.iter().enumerate() {
            self.text.push_str(match (has_tables, index) {
                (true, 0) => "\n    ",
                (true, _) => ",\n    ",
                (false, 0) => "",
                (false, _) => ", ",
            });
            self.write(origin, |document| document.value(item));
        }
        self.text.push_str(if has_tables { ",\n]" } else { "]" });
    }

    /// A basic string (TOML 1.0, section "String").
    fn quoted(&mut self, text: &str) {
        self.text.push('"');
        for character in text.chars() {
            match character {
                '"' | '\\' => self.text.extend(['\\', character]),
                '\t' => self.text.push_str("\\t"),
                character if character.is_control() => {
                    self.text.push_str(&format!("\\u{:04X}", u32::from(character)));
                }
                character => self.text.push(character),
            }
        }
        self.text.push('"');
    }

    fn write(&mut self, origin: &Span, write: impl FnOnce(&mut Self)) {
        let start = self.text.len();
        write(self);
        self.origins.0.push((start..self.text.len(), origin.clone()));
    }
}

impl Origins {
    /// Where a part of the text comes from: what the smallest part around it comes from.
    pub(super) fn find(&self, part: &Span) -> Option<Span> {
        let around = self.0.iter().filter(|(place, _)| place.start <= part.start && part.end <= place.end);
        let smallest = around.min_by_key(|(place, _)| place.len());
        // A whole table is larger than all of its parts: its header stands for it.
        smallest
            .or_else(|| self.0.iter().find(|(place, _)| place.contains(&part.start)))
            .map(|(_, origin)| origin.clone())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Value {
    fn from(on: bool) -> Self {
        Self::Switch(on)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_knows_its_origin() {
        let mut document = Document::default();
        document.section("[[x]]", &(1..2));
        document.entry("a", "q\"\\\t\u{7f}ä", &(3..4));
        let tables =
            vec![(Value::Table(vec![("b", true.into()), ("c", 7_u32.into())]), 5..6), (Value::Table(Vec::new()), 7..8)];
        document.entry("d", Value::List(tables), &(9..10));
        document.section("[y]", &(11..12));
        let place = document.entry("e", Value::List(vec![("f".into(), 13..14), ("g".into(), 15..16)]), &(17..18));
        let (text, origins) = document.finish();
        let expected = "[[x]]\na = \"q\\\"\\\\\\t\\u007Fä\"\nd = [\n    { b = true, c = 7 },\n    {},\n]\n\n[y]\ne = [\"f\", \"g\"]\n";
        assert_eq!(text, expected);
        assert_eq!(text.get(place).unwrap(), "[\"f\", \"g\"]");
        let origin = |part: &str| {
            let start = text.find(part).unwrap();
            origins.find(&(start..start + part.len()))
        };
        for (part, expected) in [
            ("[[x]]", 1..2),
            ("a", 3..4),
            ("b = true", 5..6),
            ("{}", 7..8),
            ("[\n    { b = true, c = 7 },\n    {},\n]", 9..10),
            ("\"g\"", 15..16),
            ("[[x]]\na = \"q", 1..2),
        ] {
            assert_eq!(origin(part), Some(expected), "{part}");
        }
        assert_eq!(origins.find(&(900..901)), None);
    }
}
