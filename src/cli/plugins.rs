//! `lockgate plugins`: what is compiled in.

use plugin_api::{
    Terminal,
    config::{KeyDoc, markdown_table},
};

use super::{Exit, report};
use crate::registry::{AUTHENTICATORS, plugins};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Print the tables of keys that the READMEs hold.
    #[arg(long)]
    markdown: bool,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    if arguments.markdown {
        let plugins = plugins().map(|plugin| (plugin.name(), plugin.keys()));
        let authenticators = AUTHENTICATORS.iter().map(|authenticator| (authenticator.name, (authenticator.keys)()));
        for (name, keys) in plugins.chain(authenticators) {
            report::line(format!("## {name}\n{}", markdown_table(&keys)));
        }
        return Exit::Success;
    }
    for plugin in plugins() {
        let ends = match plugin.terminal() {
            Terminal::Always => " (ends a chain)",
            Terminal::Sometimes => " (may end a chain)",
            Terminal::Never => "",
        };
        report::line(format!("plugin {}{ends}", plugin.name()));
        keys(&plugin.keys());
    }
    for authenticator in AUTHENTICATORS {
        report::line(format!("authenticator {}", authenticator.name));
        keys(&(authenticator.keys)());
    }
    Exit::Success
}

fn keys(keys: &[KeyDoc]) {
    for key in keys {
        let default = match &key.default {
            _ if key.required => ", required".to_owned(),
            Some(default) => format!(", default {default}"),
            None => String::new(),
        };
        report::line(format!("  {} ({}{default})\n      {}", key.name, key.kind, key.text));
    }
}
