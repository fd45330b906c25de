//! The configuration file: text to what the engine is started with.
//!
//! One run reports everything that is wrong with a file. Each section has a raw shape here, close to the text; what comes
//! out is resolved.

mod acme;
mod authenticator;
mod certificate;
mod exposure;
mod interception;
mod listener;
mod log;
mod route;
mod server;

use std::{path::Path, sync::Arc};

use authenticator_api::Authenticator;
use plugin_api::{
    Meter, Named,
    config::{Problem, Problems, Source, did_you_mean, parse},
};
use proxy_core::Config;

use crate::{lasting::Lasting, tinyproxy};

pub(crate) use self::{
    certificate::{Certificates, FromFiles, Managed},
    log::{Destination, Level, Program, Style},
    server::Process,
};

/// A configuration that can be started.
pub(crate) struct Loaded {
    /// For the engine.
    pub(crate) engine: Config,
    /// To be started before the engine and stopped after it.
    pub(crate) authenticators: Vec<Arc<dyn Authenticator>>,
    /// To be shown to clients who speak TLS, and kept valid.
    pub(crate) certificates: Certificates,
    /// How long requests may take to finish after SIGTERM.
    pub(crate) drain: std::time::Duration,
    /// What the program says about itself.
    pub(crate) log: Program,
    /// How it runs.
    pub(crate) process: Process,
    /// What people should be told about it.
    pub(crate) remarks: Vec<String>,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error("cannot read {path}")]
    Read { path: String, source: std::io::Error },
    #[error("{0}")]
    Problems(Problems),
    /// Nothing is wrong but the list of a filter, for which tinyproxy has an exit code.
    #[error("{0}")]
    Filter(Problems),
    /// Nothing is wrong but addresses to listen on, for which tinyproxy has another.
    #[error("{0}")]
    Listen(Problems),
}

/// The sections that a file may have.
const SECTIONS: [&str; 8] =
    ["acme", "authenticator", "certificate", "interception", "listener", "log", "route", "server"];

/// Reads and builds a whole file. Starts nothing. The name says in which language it is: `.conf` is tinyproxy's.
pub(crate) fn load_file(path: &Path, lasting: &Lasting) -> Result<Loaded, LoadError> {
    if path.extension().is_some_and(|extension| extension == "conf") {
        let mut loaded = tinyproxy::load(path, tinyproxy::Mode::Foreground, lasting, None)?;
        loaded.config.remarks.extend(loaded.warnings.sentences());
        return Ok(loaded.config);
    }
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|source| LoadError::Read { path: name.clone(), source })?;
    let text = match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let source = Source::new(name, String::from_utf8_lossy(error.as_bytes()).into_owned());
            let mut problems = Problems::new(source);
            problems.push(Problem::new(valid..valid + char::REPLACEMENT_CHARACTER.len_utf8(), "the file is not UTF-8"));
            return Err(LoadError::Problems(problems));
        }
    };
    load(Source::new(name, text), lasting).map_err(LoadError::Problems)
}

/// Builds a configuration. Starts nothing.
pub(crate) fn load(source: Source, lasting: &Lasting) -> Result<Loaded, Problems> {
    let mut problems = Problems::new(source.clone());
    let mut root = parse(&source, &mut problems);
    let whole = root.span();
    let spans = root.spans();

    let server = server::build(root.take_table("server", &mut problems), &mut problems);
    let log = log::build(root.take_table("log", &mut problems), &mut problems);
    let (listeners, secure_at) = listener::build(root.take_tables("listener", &mut problems), lasting, &mut problems);
    let mut named = Named::default();
    named.insert::<dyn Meter>(<dyn Meter>::ENGINE, Arc::clone(&lasting.counters) as _);
    named.insert::<dyn Meter>(<dyn Meter>::CERTIFICATES, Arc::clone(&lasting.bulletin) as _);
    let authenticators =
        authenticator::build(root.take_tables("authenticator", &mut problems), &mut named, lasting, &mut problems);
    let names: Vec<_> = listeners.iter().map(|listener| Arc::clone(&listener.name)).collect();
    let sections = certificate::Sections {
        acme: root.take_table("acme", &mut problems),
        certificate: root.take_tables("certificate", &mut problems),
        interception: root.take_table("interception", &mut problems),
    };
    let mut remarks = Vec::new();
    let surroundings = certificate::Surroundings { source: &source, named: &named, listeners: &listeners };
    let certificates = certificate::build(sections, &surroundings, &mut problems, &mut remarks);
    if let (Some(secure_at), Some(certificates)) = (secure_at, &certificates)
        && certificates.managed.is_empty()
        && certificates.files.is_empty()
    {
        problems.push(
            Problem::new(secure_at, "TLS is spoken here, and there is no certificate to show").with_hint(
                "add `[[certificate]]` with `domains = [\"example.com\"]` and `issuer = \"internal\"`, or with `certificate` and `key`",
            ),
        );
    }
    let has_routes = root.contains("route");
    let routes = route::build(root.take_tables("route", &mut problems), &names, &named, &lasting.shared, &mut problems);

    for key in root.keys() {
        let hint = did_you_mean(&key, &SECTIONS).unwrap_or_else(|| format!("sections: {}", SECTIONS.join(", ")));
        problems.push(Problem::new(spans.of_key(&key), format!("unknown section or key `{key}`")).with_hint(hint));
    }
    if names.is_empty() && problems.is_empty() {
        problems.push(
            Problem::new(whole.clone(), "there is no listener")
                .with_hint("add `[[listener]]` with `name = \"http\"` and `address = [\"0.0.0.0:80\", \"[::]:80\"]`"),
        );
    }
    if !has_routes && problems.is_empty() {
        problems.push(
            Problem::new(whole, "there is no route")
                .with_hint("add `[[route]]` with `chain = [{ use = \"upstream\", servers = [\"127.0.0.1:8080\"] }]`"),
        );
    }
    remarks.extend(exposure::remarks(&listeners, &routes));
    let loaded = server.zip(log).zip(certificates).map(|((server, log), certificates)| Loaded {
        engine: Config {
            listeners,
            routes,
            trusted_proxies: server.trusted_proxies,
            timeouts: server.timeouts,
            limits: server.limits,
            wording: server.wording,
            half_closed_clients: server.half_closed_clients,
            shards: server.shards,
            max_clients: server.max_clients,
            counters: Arc::clone(&lasting.counters),
            log: log.access,
        },
        authenticators,
        certificates,
        drain: server.drain,
        log: log.program,
        process: server.process,
        remarks,
    });
    problems.or_ok(loaded)
}
