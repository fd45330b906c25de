//! Keys that a type does not have.

use schemars::JsonSchema;
use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use super::{Problem, Problems};

/// Takes every key that `T` does not have, at any depth, out of the table and reports it. Returns whether there was one.
pub(super) fn remove<T: JsonSchema>(table: &mut DeTable<'_>, problems: &mut Problems) -> bool {
    let schema = schemars::schema_for!(T);
    let root = schema.as_value();
    let mut found = false;
    walk_table(table, &Shape::of(root, root), root, problems, &mut found);
    found
}

/// What a schema says about the keys of a table.
#[derive(Default)]
struct Shape<'s> {
    keys: Vec<(&'s str, &'s Value)>,
    /// The schema of values under keys that are free to choose.
    others: Option<&'s Value>,
    items: Option<&'s Value>,
    is_table: bool,
}

impl<'s> Shape<'s> {
    fn of(schema: &'s Value, root: &'s Value) -> Self {
        let mut shape = Self::default();
        shape.add(schema, root, 0);
        shape
    }

    fn add(&mut self, schema: &'s Value, root: &'s Value, depth: usize) {
        let Value::Object(schema) = schema else { return };
        if depth > DEEPEST {
            return;
        }
        if let Some(Value::String(reference)) = schema.get("$ref")
            && let Some(target) = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer))
        {
            self.add(target, root, depth + 1);
        }
        for alternatives in ["allOf", "anyOf", "oneOf"] {
            for alternative in list(schema, alternatives) {
                self.add(alternative, root, depth + 1);
            }
        }
        if let Some(Value::Object(properties)) = schema.get("properties") {
            self.is_table = true;
            self.keys.extend(properties.iter().map(|(key, schema)| (key.as_str(), schema)));
        }
        match schema.get("additionalProperties") {
            Some(others @ (Value::Object(_) | Value::Bool(true))) => {
                self.is_table = true;
                self.others = Some(others);
            }
            Some(_) => self.is_table = true,
            None => {}
        }
        self.is_table |= schema.get("type").is_some_and(|of| of == "object");
        self.items = self.items.or(schema.get("items"));
    }
}

fn list<'s>(schema: &'s Map<String, Value>, key: &str) -> impl Iterator<Item = &'s Value> {
    schema.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn walk_table(table: &mut DeTable<'_>, shape: &Shape<'_>, root: &Value, problems: &mut Problems, found: &mut bool) {
    if !shape.is_table {
        // The decoder will say that a table is not what it wants here.
        return;
    }
    let mut unknown = Vec::new();
    for (key, value) in table.iter_mut() {
        let name: &str = key.get_ref();
        let schema = shape.keys.iter().find(|(known, _)| *known == name).map(|(_, schema)| *schema).or(shape.others);
        if let Some(schema) = schema {
            walk(value.get_mut(), &Shape::of(schema, root), root, problems, found);
        } else {
            problems.push(Problem::new(key.span(), format!("unknown key `{name}`")).with_hint(advice(name, shape)));
            unknown.push(name.to_owned());
            *found = true;
        }
    }
    for name in unknown {
        table.remove(name.as_str());
    }
}

fn walk(value: &mut DeValue<'_>, shape: &Shape<'_>, root: &Value, problems: &mut Problems, found: &mut bool) {
    match value {
        DeValue::Table(table) => walk_table(table, shape, root, problems, found),
        DeValue::Array(items) => {
            if let Some(schema) = shape.items {
                let shape = Shape::of(schema, root);
                for item in items.iter_mut() {
                    walk(item.get_mut(), &shape, root, problems, found);
                }
            }
        }
        _ => {}
    }
}

fn advice(name: &str, shape: &Shape<'_>) -> String {
    let known: Vec<_> = shape.keys.iter().map(|(key, _)| *key).collect();
    did_you_mean(name, &known).unwrap_or_else(|| match known.as_slice() {
        [] => "no key is known here".to_owned(),
        known => format!("known keys: {}", known.join(", ")),
    })
}

/// The known word that was probably meant.
pub(super) fn did_you_mean(word: &str, known: &[&str]) -> Option<String> {
    let near = known.iter().map(|known| (strsim::damerau_levenshtein(word, known), known)).min()?;
    (near.0 <= 1 + word.len() / 4).then(|| format!("did you mean `{}`?", near.1))
}

const DEEPEST: usize = 32;
