//! `lockgate completion` and `lockgate man`: what shells and man(1) know of the command line.

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Exit, report};

/// For which shell.
#[derive(Args)]
pub(super) struct Completion {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Where manual pages go.
#[derive(Args)]
pub(super) struct Pages {
    /// A directory that exists, such as /usr/local/share/man/man1.
    directory: PathBuf,
}

pub(super) fn completion(arguments: &Completion) -> Exit {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Arguments::command(), "lockgate", &mut text);
    report::line(String::from_utf8_lossy(&text).trim_end());
    Exit::Success
}

pub(super) fn pages(arguments: &Pages) -> Exit {
    let mut command = super::Arguments::command();
    command.build();
    match write(command, "lockgate", arguments) {
        Ok(()) => Exit::Success,
        Err(error) => {
            report::error(format!("cannot write to {}: {error}", arguments.directory.display()));
            Exit::Failure
        }
    }
}

/// A page for this command, and one for each below it.
fn write(command: Command, name: &str, arguments: &Pages) -> std::io::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        write(below.clone(), &format!("{name}-{}", below.get_name()), arguments)?;
    }
    let mut text = Vec::new();
    Man::new(command).title(name).render(&mut text)?;
    std::fs::write(arguments.directory.join(format!("{name}.1")), text)
}
