//! `cargo xtask bench`: Lockgate beside other proxies, built for release.

use std::{
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use crate::install::{self, Need};

/// The others, and what loads them.
const PEERS: &[Need] = &[
    ("caddy", "caddy"),
    ("h2load", "nghttp2-client"),
    ("haproxy", "haproxy"),
    ("nginx", "nginx-light"),
    ("setpriv", "util-linux"),
    ("squid", "squid"),
    ("tinyproxy", "tinyproxy"),
    ("wrk", "wrk"),
];

/// Builds and runs the comparison; `arguments` (`reverse`, `forward`, `tls`, `quick`) choose a part of it.
pub fn run(arguments: &[String]) -> ExitCode {
    if let Err(message) = install::ensure(PEERS) {
        eprintln!("xtask: {message}");
        return ExitCode::FAILURE;
    }
    let packages = ["--package", "lockgate", "--bin", "lockgate", "--package", "benches", "--bins"];
    let build = Command::new("cargo").args(["build", "--release"]).args(packages).status();
    if !build.is_ok_and(|status| status.success()) {
        eprintln!("xtask: the build failed");
        return ExitCode::FAILURE;
    }
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    // What is no whole path would be looked up in PATH.
    let target = std::path::absolute(&target).unwrap_or_else(|_| target.into());
    let program = |name: &str| target.join("release").join(name);
    let error =
        Command::new(program("comparison")).args([program("lockgate"), program("bare-pingora")]).args(arguments).exec();
    eprintln!("xtask: cannot run the comparison: {error}");
    ExitCode::FAILURE
}
