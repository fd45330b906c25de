//! The command line: one file per subcommand.

mod cert;
mod check;
mod plugins;
mod report;
mod run;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

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
    /// List the plugins and authenticators that are compiled in, with their keys.
    Plugins(plugins::Arguments),
}

#[derive(clap::Args)]
struct FileArguments {
    /// The configuration file. Without one, a built-in quick-start configuration passes :8080 on to 127.0.0.1:80.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what it was asked.
    Success,
    /// It could not.
    Failure,
    /// It was asked wrongly: bad usage or a bad configuration (`EX_USAGE` of sysexits.h).
    Usage,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::Usage => 64,
        })
    }
}

/// Runs the program.
pub(crate) fn run() -> ExitCode {
    // One TLS crypto provider for the whole process, before anything asks for one.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        report::error("another TLS crypto provider was installed first");
        return Exit::Failure.into();
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
        Command::Plugins(arguments) => plugins::run(&arguments),
    }
    .into()
}
