//! Temporary directories that a later run removes when this one was killed.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process;
use std::sync::Once;

use tempfile::TempDir;

/// A new directory (mode 0755, so that a server may drop its privileges), removed when dropped.
///
/// The first call of a process also removes the directories of runs that are no more.
///
/// # Errors
/// What the system says.
pub fn scratch_dir() -> io::Result<TempDir> {
    static COLLECTED: Once = Once::new();
    COLLECTED.call_once(|| collect(&std::env::temp_dir()));
    let directory = tempfile::Builder::new().prefix(&format!("lg-{}-", process::id())).tempdir()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    Ok(directory)
}

/// The run that a `lg-<pid>-…` name belongs to has ended.
pub(crate) fn is_leftover(name: &str) -> bool {
    let pid = name.strip_prefix("lg-").and_then(|rest| rest.split_once('-')).map(|(pid, _)| pid);
    pid.and_then(|pid| pid.parse::<u32>().ok()).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
}

fn collect(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_leftover) {
            // Another run may be collecting the same one.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_of_dead_runs_are_collected() {
        let parent = scratch_dir().unwrap();
        // Pids end at 2^22.
        let (dead, alive, foreign) = ("lg-4194305-x", format!("lg-{}-x", process::id()), "lg-notes");
        for name in [dead, &alive, foreign] {
            fs::create_dir(parent.path().join(name)).unwrap();
        }
        collect(parent.path());
        assert!(!parent.path().join(dead).exists());
        assert!(parent.path().join(alive).exists());
        assert!(parent.path().join(foreign).exists());
    }
}
