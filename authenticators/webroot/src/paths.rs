//! Which webroot belongs to which name.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, btree_map},
    fmt,
    path::{Path, PathBuf},
};

use authenticator_api::DomainName;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};

/// The value of the key `path`: one directory, or a table of domain = directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Paths {
    /// The same webroot for every name.
    Every(PathBuf),
    /// A webroot for each name; other names have none.
    PerDomain(BTreeMap<DomainName, PathBuf>),
}

impl Paths {
    /// The webroot in which challenges of `domain` belong.
    pub(crate) fn of(&self, domain: &DomainName) -> Option<&Path> {
        match self {
            Self::Every(path) => Some(path),
            Self::PerDomain(paths) => paths.get(domain).map(PathBuf::as_path),
        }
    }

    /// The webroots in which a visitor who names `host` may find a token.
    pub(crate) fn seen_by(&self, host: Option<&DomainName>) -> Vec<PathBuf> {
        match host {
            Some(domain) => self.of(domain).map(Path::to_path_buf).into_iter().collect(),
            None => self.all().cloned().collect::<BTreeSet<_>>().into_iter().collect(),
        }
    }

    /// Each configured path, as written.
    pub(crate) fn all(&self) -> impl Iterator<Item = &PathBuf> {
        let (one, many) = match self {
            Self::Every(path) => (Some(path), None),
            Self::PerDomain(paths) => (None, Some(paths.values())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    /// The same paths, independent of the working directory. One that cannot be made so fails when it is used.
    pub(crate) fn absolute(self) -> Self {
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        match self {
            Self::Every(path) => Self::Every(absolute(path)),
            Self::PerDomain(paths) => {
                Self::PerDomain(paths.into_iter().map(|(domain, path)| (domain, absolute(path))).collect())
            }
        }
    }
}

// By hand: an untagged enum loses the position of what is wrong inside it.
impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PathsVisitor)
    }
}

struct PathsVisitor;

impl<'de> Visitor<'de> for PathsVisitor {
    type Value = Paths;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a directory, or a table of domain = directory")
    }

    fn visit_str<E: Error>(self, path: &str) -> Result<Paths, E> {
        Ok(Paths::Every(path.into()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Paths, A::Error> {
        let mut paths = BTreeMap::new();
        while let Some((Key(domain), path)) = table.next_entry()? {
            match paths.entry(domain) {
                btree_map::Entry::Vacant(free) => {
                    free.insert(path);
                }
                btree_map::Entry::Occupied(taken) => {
                    return Err(A::Error::custom(format_args!("{} has two webroots", taken.key())));
                }
            }
        }
        Ok(Paths::PerDomain(paths))
    }
}

/// A domain name as a key, so that its error carries the key's position.
struct Key(DomainName);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        DomainName::parse(&text).map(Self).map_err(D::Error::custom)
    }
}

impl JsonSchema for Paths {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Paths".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [
                { "type": "string" },
                { "type": "object", "additionalProperties": { "type": "string" } },
            ],
            "x-kind": "path, or table of domain = path",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    fn decode(text: &str) -> Result<Config, toml::de::Error> {
        toml::from_str(text)
    }

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    #[test]
    fn one_path_serves_every_name() {
        let config = decode("path = '/srv/www'").unwrap();
        assert_eq!(config.path.of(&name("a.test")), Some(Path::new("/srv/www")));
        assert_eq!(config.path.seen_by(None), [PathBuf::from("/srv/www")]);
        assert_eq!(config.state, Path::new(crate::DEFAULT_STATE));
    }

    #[test]
    fn a_table_serves_its_names_only() {
        let config = decode("path = { 'A.test' = '/srv/a', 'b.test' = '/srv/b', 'c.test' = '/srv/a' }").unwrap();
        assert_eq!(config.path.of(&name("a.test")), Some(Path::new("/srv/a")));
        assert_eq!(config.path.of(&name("d.test")), None);
        assert_eq!(config.path.seen_by(Some(&name("b.test"))), [PathBuf::from("/srv/b")]);
        assert_eq!(config.path.seen_by(None), [PathBuf::from("/srv/a"), PathBuf::from("/srv/b")]);
    }

    #[test]
    fn mistakes_are_named_where_they_stand() {
        for (text, message, at) in [
            ("path = 1", "a directory, or a table of domain = directory", "1"),
            ("path = { 'a.test' = 1 }", "invalid type: integer", "1"),
            ("path = { '*.a.test' = '/a' }", "wildcard", "'*.a.test'"),
        ] {
            let error = decode(text).unwrap_err();
            assert!(error.message().contains(message), "{error}");
            assert_eq!(error.span().and_then(|span| text.get(span)), Some(at), "{error}");
        }
        let twice = decode("path = { 'a.test' = '/a', 'A.test' = '/b' }").unwrap_err();
        assert!(twice.message().contains("a.test has two webroots"), "{twice}");
    }

    #[test]
    fn the_schema_has_a_word_for_its_value() {
        let schema = schemars::schema_for!(Config);
        let kind = schema.as_value().pointer("/properties/path/x-kind").and_then(|kind| kind.as_str());
        assert_eq!(kind, Some("path, or table of domain = path"));
    }
}
