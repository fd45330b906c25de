//! Moments as text: RFC 3339, so that people can read what is stored.

use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _, ser::Error as _};

/// A moment written as RFC 3339 has it.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    text.parse::<Timestamp>().ok().map(SystemTime::from)
}

/// As RFC 3339 has it, in UTC; `None` after the year 9999.
pub(crate) fn text(moment: SystemTime) -> Option<String> {
    Timestamp::try_from(moment).ok().map(|moment| moment.to_string())
}

pub(crate) fn serialize<S: Serializer>(moment: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*moment).ok_or_else(|| S::Error::custom("a moment after the year 9999"))?)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is no moment as RFC 3339 has them")))
}

/// The same for a moment that may be missing.
pub(crate) mod optional {
    use super::{Deserializer, Serializer, SystemTime};

    pub(crate) fn serialize<S: Serializer>(moment: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
        match moment {
            Some(moment) => super::serialize(moment, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
        super::deserialize(deserializer).map(Some)
    }
}
