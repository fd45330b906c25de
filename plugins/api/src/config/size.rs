//! Sizes in the configuration.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number of bytes, written as a number and a unit: `"512B"`, `"16KiB"`, `"8MiB"`, `"1GiB"`, or in steps of a thousand
/// `"16kB"`, `"8MB"`, `"1GB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = UNITS.iter().find(|(name, _)| *name == unit.trim_start()).map(|(_, bytes)| *bytes);
        let bytes = number.parse::<u64>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
        bytes
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a size such as \"512B\", \"16KiB\", \"8MiB\", \"1GiB\" or \"8MB\""))
    }
}

/// Displays the shortest form: `16384` is `16KiB`, `16000` is `16kB`.
impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) = UNITS.into_iter().find(|(_, unit)| self.0.is_multiple_of(*unit)).unwrap_or(("B", 1));
        if self.0 == 0 { f.write_str("0B") } else { write!(f, "{}{name}", self.0 / unit) }
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text)
    }
}

/// Takes the text, so that any other value is told what a size looks like.
struct Text;

impl de::Visitor<'_> for Text {
    type Value = ByteSize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size such as \"16KiB\" or \"8MiB\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
        text.parse().map_err(E::custom)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "x-kind": "size" })
    }
}

/// From the largest to the smallest: bytes of each unit.
const UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1000),
    ("B", 1),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_a_number_and_a_unit() {
        for (text, bytes) in [
            ("0B", 0),
            ("512B", 512),
            ("16KiB", 16_384),
            ("8MiB", 8_388_608),
            ("1GiB", 1_073_741_824),
            ("16kB", 16_000),
            ("8MB", 8_000_000),
            ("1GB", 1_000_000_000),
            ("18446744073709551615B", u64::MAX),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(size.0, bytes);
            assert_eq!(size.to_string(), text);
        }
        for wrong in ["", "16", "KiB", "-1B", "1.5KiB", "1 byte", "16kib", "18446744073709551616B", "17179869184GiB"] {
            assert!(wrong.parse::<ByteSize>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_size_can_be_read_back() {
        for bytes in (0..64).map(|bit| 1u64 << bit).chain([1, 999, 1000, 1001, 1024, 1_024_000, 3_000_000_000]) {
            assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
        }
    }
}
