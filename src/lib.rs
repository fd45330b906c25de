//! Lockgate as a library: for a program that is Lockgate with plugins of one's own.
//!
//! ```no_run
//! # mod mine { pub const PLUGINS: &[plugin_api::Kind] = &[]; }
//! fn main() -> std::process::ExitCode {
//!     lockgate::main(mine::PLUGINS)
//! }
//! ```
//!
//! `examples/with_plugin.rs` is such a program.

mod cli;
mod config;
mod intercept;
mod lasting;
mod octet;
mod pair;
mod process;
mod registry;
mod tinyproxy;
mod upkeep;

pub use cli::main;
