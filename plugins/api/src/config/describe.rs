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
        default: schema.get("default").filter(|default| !default.is_null()).map(ToString::to_string),
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
            Some(default) => format!("`{default}`"),
            None => "none".to_owned(),
        };
        let _ = writeln!(table, "| `{}` | {} | {default} | {} |", key.name, key.kind, key.text);
    }
    table
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
            let kinds: Vec<_> = list.iter().filter(|one| one.get("type") != Some(&"null".into())).collect();
            return kinds.into_iter().map(|one| kind(one, root)).collect::<Vec<_>>().join(" or ");
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
