//! `cli.ini`: options that certbot reads from files before those of its command line.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The arguments with those of files before them, which they override.
pub(super) fn before(given: &[OsString]) -> Result<Vec<OsString>, String> {
    let named: Vec<PathBuf> = named(given);
    let mut all = Vec::new();
    for (path, is_named) in
        usual(given).into_iter().map(|path| (path, false)).chain(named.into_iter().map(|path| (path, true)))
    {
        match std::fs::read_to_string(&path) {
            // Of what is said twice the command line counts, also where values could be added.
            Ok(text) => all.extend(options(&text, &path)?.into_iter().filter(|option| !is_said(given, option))),
            Err(error) if is_named => return Err(format!("cannot read {}: {error}", path.display())),
            Err(_) => {}
        }
    }
    all.extend(given.iter().cloned());
    Ok(all)
}

/// Whether the command line has this option, in whichever of its spellings.
fn is_said(given: &[OsString], option: &OsString) -> bool {
    let name_of = |argument: &OsString| argument.to_string_lossy().split('=').next().unwrap_or_default().to_owned();
    let name = name_of(option);
    let short = match name.as_str() {
        "--domain" | "--domains" => Some("-d"),
        "--webroot-path" => Some("-w"),
        _ => None,
    };
    let others: &[&str] = if short == Some("-d") { &["--domain", "--domains"] } else { &[] };
    given.iter().map(name_of).any(|said| {
        said == name || others.contains(&said.as_str()) || short.is_some_and(|short| said.starts_with(short))
    })
}

/// Where certbot looks, and the storage that is given.
fn usual(given: &[OsString]) -> Vec<PathBuf> {
    let home = env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".config")));
    let storage = after(given, &["--config-dir"]).pop().unwrap_or_else(|| PathBuf::from("/etc/letsencrypt"));
    let mut all = vec![storage.join("cli.ini")];
    all.extend(home.map(|home| home.join("letsencrypt/cli.ini")));
    all
}

fn named(given: &[OsString]) -> Vec<PathBuf> {
    after(given, &["-c", "--config"])
}

/// The values of an option.
fn after(given: &[OsString], names: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for (index, argument) in given.iter().enumerate() {
        let Some(text) = argument.to_str() else { continue };
        if names.contains(&text) {
            found.extend(given.get(index + 1).map(PathBuf::from));
        } else if let Some((name, value)) = text.split_once('=')
            && names.contains(&name)
        {
            found.push(PathBuf::from(value));
        }
    }
    found
}

/// Lines of `key = value`; a flag has `true`, and `false` where it is not meant.
fn options(text: &str, path: &Path) -> Result<Vec<OsString>, String> {
    let mut all = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';', '[']) {
            continue;
        }
        let (key, value) =
            line.split_once(['=', ':']).map_or((line, "true"), |(key, value)| (key.trim(), value.trim()));
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(format!("{}:{}: this is no option", path.display(), number + 1));
        }
        let is_quoted = |quote: char| value.len() > 1 && value.starts_with(quote) && value.ends_with(quote);
        let value =
            if is_quoted('"') || is_quoted('\'') { value.get(1..value.len() - 1).unwrap_or_default() } else { value };
        let option = format!("--{}", key.trim_start_matches('-').replace('_', "-"));
        match value.to_ascii_lowercase().as_str() {
            "true" | "yes" => all.push(option.into()),
            "false" | "no" => {}
            _ => all.push(format!("{option}={value}").into()),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_options() {
        let text = "pre-hook = \"systemctl stop nginx\"\n# Debian's\nmax-log-backups = 0\npreconfigured-renewal = True\n\nagree_tos=true\ntext = false\nemail: a@b.example\n";
        let all = options(text, Path::new("cli.ini")).unwrap();
        assert_eq!(
            all,
            [
                "--pre-hook=systemctl stop nginx",
                "--max-log-backups=0",
                "--preconfigured-renewal",
                "--agree-tos",
                "--email=a@b.example"
            ]
            .map(OsString::from)
        );
        assert_eq!(options("x\ntwo words = 1\n", Path::new("f")).unwrap_err(), "f:2: this is no option");
    }

    #[test]
    fn the_command_line_comes_last() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("cli.ini"), "email = one@a.example\n").unwrap();
        let other = directory.path().join("other.ini");
        std::fs::write(&other, "email = two@a.example\n").unwrap();
        let given: Vec<OsString> =
            ["renew", "--config-dir", directory.path().to_str().unwrap(), "-c", other.to_str().unwrap(), "-q"]
                .map(OsString::from)
                .to_vec();
        let all = before(&given).unwrap();
        let at = |text: &str| all.iter().position(|argument| argument == text).unwrap();
        assert!(at("--email=one@a.example") < at("--email=two@a.example") && at("--email=two@a.example") < at("renew"));
        assert!(before(&["-c".into(), "/no/such/file".into()]).unwrap_err().contains("/no/such/file"));
    }
}
