//! The command line: one file per subcommand.

mod account;
mod cert;
mod certbot;
mod check;
mod migrate;
mod paper;
mod plugins;
pub(crate) mod report;
mod run;
mod tinyproxy;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use plugin_api::Kind;

use crate::registry;

/// A pluggable proxy that obtains certificates for live sites without losing a request.
#[derive(Parser)]
#[command(name = "lockgate", version, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve.
    Run(FileArguments),
    /// Build everything and start nothing; report every error with file, line and column.
    Check(FileArguments),
    /// Certificates.
    #[command(subcommand)]
    Cert(cert::Command),
    /// Accounts at certificate authorities.
    #[command(subcommand)]
    Account(account::Command),
    /// Print a tinyproxy.conf as TOML, with remarks on what needs attention.
    Migrate(migrate::Arguments),
    /// Be tinyproxy: same options, same file, same exit codes.
    #[command(disable_help_flag = true, override_usage = "lockgate tinyproxy [-d] [-c FILE] [-h] [-v]")]
    Tinyproxy,
    /// Be certbot, as far as certificates go: same commands, same options, same files.
    #[command(
        disable_help_flag = true,
        override_usage = "lockgate certbot certonly|renew|certificates|revoke|delete [OPTIONS]"
    )]
    Certbot,
    /// Print what a shell needs to complete our commands.
    Completion(paper::Completion),
    /// Write manual pages.
    Man(paper::Pages),
    /// List the plugins and authenticators that are compiled in, with their keys.
    Plugins(plugins::Arguments),
}

#[derive(clap::Args)]
struct FileArguments {
    /// The configuration file. Without one, a built-in quick-start configuration passes :8080 on to 127.0.0.1:80.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// How a command ends. From [`Usage`](Self::Usage) on, the numbers are those of sysexits.h, as tinyproxy has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// It did what it was asked.
    Success = 0,
    /// It could not.
    Failure = 1,
    /// certbot's code for bad usage.
    Misuse = 2,
    /// It was asked wrongly: bad usage or, but for tinyproxy, a bad configuration (`EX_USAGE`).
    Usage = 64,
    /// A filter cannot be used (`EX_DATAERR`).
    Data = 65,
    /// There is no such user or group (`EX_NOUSER`).
    NoUser = 67,
    /// tinyproxy's code for a bad configuration (`EX_SOFTWARE`).
    Software = 70,
    /// The system refused a socket or a file (`EX_OSERR`).
    System = 71,
    /// User or group cannot be taken (`EX_NOPERM`).
    NoPermission = 77,
}

impl Exit {
    /// The number for whoever waits.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    /// The end that another process of this program came to.
    pub(crate) fn from_code(code: u8) -> Self {
        let all =
            [Self::Success, Self::Usage, Self::Data, Self::NoUser, Self::Software, Self::System, Self::NoPermission];
        all.into_iter().find(|exit| exit.code() == code).unwrap_or(Self::Failure)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The whole program: reads the arguments of the process, does what they ask for, and returns its exit code.
///
/// `plugins` are found by `use = "…"` beside those that come with Lockgate. The caller chooses the allocator (see `src/main.rs`).
pub fn main(plugins: &'static [Kind]) -> ExitCode {
    if let Err(name) = registry::welcome(plugins) {
        report::error(format!("there are two plugins called `{name}`"));
        return Exit::Failure.into();
    }
    // One TLS crypto provider for the whole process, before anything asks for one.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        report::error("another TLS crypto provider was installed first");
        return Exit::Failure.into();
    }
    // Before anything else has a look at the arguments: its options are not those of our parser.
    if let Some(arguments) = tinyproxy::arguments(std::env::args_os()) {
        return tinyproxy::run(arguments).into();
    }
    if let Some(arguments) = certbot::arguments(std::env::args_os()) {
        return certbot::run(&arguments).into();
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let asked_for = !error.use_stderr();
            // When even that cannot be printed there is nowhere left to say so.
            let _ = error.print();
            return if asked_for { Exit::Success } else { Exit::Usage }.into();
        }
    };
    match arguments.command {
        Command::Run(arguments) => run::run(arguments.config.as_deref()),
        Command::Check(arguments) => check::run(arguments.config.as_deref()),
        Command::Cert(command) => cert::run(&command),
        Command::Account(command) => account::run(&command),
        Command::Migrate(arguments) => migrate::run(&arguments),
        // Found by their names above; this is for the list of commands.
        Command::Tinyproxy | Command::Certbot => Exit::Usage,
        Command::Completion(arguments) => paper::completion(&arguments),
        Command::Man(arguments) => paper::pages(&arguments),
        Command::Plugins(arguments) => plugins::run(&arguments),
    }
    .into()
}
