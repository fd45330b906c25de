//! `lockgate plugins`: what is compiled in.

use plugin_api::{Terminal, config::KeyDoc};

use super::{Exit, report};
use crate::registry::{AUTHENTICATORS, PLUGINS};

pub(super) fn run() -> Exit {
    for plugin in PLUGINS {
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
