//! `lockgate cert …`: certificates.

mod arguments;
pub(super) mod attempt;
mod hooks;
mod list;
mod obtain;
mod options;
mod reconfigure;
mod renew;
mod retire;
pub(super) mod session;
mod show;
mod visitors;
mod watch;

use clap::Subcommand;

use super::Exit;
pub(super) use arguments::{Arguments as ObtainArguments, Authenticator, Method};
pub(super) use attempt::{Failure, PATIENCE};
pub(super) use obtain::run as obtain;
pub(super) use options::{
    Common, ExternalArguments, HookArguments, KeyArguments, LETS_ENCRYPT, STAGING, TermArguments,
};
pub(super) use renew::{Arguments as RenewArguments, run as renew};
pub(super) use retire::{Delete, Reason, Revoke, delete, revoke};

/// The subcommands of `lockgate cert`.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Obtain one certificate, with or without a running proxy.
    Obtain(Box<arguments::Arguments>),
    /// Renew every certificate in the storage that is due, as it was obtained, by Lockgate or by certbot.
    Renew(Box<renew::Arguments>),
    /// Show one certificate, and how it is renewed.
    Show(Box<show::Arguments>),
    /// Change how a certificate is renewed, after that was tried out.
    Reconfigure(Box<reconfigure::Arguments>),
    /// Tell the authority that nobody is to trust a certificate any more.
    Revoke(Box<Revoke>),
    /// Delete a certificate with its keys, and how it was obtained.
    Delete(Box<Delete>),
    /// List certificates with what is known about them. Exits with 1 where one is missing, expired, or about to be.
    List(list::Arguments),
}

pub(super) fn run(command: &Command) -> Exit {
    match command {
        Command::Obtain(arguments) => obtain::run(arguments),
        Command::Renew(arguments) => renew::run(arguments),
        Command::Revoke(arguments) => revoke(arguments),
        Command::Delete(arguments) => delete(arguments),
        Command::Show(arguments) => show::run(arguments),
        Command::Reconfigure(arguments) => reconfigure::run(arguments),
        Command::List(arguments) => list::run(arguments),
    }
}
