//! The `standalone` authenticator: tokens in memory, answered in-process and on listeners of its own.

mod config;
mod server;
mod standalone;
mod tokens;

pub use config::Config;
pub use standalone::Standalone;
