//! What keys a type has, for people.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde_json::Value;

/// One key of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyDoc {
    /// The key.
    pub name: String,
    /// The type of its value, in words.
    pub kind: String,
    /// Whether it must be given.
    pub required: bool,
    /// What it is when it is not given, as TOML.
    pub default: Option<String>,
    /// What it does: the first paragraph of its documentation.
    pub text: String,
}

/// The keys of `T`, in the order of their names.
pub fn describe<T: JsonSchema>() -> Vec<KeyDoc> {
    let schema = schemars::schema_for!(T);
    let root = schema.as_value();
    let required: Vec<_> =
        root.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let Some(properties) = root.get("properties").and_then(Value::as_object) else { return Vec::new() };
    let key = |(name, schema): (&String, &Value)| KeyDoc {
        name: name.clone(),
        kind: kind(schema, root),
        required: required.contains(&name.as_str()),
        default: schema.get("default").filter(|default| !default.is_null()).map(as_toml),
        text: paragraph(schema.get("description").and_then(Value::as_str).unwrap_or_default()),
    };
    properties.iter().map(key).collect()
}

/// The keys as a Markdown table, for a README.
pub fn markdown_table(keys: &[KeyDoc]) -> String {
    let mut table = String::from("| key | value | default | what it does |\n|---|---|---|---|\n");
    for key in keys {
        let default = match &key.default {
            _ if key.required => "required".to_owned(),
            Some(default) => format!("`{}`", in_cell(default)),
            None => "none".to_owned(),
        };
        let _ = writeln!(table, "| `{}` | {} | {default} | {} |", key.name, in_cell(&key.kind), in_cell(&key.text));
    }
    table
}

/// A bar would end the cell of a table.
fn in_cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// As TOML writes it: only tables differ from JSON.
fn as_toml(value: &Value) -> String {
    match value {
        Value::Object(keys) if keys.is_empty() => "{}".to_owned(),
        Value::Object(keys) => {
            let keys: Vec<_> = keys.iter().map(|(key, value)| format!("{key} = {}", as_toml(value))).collect();
            format!("{{ {} }}", keys.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(as_toml).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

fn kind(schema: &Value, root: &Value) -> String {
    let resolved = schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| root.pointer(reference.strip_prefix('#')?))
        .unwrap_or(schema);
    if let Some(title) = resolved.get("x-kind").and_then(Value::as_str) {
        return title.to_owned();
    }
    if let Some(words) = resolved.get("enum").and_then(Value::as_array) {
        return words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ");
    }
    for alternatives in ["anyOf", "oneOf"] {
        if let Some(list) = resolved.get(alternatives).and_then(Value::as_array) {
            let of_each = list.iter().filter(|one| one.get("type") != Some(&"null".into())).map(|one| kind(one, root));
            let mut kinds: Vec<String> = Vec::new();
            for kind in of_each {
                if !kinds.contains(&kind) {
                    kinds.push(kind);
                }
            }
            return kinds.join(" or ");
        }
    }
    if let Some(word) = resolved.get("const") {
        return format!("`{word}`");
    }
    let named = match resolved.get("type") {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        Some(name) => name.as_str(),
        None => None,
    };
    match named {
        Some("array") => format!("array of {}", resolved.get("items").map_or("values".to_owned(), |of| kind(of, root))),
        Some("object") => "table".to_owned(),
        Some(other) => other.to_owned(),
        None => "value".to_owned(),
    }
}

fn paragraph(text: &str) -> String {
    text.split("\n\n").next().unwrap_or_default().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::config::{ByteSize, Duration};

    #[derive(Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "only its schema is tested")]
    struct Example {
        /// Where to: `host|path`,
        /// in words.
        ///
        /// More than the table shows.
        servers: Vec<String>,
        #[serde(default = "ten_seconds")]
        wait: Duration,
        most: Option<ByteSize>,
        #[serde(default)]
        limit: Limit,
        #[serde(default)]
        mode: Mode,
        by_port: Option<BTreeMap<u16, Limit>>,
        target: Target,
    }

    #[derive(Default, Deserialize, Serialize, JsonSchema)]
    struct Limit {
        most: u8,
        names: Vec<String>,
    }

    #[derive(Default, Deserialize, Serialize, JsonSchema)]
    #[serde(rename_all = "kebab-case")]
    enum Mode {
        #[default]
        RoundRobin,
        LeastBusy,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(untagged)]
    #[expect(dead_code, reason = "only its schema is tested")]
    enum Target {
        One(String),
        Other(String),
        Many(Vec<String>),
    }

    fn ten_seconds() -> Duration {
        Duration::from_secs(10)
    }

    #[test]
    fn a_type_describes_its_keys() {
        assert_eq!(
            markdown_table(&describe::<Example>()),
            "| key | value | default | what it does |\n\
             |---|---|---|---|\n\
             | `by_port` | table | none |  |\n\
             | `limit` | table | `{ most = 0, names = [] }` |  |\n\
             | `mode` | `\"round-robin\"` or `\"least-busy\"` | `\"round-robin\"` |  |\n\
             | `most` | size | none |  |\n\
             | `servers` | array of string | required | Where to: `host\\|path`, in words. |\n\
             | `target` | string or array of string | required |  |\n\
             | `wait` | time | `\"10s\"` |  |\n"
        );
    }

    #[test]
    fn a_type_without_keys_describes_none() {
        assert_eq!(describe::<String>(), Vec::new());
    }
}
