//! Answers ACME challenges from memory, in-process and on listeners of its own.
//!
//! Any number of visitors are served at once: one who connects and says nothing costs a task and a deadline, not the
//! validation of somebody else.

mod answer;
mod config;
mod listener;
mod standalone;
mod tokens;

pub use config::Config;
pub use standalone::Standalone;

/// The target of every log line of this crate.
const TARGET: &str = "lockgate::standalone";
