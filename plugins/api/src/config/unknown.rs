//! Keys that a type does not have.

use schemars::JsonSchema;
use serde_json::{Map, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{Problem, Problems, Span};

/// Takes every key that `T` does not have, at any depth, out of the table and reports it. `span`
/// is where the table stands.
pub(super) fn remove<T: JsonSchema>(table: &mut DeTable<'_>, span: &Span, problems: &mut Problems) -> Vec<Unknown> {
    let schema = schemars::schema_for!(T);
    let root = schema.as_value();
    let mut search = Search { root, problems, found: Vec::new() };
    let shape = Shape::of(root, root, Some(table));
    search.table(table, span, &shape);
    search.found
}

/// A key that was taken out.
pub(super) struct Unknown {
    /// Where its table stands.
    table: Span,
    /// The known key that it was probably meant to be.
    meant: Option<String>,
}

impl Unknown {
    /// Whether it is the cause of a decoding error: the key that is missing is the one that it was meant to be.
    pub(super) fn explains(&self, message: &str, span: &Span) -> bool {
        let missing = |meant: &String| message == format!("missing field `{meant}`");
        self.table == *span && self.meant.as_ref().is_some_and(missing)
    }
}

/// What a schema says about the keys of a table.
#[derive(Default)]
struct Shape<'s> {
    keys: Vec<(&'s str, &'s Value)>,
    /// The schema of values under keys that are free to choose.
    others: Option<&'s Value>,
    /// The schemas of the first elements of an array, and of the others.
    first_items: Option<&'s Vec<Value>>,
    items: Option<&'s Value>,
    is_table: bool,
}

impl<'s> Shape<'s> {
    /// What `schema` says about a value. For a table it depends on the table: the keys of an enum are those of the variant
    /// that its tag names.
    fn of(schema: &'s Value, root: &'s Value, table: Option<&DeTable<'_>>) -> Self {
        let mut shape = Self::default();
        shape.add(schema, root, table, 0);
        shape
    }

    fn add(&mut self, schema: &'s Value, root: &'s Value, table: Option<&DeTable<'_>>, depth: usize) {
        let Value::Object(schema) = schema else { return };
        if depth > DEEPEST {
            return;
        }
        if let Some(Value::String(reference)) = schema.get("$ref")
            && let Some(target) = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer))
        {
            self.add(target, root, table, depth + 1);
        }
        for part in list(schema, "allOf") {
            self.add(part, root, table, depth + 1);
        }
        for alternative in list(schema, "anyOf").chain(list(schema, "oneOf")) {
            if table.is_none_or(|table| !is_other_variant(alternative, table)) {
                self.add(alternative, root, table, depth + 1);
            }
        }
        if let Some(Value::Object(properties)) = schema.get("properties") {
            self.is_table = true;
            self.keys.extend(properties.iter().map(|(key, schema)| (key.as_str(), schema)));
        }
        // A map with numbers for keys has its values under a pattern; the decoder will say which keys are no numbers.
        if let Some(values) = schema.get("patternProperties").and_then(Value::as_object) {
            self.is_table = true;
            self.others = self.others.or(values.values().next());
        }
        match schema.get("additionalProperties") {
            Some(others @ (Value::Object(_) | Value::Bool(true))) => {
                self.is_table = true;
                self.others = Some(others);
            }
            Some(_) => self.is_table = true,
            None => {}
        }
        self.is_table |= schema.get("type").is_some_and(is_object);
        self.first_items = self.first_items.or(schema.get("prefixItems").and_then(Value::as_array));
        self.items = self.items.or(schema.get("items"));
    }

    fn item(&self, index: usize) -> Option<&'s Value> {
        self.first_items.and_then(|items| items.get(index)).or(self.items)
    }
}

fn list<'s>(schema: &'s Map<String, Value>, key: &str) -> impl Iterator<Item = &'s Value> {
    schema.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// Whether a schema's type is, or may be, a table.
fn is_object(kind: &Value) -> bool {
    kind == "object" || kind.as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "object"))
}

/// Whether this is a variant of an enum and the table's tag names another one.
fn is_other_variant(variant: &Value, table: &DeTable<'_>) -> bool {
    let differs = |(key, schema): (&String, &Value)| match (schema.get("const"), table.get(key.as_str())) {
        (Some(Value::String(tag)), Some(value)) => value.get_ref().as_str().is_some_and(|named| named != tag),
        _ => false,
    };
    variant.get("properties").and_then(Value::as_object).is_some_and(|properties| properties.iter().any(differs))
}

/// A walk through tables and arrays beside their schema.
struct Search<'w> {
    root: &'w Value,
    problems: &'w mut Problems,
    found: Vec<Unknown>,
}

impl<'w> Search<'w> {
    fn table(&mut self, table: &mut DeTable<'_>, span: &Span, shape: &Shape<'w>) {
        if !shape.is_table {
            // The decoder will say that a table is not what it wants here.
            return;
        }
        let mut unknown = Vec::new();
        for (key, value) in table.iter_mut() {
            let name: &str = key.get_ref();
            let schema =
                shape.keys.iter().find(|(known, _)| *known == name).map(|(_, schema)| *schema).or(shape.others);
            if let Some(schema) = schema {
                self.value(value, schema);
            } else {
                let (meant, hint) = advice(name, shape);
                self.problems.push(Problem::new(key.span(), format!("unknown key `{name}`")).with_hint(hint));
                self.found.push(Unknown { table: span.clone(), meant });
                unknown.push(name.to_owned());
            }
        }
        for name in unknown {
            table.remove(name.as_str());
        }
    }

    fn value(&mut self, value: &mut Spanned<DeValue<'_>>, schema: &'w Value) {
        let span = value.span();
        match value.get_mut() {
            DeValue::Table(table) => {
                let shape = Shape::of(schema, self.root, Some(table));
                self.table(table, &span, &shape);
            }
            DeValue::Array(items) => {
                let shape = Shape::of(schema, self.root, None);
                for (index, item) in items.iter_mut().enumerate() {
                    if let Some(schema) = shape.item(index) {
                        self.value(item, schema);
                    }
                }
            }
            _ => {}
        }
    }
}

fn advice(name: &str, shape: &Shape<'_>) -> (Option<String>, String) {
    let known: Vec<_> = shape.keys.iter().map(|(key, _)| *key).collect();
    match (nearest(name, &known), known.as_slice()) {
        (Some(near), _) => (Some(near.to_owned()), meant(near)),
        (None, []) => (None, "no key is known here".to_owned()),
        (None, known) => (None, format!("known keys: {}", known.join(", "))),
    }
}

/// The known word that was probably meant, as a hint.
pub(super) fn did_you_mean(word: &str, known: &[&str]) -> Option<String> {
    nearest(word, known).map(meant)
}

fn meant(near: &str) -> String {
    format!("did you mean `{near}`?")
}

fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let length = word.chars().count();
    if length > LONGEST_SLIP {
        return None;
    }
    let (distance, near) = known.iter().map(|known| (strsim::damerau_levenshtein(word, known), *known)).min()?;
    // A word of which no letter is left is another word.
    (distance <= 1 + length / 4 && distance < length.max(near.chars().count())).then_some(near)
}

const DEEPEST: usize = 32;
/// Nobody mistypes a longer word for one of ours.
const LONGEST_SLIP: usize = 64;
