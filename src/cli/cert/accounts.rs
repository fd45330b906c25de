//! `lockgate cert accounts`: what others may know of the accounts.

use std::path::PathBuf;

use certificates::{Store, StoredAccount};
use clap::Args;

use super::list::STORAGE;
use crate::cli::{Exit, report};

/// Which accounts, and how they are told.
#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// The directory with the accounts.
    #[arg(long, value_name = "DIR", default_value = STORAGE)]
    storage: PathBuf,

    /// Print one JSON array on standard output.
    #[arg(long)]
    json: bool,
}

/// Prints them.
pub(super) fn run(arguments: &Arguments) -> Exit {
    let accounts = Store::at(&arguments.storage).accounts();
    if arguments.json {
        let all: Vec<_> = accounts
            .iter()
            .map(|StoredAccount { directory, url, thumbprint }| {
                serde_json::json!({ "directory": directory, "url": url, "thumbprint": thumbprint })
            })
            .collect();
        report::line(serde_json::Value::Array(all).to_string());
    } else if accounts.is_empty() {
        report::line("there are no accounts");
    } else {
        for StoredAccount { directory, url, thumbprint } in &accounts {
            let directory = directory.as_deref().unwrap_or("-");
            report::line(format!("{thumbprint}  {directory}  {url}"));
        }
    }
    Exit::Success
}
