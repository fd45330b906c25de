//! Debian packages: installs what is missing, and lets no daemon start.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

/// A program that must be in `PATH`, and the package that brings it.
pub type Need = (&'static str, &'static str);

/// To build: a dependency of pingora compiles C code with cmake.
const BUILD: [Need; 2] = [("cc", "gcc"), ("cmake", "cmake")];

/// What `cargo xtask demo` needs beside that.
pub const DEMO: &[Need] = &[
    ("curl", "curl"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("nginx", "nginx-light"),
    ("openssl", "openssl"),
    ("pebble", "pebble"),
    ("setpriv", "util-linux"),
];

/// What `cargo xtask test` needs. Python's modules are no programs: their files stand for them.
pub const TEST: &[Need] = &[
    ("/usr/lib/python3/dist-packages/grpc/__init__.py", "python3-grpcio"),
    ("/usr/lib/python3/dist-packages/requests/__init__.py", "python3-requests"),
    ("/usr/lib/python3/dist-packages/websockets/__init__.py", "python3-websockets"),
    ("certbot", "certbot"),
    ("certutil", "libnss3-tools"),
    ("chromium", "chromium"),
    ("curl", "curl"),
    ("faketime", "faketime"),
    ("git", "git"),
    ("groff", "groff-base"),
    ("haproxy", "haproxy"),
    ("ip", "iproute2"),
    ("microsocks", "microsocks"),
    ("nft", "nftables"),
    ("nginx", "nginx-light"),
    ("openssl", "openssl"),
    ("pebble", "pebble"),
    ("python3", "python3-minimal"),
    ("setcap", "libcap2-bin"),
    ("setpriv", "util-linux"),
    ("slowhttptest", "slowhttptest"),
    ("squid", "squid"),
    ("sslscan", "sslscan"),
    ("strace", "strace"),
    ("systemd-analyze", "systemd"),
    ("testssl", "testssl.sh"),
    ("tinyproxy", "tinyproxy"),
    ("unshare", "util-linux"),
    ("wget", "wget"),
];

/// Installs what is missing, and says how that went.
pub fn everything(needs: &[Need]) -> ExitCode {
    match ensure(needs) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Installs what is missing of `needs` and of what a build needs.
pub fn ensure(needs: &[Need]) -> Result<(), String> {
    let missing: Vec<&str> =
        BUILD.iter().chain(needs).filter(|(program, _)| !is_there(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("xtask: installing {}", missing.join(", "));
    if !Path::new("/usr/bin/apt-get").exists() {
        return Err(format!("this is no Debian: install {} yourself", missing.join(", ")));
    }
    let _quiet = NoDaemons::new()?;
    apt(&["update", "-qq"])?;
    let mut arguments = vec!["install", "-qq", "-y", "--no-install-recommends"];
    arguments.extend(&missing);
    apt(&arguments)
}

/// Installs cargo-deny unless it is there. Without its optional parts a debug build takes about a minute on two cores.
pub fn ensure_deny() -> Result<(), String> {
    let known = Command::new("cargo").args(["deny", "--version"]).output();
    if known.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    eprintln!("xtask: installing cargo-deny");
    let arguments = ["install", "cargo-deny", "--locked", "--debug", "--no-default-features", "--quiet"];
    match Command::new("cargo").args(arguments).stdin(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cannot install cargo-deny: {status}")),
        Err(error) => Err(format!("cannot run cargo: {error}")),
    }
}

/// Whether a program is in `PATH` or where Debian keeps those of administrators.
pub fn is_there(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|directory| Path::new(directory).join(program).is_file())
}

fn apt(arguments: &[&str]) -> Result<(), String> {
    // Through `env`, because sudo hands no variables on.
    let mut command = as_root("env");
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]).args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`apt-get {}` failed: {status}", arguments.join(" "))),
        Err(error) => Err(format!("cannot run apt-get: {error}")),
    }
}

/// A command that runs as root.
pub fn as_root(program: &str) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.arg(program);
    command
}

/// Whether this process is root.
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// While it lives, packages may not start daemons (Debian policy-rc.d: 101 forbids).
struct NoDaemons(bool);

impl NoDaemons {
    fn new() -> Result<Self, String> {
        if Path::new(POLICY).exists() {
            // Somebody decided about this machine already.
            return Ok(Self(false));
        }
        let draft = std::env::temp_dir().join(format!("lg-{}-policy", std::process::id()));
        let failed = |error| format!("cannot write {POLICY}: {error}");
        fs::write(&draft, "#!/bin/sh\nexit 101\n").map_err(failed)?;
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o755)).map_err(failed)?;
        let moved = as_root("install").args(["-m", "755"]).arg(&draft).arg(POLICY).status();
        let _ = fs::remove_file(&draft);
        match moved {
            Ok(status) if status.success() => Ok(Self(true)),
            Ok(status) => Err(format!("cannot write {POLICY}: {status}")),
            Err(error) => Err(failed(error)),
        }
    }
}

impl Drop for NoDaemons {
    fn drop(&mut self) {
        if self.0 {
            let _ = as_root("rm").args(["-f", POLICY]).status();
        }
    }
}

const POLICY: &str = "/usr/sbin/policy-rc.d";
