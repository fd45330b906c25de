//! Settings of tinyproxy as a TOML configuration.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use plugin_api::config::{Duration, Span};

use super::{
    Mode, Surroundings,
    address::Numeric,
    argument::At,
    chain::{self, Link},
    conf::Conf,
    directive::LogLevel,
    document::{Document, Value},
    warning::Warnings,
};

/// Writes the configuration that does what the file says, and tells which links it has.
///
/// `port` is the one setting that every file has; what tinyproxy does without being told comes from there.
pub(super) fn write(
    conf: &Conf,
    port: &At<u16>,
    surroundings: &Surroundings,
    warnings: &mut Warnings,
) -> (Document, Vec<Link>) {
    let mut document = Document::default();
    server(conf, port, surroundings, warnings, &mut document);
    log(conf, port, surroundings.mode, &mut document);
    listener(conf, port, surroundings, &mut document);
    document.section("[[route]]", &port.span);
    document.entry("name", "proxy", &port.span);
    let links = chain::write(conf, port, surroundings, warnings, &mut document);
    (document, links)
}

fn server(conf: &Conf, port: &At<u16>, surroundings: &Surroundings, warnings: &mut Warnings, document: &mut Document) {
    let process = &conf.process;
    document.section("[server]", &port.span);
    for (key, name) in [("user", &process.user), ("group", &process.group)] {
        if let Some(name) = name {
            document.entry(key, name.value.as_str(), &name.span);
        }
    }
    if process.user.is_none() && surroundings.is_root {
        warnings.push(port.span.clone(), "there is no `User`: the proxy goes on as root");
    }
    if let Some(path) = &process.pid_file {
        document.entry("pid_file", surroundings.mode.path(&path.value), &path.span);
    }
    document.entry("wording", "tinyproxy", &port.span);
    document.entry("bare_lf", true, &port.span);
    document.entry("half_closed_clients", true, &port.span);
    // Its limit is 128 KiB for each line.
    document.entry("head_limit", "256KiB", &port.span);
    document.entry("target_limit", "64kB", &port.span);
    if surroundings.mode == Mode::Daemon {
        document.entry("daemon", true, &port.span);
    }
    let max_clients = process.max_clients.clone().unwrap_or(At { value: 100, span: port.span.clone() });
    if max_clients.value == 0 {
        warnings.push(max_clients.span.clone(), "with 0 clients at once nobody is served");
    }
    document.entry("max_clients", max_clients.value, &max_clients.span);
    let (timeout, span) = timeout(conf, port);
    if process.timeout.as_ref().is_some_and(|timeout| timeout.value == 0) {
        warnings.push(span.clone(), "a time of 0 seconds cannot be kept: like in tinyproxy it means 10 minutes");
    }
    for key in ["head_timeout", "keep_alive_timeout", "read_timeout", "write_timeout"] {
        document.entry(key, timeout.as_str(), &span);
    }
}

fn log(conf: &Conf, port: &At<u16>, mode: Mode, document: &mut Document) {
    document.section("[log]", &port.span);
    let (program, span) = match (&conf.log.syslog, &conf.log.file, mode) {
        (Some(At { value: true, span }), ..) => ("syslog".to_owned(), span),
        (_, Some(file), _) => (log_file(mode.path(&file.value)), &file.span),
        (_, None, Mode::Foreground) => ("stdout".to_owned(), &port.span),
        (_, None, Mode::Daemon) => ("off".to_owned(), &port.span),
    };
    document.entry("program", program, span);
    document.entry("style", "tinyproxy", &port.span);
    let (level, span) = match &conf.log.level {
        Some(level) => (level.value, &level.span),
        None => (LogLevel::Info, &port.span),
    };
    let level = match level {
        LogLevel::Critical => "critical",
        LogLevel::Error => "error",
        LogLevel::Warning => "warn",
        LogLevel::Notice => "notice",
        LogLevel::Connect => "connect",
        LogLevel::Info => "info",
    };
    document.entry("level", level, span);
}

/// A file whose name is a word with a meaning is still a file.
fn log_file(path: String) -> String {
    if ["stdout", "stderr", "syslog", "off"].contains(&path.as_str()) { format!("./{path}") } else { path }
}

fn listener(conf: &Conf, port: &At<u16>, surroundings: &Surroundings, document: &mut Document) {
    let mut addresses: Vec<(Value, Span)> = Vec::new();
    for listen in &conf.listen {
        let scope = listen.value.scope.as_ref().map(|scope| {
            // Those that are unknown are refused where the address is read.
            surroundings.interfaces.get(scope).map_or_else(|| format!("%{scope}"), |index| format!("%{index}"))
        });
        let address = match (&listen.value.address, scope) {
            (Numeric::Ip(IpAddr::V6(address)), Some(scope)) => format!("[{address}{scope}]:{}", port.value),
            (Numeric::Ip(address), _) => SocketAddr::new(*address, port.value).to_string(),
            // This, too.
            (Numeric::Nobodys(word), _) => word.clone(),
        };
        addresses.push((address.into(), listen.span.clone()));
    }
    if addresses.is_empty() {
        for any in ["0.0.0.0", "[::]"] {
            addresses.push((format!("{any}:{}", port.value).into(), port.span.clone()));
        }
    }
    document.section("[[listener]]", &port.span);
    document.entry("name", "proxy", &port.span);
    document.entry("address", Value::List(addresses), &port.span);
    if let Some(same) = conf.outgoing.bind_same.as_ref().filter(|same| same.value) {
        document.entry("log_local_address", true, &same.span);
    }
}

/// The one timeout of tinyproxy, which bounds each step of everything.
pub(super) fn timeout(conf: &Conf, port: &At<u16>) -> (String, Span) {
    let (seconds, span) = match &conf.process.timeout {
        Some(At { value: 0, span }) => (DEFAULT_TIMEOUT, span),
        Some(timeout) => (timeout.value, &timeout.span),
        None => (DEFAULT_TIMEOUT, &port.span),
    };
    (Duration::from_secs(seconds.into()).to_string(), span.clone())
}

impl Mode {
    /// tinyproxy opens these files after it has gone to the root directory, if it is a daemon.
    pub(super) fn path(self, path: &str) -> String {
        match self {
            Self::Daemon => Path::new("/").join(path).display().to_string(),
            Self::Foreground => path.to_owned(),
        }
    }
}

/// In seconds.
const DEFAULT_TIMEOUT: u32 = 600;
