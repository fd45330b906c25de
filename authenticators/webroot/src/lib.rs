//! Answers ACME challenges from files below the webroot of a site, where any web server finds them too.
//!
//! Files and directories are made relative to directory handles, without following a symbolic link below the webroot, and
//! journalled first, so that what a killed process left behind is known and collected.

mod config;
mod directory;
mod entry;
mod journal;
mod ledger;
mod paths;
mod webroot;

pub use config::{Config, DEFAULT_STATE};
pub use paths::Paths;
pub use webroot::Webroot;

/// The target of every log line of this crate.
const TARGET: &str = "lockgate::webroot";
