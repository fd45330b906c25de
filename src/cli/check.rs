//! `lockgate check`: builds everything, starts nothing.

use std::path::Path;

use super::{Exit, report, run::load};

pub(super) fn run(file: Option<&Path>) -> Exit {
    match load(file) {
        Ok(loaded) => {
            for remark in &loaded.remarks {
                report::plain(format!("{remark}\n"));
            }
            let (listeners, routes) = (loaded.engine.listeners.len(), loaded.engine.routes.len());
            let certificates = loaded.certificates.managed.len() + loaded.certificates.files.len();
            let certificates =
                if certificates == 0 { String::new() } else { format!(", {certificates} certificate(s)") };
            report::line(format!(
                "the configuration is good: {listeners} listener(s), {routes} route(s){certificates}"
            ));
            Exit::Success
        }
        Err(exit) => exit,
    }
}
