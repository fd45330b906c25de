//! `lockgate migrate`: a tinyproxy.conf as TOML.

use std::path::PathBuf;

use super::{Exit, report};
use crate::{
    config::LoadError,
    tinyproxy::{Mode, Surroundings, read, translate},
};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The configuration file of tinyproxy.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Translate for a process in the background, which is what tinyproxy is without `-d`.
    #[arg(long)]
    daemon: bool,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let mode = if arguments.daemon { Mode::Daemon } else { Mode::Foreground };
    let translation = read(&arguments.file)
        .and_then(|source| translate(&source, &Surroundings::here(mode)).map_err(LoadError::Problems));
    let translation = match translation {
        Ok(translation) => translation,
        Err(error) => {
            report::load_error(&error);
            return Exit::Usage;
        }
    };
    report::line(format!("# Translated from {} by `lockgate migrate`.", arguments.file.display()));
    for (line, remark) in translation.remarks() {
        report::line(format!("# Line {line}: {remark}."));
    }
    report::line(format!("\n{}", translation.toml().trim_end()));
    Exit::Success
}
