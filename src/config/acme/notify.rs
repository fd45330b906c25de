//! The command that is told what became of certificates.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use plugin_api::config::{Problem, Problems, Spans};

/// The command with its program as an absolute path: a daemon has another working directory, and maybe another `PATH`.
pub(super) fn build(command: Vec<String>, spans: &Spans, problems: &mut Problems) -> Option<Vec<String>> {
    let Some((program, arguments)) = command.split_first().filter(|(program, _)| !program.is_empty()) else {
        let problem = Problem::new(spans.of("notify"), "there is no program in this command");
        problems.push(problem.with_hint("write `notify = [\"/usr/local/bin/notify\", \"an argument\"]`"));
        return None;
    };
    let Some(found) = find(program) else {
        let hint = match program.split_once(' ') {
            Some((first, _)) => format!("no shell reads this: write the arguments apart, [\"{first}\", …]"),
            None => "write the path of a file that can be executed".to_owned(),
        };
        let problem = Problem::new(spans.of_index("notify", 0), format!("there is no program `{program}`"));
        problems.push(problem.with_hint(hint));
        return None;
    };
    // A working directory that is no text is left to whoever is in it.
    let mut absolute = vec![found.into_os_string().into_string().unwrap_or_else(|_found| program.clone())];
    absolute.extend_from_slice(arguments);
    Some(absolute)
}

/// Looks a program up as a shell does.
fn find(program: &str) -> Option<PathBuf> {
    let candidates = if program.contains('/') {
        vec![PathBuf::from(program)]
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|directory| directory.join(program)).collect()
    };
    candidates.into_iter().filter(|path| is_program(path)).find_map(|path| std::path::absolute(path).ok())
}

/// Whether there is a file that somebody may execute.
fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
