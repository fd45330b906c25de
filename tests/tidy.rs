//! The rules of this tree that a machine can check.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::string_slice,
    clippy::print_stderr,
    reason = "a test says what went wrong by panicking"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use plugin_api::Meter as _;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const LOCKGATE: &str = env!("CARGO_BIN_EXE_lockgate");

/// Rust files of ours.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![PathBuf::from(ROOT)];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let name = entry.file_name().into_string().unwrap();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 50, "the tree was not found");
    found
}

/// Folders below `plugins/` or `authenticators/`, without `api`.
fn crates_in(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(Path::new(ROOT).join(folder)).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_dir() && !path.ends_with("api")).collect()
}

fn name_of(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// Which package depends on which, tests apart.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(ROOT)
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let names = |package: &serde_json::Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        all.filter(|one| one["kind"].is_null()).map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    packages.iter().map(|package| (package["name"].as_str().unwrap().to_owned(), names(package))).collect()
}

#[test]
fn imports_point_in_one_direction() {
    let ours: BTreeMap<_, _> = dependencies();
    let is_ours = |name: &String| ours.contains_key(name);
    for (package, dependencies) in &ours {
        let allowed: &[&str] = match package.as_str() {
            "lockgate" | "benches" | "xtask" | "test-support" => continue,
            "plugin-api" | "authenticator-api" | "interception" => &[],
            "proxy-core" => &["plugin-api"],
            "certificates" => &["authenticator-api"],
            "plugin-acme-challenge" => &["plugin-api", "authenticator-api"],
            plugin if plugin.starts_with("plugin-") => &["plugin-api"],
            authenticator if authenticator.starts_with("authenticator-") => &["authenticator-api"],
            other => panic!("{other}: say here what it may import"),
        };
        for dependency in dependencies.iter().filter(|name| is_ours(name)) {
            assert!(allowed.contains(&dependency.as_str()), "{package} must not import {dependency}");
        }
    }
    for (package, dependencies) in &ours {
        let names_pingora = dependencies.iter().any(|name| name.starts_with("pingora"));
        let may = ["proxy-core", "benches"].contains(&package.as_str());
        assert!(may || !names_pingora, "only proxy-core (and the comparison in benches) names pingora, not {package}");
    }
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let metadata = dependencies();
    for folder in
        ["", "authenticators/*", "benches", "certificates", "interception", "plugins/*", "proxy-core", "tests/support"]
    {
        let folders: Vec<PathBuf> = match folder.strip_suffix("/*") {
            Some(parent) => {
                fs::read_dir(Path::new(ROOT).join(parent)).unwrap().map(|entry| entry.unwrap().path()).collect()
            }
            None => vec![Path::new(ROOT).join(folder)],
        };
        for folder in folders.iter().filter(|folder| folder.is_dir()) {
            let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
            assert!(manifest.contains("[lints]\nworkspace = true"), "{}", folder.display());
        }
    }
    assert!(metadata.len() >= 12);
}

#[test]
fn every_file_says_what_it_is_for() {
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        let first = text.lines().next().unwrap_or_default();
        assert!(first.starts_with("//!") || first.starts_with("#!"), "{} does not start with //!", path.display());
    }
}

#[test]
fn files_are_named_after_what_is_in_them() {
    for path in sources() {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let vague = ["utils", "util", "common", "helpers", "misc", "types", "manager", "mod"];
        assert!(!vague.contains(&stem), "{}: find the noun", path.display());
    }
}

/// Long files hide a missing noun. The few that stay longer say why.
#[test]
fn files_fit_a_reader() {
    const EXCEPTIONS: &[(&str, &str)] = &[];
    for path in sources() {
        let relative = path.strip_prefix(ROOT).unwrap().to_str().unwrap();
        if relative.contains("tests/") || relative.contains("benches/") || relative.ends_with("tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap().lines().count();
        let excused = EXCEPTIONS.iter().any(|(name, _)| *name == relative);
        assert!(code <= 400 || excused, "{relative} has {code} lines without its tests");
    }
}

#[test]
fn every_plugin_and_authenticator_is_documented_shown_and_tested() {
    let configs: String = fs::read_dir(Path::new(ROOT).join("configs"))
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    for path in crates_in("plugins").into_iter().chain(crates_in("authenticators")) {
        let name = name_of(&path);
        assert!(path.join("README.md").exists(), "{name} has no README.md");
        assert!(configs.contains(&format!("use = \"{name}\"")), "no file in configs/ shows {name}");
        let has_tests = path.join("tests").is_dir();
        assert!(has_tests, "{name} has no tests/");
    }
}

/// `LOCKGATE_UPDATE=1 cargo test --test tidy` writes the tables anew.
#[test]
fn readmes_list_the_keys_that_the_decoder_knows() {
    let output = Command::new(LOCKGATE).args(["plugins", "--markdown"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let tables: BTreeMap<&str, &str> =
        text.split("## ").filter_map(|part| part.split_once('\n')).map(|(name, table)| (name, table.trim())).collect();
    for path in crates_in("plugins").into_iter().chain(crates_in("authenticators")) {
        let readme = path.join("README.md");
        let table = tables.get(name_of(&path)).unwrap_or_else(|| panic!("{} is not in the registry", name_of(&path)));
        holds(&readme, "keys", table);
    }
}

/// `LOCKGATE_UPDATE=1 cargo test --test tidy` writes the table anew.
#[test]
fn a_readme_lists_the_counters_of_the_engine() {
    let rows: String = proxy_core::Counters::default()
        .readings()
        .iter()
        .map(|reading| format!("| `{}` | {} |\n", reading.name, reading.help))
        .collect();
    let table = format!("| counter | what it counts |\n|---|---|\n{rows}");
    holds(&Path::new(ROOT).join("plugins/stats/README.md"), "counters", table.trim());
}

/// `LOCKGATE_UPDATE=1 cargo test --test tidy` writes the table anew.
#[test]
fn the_readme_says_what_becomes_of_every_directive() {
    let output = Command::new(LOCKGATE).args(["migrate", "--directives"]).output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    holds(&Path::new(ROOT).join("README.md"), "directives", table.trim());
}

/// A file has this table between its two marks.
fn holds(file: &Path, mark: &str, table: &str) {
    let (start, end) = (format!("<!-- {mark} -->\n"), format!("<!-- /{mark} -->"));
    let text = fs::read_to_string(file).unwrap();
    let (before, rest) = text.split_once(&start).unwrap_or_else(|| panic!("{}: no {start}", file.display()));
    let (written, after) = rest.split_once(&end).unwrap();
    if std::env::var_os("LOCKGATE_UPDATE").is_some() {
        fs::write(file, format!("{before}{start}{table}\n{end}{after}")).unwrap();
    } else {
        assert_eq!(written.trim(), table, "{}: run with LOCKGATE_UPDATE=1", file.display());
    }
}

#[test]
fn every_example_is_a_good_configuration() {
    for entry in fs::read_dir(Path::new(ROOT).join("configs")).unwrap().map(Result::unwrap) {
        let output = Command::new(LOCKGATE).args(["check", "--config"]).arg(entry.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_panic_of_a_plugin_is_caught_in_release_builds_too() {
    let manifest = fs::read_to_string(Path::new(ROOT).join("Cargo.toml")).unwrap();
    assert!(manifest.contains("panic = \"unwind\"") && !manifest.contains("panic = \"abort\""));
}
