//! Writes that survive a crash: what has a name is complete and on disk.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown, symlink},
    path::{Path, PathBuf},
};

use super::StoreError;

/// Makes a directory with this mode when it is missing; its parents must exist, but for the storage directory itself.
pub(super) fn make_directory(path: &Path, mode: u32) -> Result<(), StoreError> {
    let failed = |source| StoreError { action: "make the directory", path: path.to_owned(), source };
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.exists()) {
        make_directory(parent, 0o755)?;
    }
    match fs::DirBuilder::new().mode(mode).create(path) {
        // Another process was quicker, which sets the mode too.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        made => made.map_err(failed)?,
    }
    // Whatever the umask says.
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
    sync_directory_of(path)
}

/// Replaces a file. It never exists with less than its whole contents, nor readable for others before its mode is set.
pub(super) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    put_for(path, bytes, mode, None)?;
    sync_directory_of(path)
}

/// The same, with another group than ours, and without a name that lasts: [`sync_names`] makes it last. Where the group cannot
/// be given, nobody but the owner gets what the mode grants.
pub(super) fn put_for(path: &Path, bytes: &[u8], mode: u32, group: Option<u32>) -> Result<(), StoreError> {
    let failed = |source| StoreError { action: "write", path: path.to_owned(), source };
    let draft = draft_of(path);
    let written = (|| {
        remove_draft(&draft)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode & 0o700).open(&draft)?;
        let given = group.is_none_or(|group| fchown(&file, None, Some(group)).is_ok());
        let mode = if given { mode } else { mode & 0o700 };
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    })();
    if let Err(error) = written {
        let _ = fs::remove_file(&draft);
        return Err(failed(error));
    }
    Ok(())
}

/// Lets a link lead elsewhere, in one step, which [`sync_names`] makes last.
pub(super) fn link(path: &Path, target: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError { action: "link", path: path.to_owned(), source };
    let draft = draft_of(path);
    let linked = remove_draft(&draft).and_then(|()| symlink(target, &draft)).and_then(|()| fs::rename(&draft, path));
    if let Err(error) = linked {
        let _ = fs::remove_file(&draft);
        return Err(failed(error));
    }
    Ok(())
}

/// Removes every draft. The caller holds the lock, so nobody is writing one.
pub(super) fn collect(directory: &Path) {
    collect_if(directory, |_| true);
}

/// Removes drafts of processes that are no more, without the lock.
pub(super) fn collect_orphans(directory: &Path) {
    collect_if(directory, |process| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        // proc(5): the state follows the name, which ends at the last parenthesis. A zombie writes nothing.
        stat.rsplit(')').next().is_none_or(|rest| rest.is_empty() || rest.trim_start().starts_with('Z'))
    });
}

fn collect_if(directory: &Path, is_orphan: impl Fn(u32) -> bool) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(DRAFT)?.split('-').next()?.parse().ok());
        if process.is_some_and(&is_orphan) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A killed run may have left a draft and had our process id: in a container every run has the same.
fn remove_draft(draft: &Path) -> io::Result<()> {
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn draft_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{DRAFT}{}-{name}", std::process::id()))
}

fn sync_directory_of(path: &Path) -> Result<(), StoreError> {
    sync_names(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
}

/// The names in a directory are on disk when it is.
pub(super) fn sync_names(directory: &Path) -> Result<(), StoreError> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    // Some file systems have no such thing for directories (fsync(2), EINVAL).
    match synced {
        Err(error) if error.kind() != io::ErrorKind::InvalidInput => {
            Err(StoreError { action: "sync", path: directory.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

const DRAFT: &str = ".lockgate-draft-";
