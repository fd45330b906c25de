//! Configuration text to typed values, with every position kept.
//!
//! Text is parsed once into tables that remember where each key stands. Whoever owns a table takes out the keys that it
//! understands and decodes the rest into its own type; what is wrong goes to [`Problems`], so one run reports everything.

mod describe;
mod duration;
mod problem;
mod size;
mod source;
mod table;
mod unknown;

pub use describe::{KeyDoc, describe, markdown_table};
pub use duration::Duration;
pub use problem::{ConfigError, Problem, Problems};
pub use size::ByteSize;
pub use source::{Source, Span};
pub use table::{Array, Spans, Table, parse};

/// The known word that was probably meant, as a hint: "did you mean `upstream`?".
pub fn did_you_mean(word: &str, known: &[&str]) -> Option<String> {
    unknown::did_you_mean(word, known)
}
