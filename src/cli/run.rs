//! `lockgate run`: the proxy.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use plugin_api::config::Source;

use super::{Exit, report};
use crate::{
    config::{self, LoadError, Loaded},
    lasting::Lasting,
    process::{Manner, Service},
};

pub(super) fn run(file: Option<&Path>) -> Exit {
    let file = file.map(PathBuf::from);
    let lasting = Arc::new(Lasting::default());
    let kept = Arc::clone(&lasting);
    Service {
        manner: Manner::Lockgate,
        name: file.as_deref().unwrap_or(Path::new(BUILT_IN)).display().to_string(),
        load: Box::new(move || read(file.as_deref(), &kept)),
        lasting,
    }
    .run()
}

/// Reads and builds the configuration; what is wrong is printed.
pub(super) fn load(file: Option<&Path>) -> Result<Loaded, Exit> {
    read(file, &Lasting::default()).map_err(|error| {
        report::load_error(&error);
        Exit::Usage
    })
}

fn read(file: Option<&Path>, lasting: &Lasting) -> Result<Loaded, LoadError> {
    match file {
        Some(file) => config::load_file(file, lasting),
        None => config::load(Source::new(BUILT_IN, QUICK_START), lasting).map_err(LoadError::Problems),
    }
}

/// What the configuration that is used without a file is called.
const BUILT_IN: &str = "quick-start";

/// What `lockgate run` does without a file.
const QUICK_START: &str = r#"
[[listener]]
name = "http"
address = ["0.0.0.0:8080", "[::]:8080"]

[[route]]
chain = [{ use = "upstream", servers = ["127.0.0.1:80"] }]
"#;
