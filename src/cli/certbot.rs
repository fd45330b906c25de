//! `lockgate certbot`, and a program that is called `certbot`: certbot's command line for certificates, so that timers and scripts go
//! on. What it asks for is done by the commands of `lockgate cert`.

mod arguments;
mod inifile;
mod listing;
mod translation;

use std::{
    ffi::{OsStr, OsString},
    path::Path,
};

use clap::{CommandFactory as _, FromArgMatches as _};

use super::{Exit, account, cert, report};
use arguments::{Arguments, Verb};

/// The arguments after the name, if this is to be certbot: by the program's own name, or by that of the subcommand.
pub(super) fn arguments(mut all: impl Iterator<Item = OsString>) -> Option<Vec<OsString>> {
    let program = all.next()?;
    if Path::new(&program).file_name() == Some(OsStr::new(NAME)) {
        return Some(all.collect());
    }
    (all.next()? == NAME).then(|| all.collect())
}

pub(super) fn run(given: &[OsString]) -> Exit {
    let command = Arguments::command().args_override_self(true);
    let with_files = match inifile::before(given) {
        Ok(all) => all,
        Err(message) => {
            report::error(message);
            return Exit::Failure;
        }
    };
    let all = std::iter::once(OsString::from(NAME)).chain(with_files);
    let matches = match command.try_get_matches_from(all) {
        Ok(matches) => matches,
        Err(error) => {
            let asked_for = !error.use_stderr();
            // When even that cannot be printed there is nowhere left to say so.
            let _ = error.print();
            // certbot's number for wrong usage.
            return if asked_for { Exit::Success } else { Exit::Misuse };
        }
    };
    let arguments = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return Exit::Misuse;
        }
    };
    let done = match arguments.verb {
        Some(Verb::Certonly) => translation::certonly(&arguments, &matches).map(|wanted| cert::obtain(&wanted)),
        Some(Verb::Renew) => translation::renew(&arguments).map(|wanted| cert::renew(&wanted)),
        Some(Verb::Certificates) => Ok(listing::run(&arguments)),
        Some(Verb::Revoke) => Ok(cert::revoke(&translation::revoke(&arguments))),
        Some(Verb::Delete) => translation::delete(&arguments).map(|wanted| cert::delete(&wanted)),
        Some(Verb::Register) => Ok(account::run(&translation::register(&arguments))),
        Some(Verb::UpdateAccount) => translation::update(&arguments).map(|wanted| account::run(&wanted)),
        Some(Verb::Unregister) => Ok(account::run(&account::Command::Deactivate(translation::which(&arguments)))),
        Some(Verb::ShowAccount) => Ok(account::run(&account::Command::Show(translation::which(&arguments)))),
        None => {
            Err("say what to do: certonly, renew, certificates, revoke or delete (there is nothing to install)".into())
        }
    };
    // certbot ends with 1 whatever went wrong, but for its own usage.
    match done {
        Ok(Exit::Success) => Exit::Success,
        Ok(_) => Exit::Failure,
        Err(message) => {
            report::error(message);
            Exit::Failure
        }
    }
}

const NAME: &str = "certbot";
