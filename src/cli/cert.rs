//! `lockgate cert …`: certificates.

mod arguments;
mod interception;
mod obtain;
mod watch;

use clap::Subcommand;

use super::Exit;

/// The subcommands of `lockgate cert`.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Obtain one certificate, with or without a running proxy.
    Obtain(Box<arguments::Arguments>),
}

pub(super) fn run(command: &Command) -> Exit {
    match command {
        Command::Obtain(arguments) => obtain::run(arguments),
    }
}
