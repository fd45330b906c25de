//! `lockgate cert …`: certificates.

mod accounts;
mod arguments;
mod list;
mod obtain;
mod watch;

use clap::Subcommand;

use super::Exit;

/// The subcommands of `lockgate cert`.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Obtain one certificate, with or without a running proxy.
    Obtain(Box<arguments::Arguments>),
    /// List certificates with what is known about them. Exits with 1 where one is missing, expired, or about to be.
    List(list::Arguments),
    /// List accounts with the thumbprints of their keys, by which others can answer their challenges.
    Accounts(accounts::Arguments),
}

pub(super) fn run(command: &Command) -> Exit {
    match command {
        Command::Obtain(arguments) => obtain::run(arguments),
        Command::List(arguments) => list::run(arguments),
        Command::Accounts(arguments) => accounts::run(arguments),
    }
}
