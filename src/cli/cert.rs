//! `lockgate cert …`: certificates.

mod arguments;
mod attempt;
mod hooks;
mod list;
mod obtain;
mod renew;
mod watch;

use clap::Subcommand;

use super::Exit;

/// The subcommands of `lockgate cert`.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Obtain one certificate, with or without a running proxy.
    Obtain(Box<arguments::Arguments>),
    /// Renew every certificate in the storage that is due, as it was obtained, by Lockgate or by certbot.
    Renew(Box<renew::Arguments>),
    /// List certificates with what is known about them. Exits with 1 where one is missing, expired, or about to be.
    List(list::Arguments),
}

pub(super) fn run(command: &Command) -> Exit {
    match command {
        Command::Obtain(arguments) => obtain::run(arguments),
        Command::Renew(arguments) => renew::run(arguments),
        Command::List(arguments) => list::run(arguments),
    }
}
