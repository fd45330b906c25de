//! `lockgate migrate`: a tinyproxy.conf as TOML.

use std::path::PathBuf;

use super::{Exit, report};
use crate::{
    config::LoadError,
    tinyproxy::{Mode, Surroundings, overview, read, translate},
};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The configuration file of tinyproxy.
    #[arg(value_name = "FILE", required_unless_present = "directives")]
    file: Option<PathBuf>,
    /// Print what becomes of every directive, as a table in Markdown.
    #[arg(long, conflicts_with = "file")]
    directives: bool,
    /// Translate for a process in the background, which is what tinyproxy is without `-d`.
    #[arg(long)]
    daemon: bool,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let Some(file) = &arguments.file else {
        report::line(overview().trim_end());
        return Exit::Success;
    };
    let mode = if arguments.daemon { Mode::Daemon } else { Mode::Foreground };
    let translation =
        read(file).and_then(|source| translate(&source, &Surroundings::here(mode)).map_err(LoadError::Problems));
    let translation = match translation {
        Ok(translation) => translation,
        Err(error) => {
            report::load_error(&error);
            return Exit::Usage;
        }
    };
    report::line(format!("# Translated from {} by `lockgate migrate`.", file.display()));
    for (line, remark) in translation.remarks() {
        report::line(format!("# Line {line}: {remark}."));
    }
    report::line(format!("\n{}", translation.toml().trim_end()));
    Exit::Success
}
