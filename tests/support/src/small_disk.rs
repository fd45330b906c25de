//! A disk that can be full, or read-only.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::Once,
};

use tempfile::TempDir;

use crate::{StartError, scratch::is_leftover, scratch_dir};

/// A small file system of its own, in memory. Dropping it takes it away, whoever still uses it.
#[derive(Debug)]
pub struct SmallDisk(TempDir);

impl SmallDisk {
    /// One of so many KiB.
    ///
    /// # Errors
    /// It cannot be mounted, for which one has to be root.
    pub fn new(kib: u32) -> Result<Self, StartError> {
        static COLLECTED: Once = Once::new();
        COLLECTED.call_once(collect);
        let directory = scratch_dir().map_err(StartError::prepare("a directory"))?;
        let options = format!("size={kib}k,mode=755");
        let mounted = run("mount", &["-t", "tmpfs", "-o", &options, "tmpfs"], directory.path());
        mounted.map_err(StartError::prepare("a disk"))?;
        Ok(Self(directory))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves no room on it.
    ///
    /// # Errors
    /// What the system says, but that there is no room.
    pub fn fill(&self) -> io::Result<()> {
        let mut file = fs::File::create(self.filler())?;
        match io::copy(&mut io::repeat(b'\n'), &mut file) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
            filled => filled.map(drop),
        }
    }

    /// Takes back what [`Self::fill`] has done.
    ///
    /// # Errors
    /// What the system says.
    pub fn free(&self) -> io::Result<()> {
        fs::remove_file(self.filler())
    }

    /// Lets nobody write to it, or everybody. Nobody may be writing.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_read_only(&self, is_read_only: bool) -> io::Result<()> {
        run("mount", &["-o", if is_read_only { "remount,ro" } else { "remount,rw" }], self.path())
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = run("umount", &["--lazy"], self.path());
    }
}

/// Takes away what killed runs left behind; their directories go with all others.
fn collect() {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let places = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    for place in places.filter(|place| place.file_name().and_then(|name| name.to_str()).is_some_and(is_leftover)) {
        let _ = run("umount", &["--lazy"], place);
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) -> io::Result<()> {
    let output = Command::new(program).args(arguments).arg(path).output()?;
    let told = || io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned());
    if output.status.success() { Ok(()) } else { Err(told()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_full_read_only_and_gone() {
        let disk = SmallDisk::new(64).unwrap();
        let (file, path) = (disk.path().join("file"), disk.path().to_owned());
        let write = || fs::write(&file, [0; 8192]).map_err(|error| error.kind());
        write().unwrap();
        disk.fill().unwrap();
        assert_eq!(fs::write(disk.path().join("other"), [0; 8192]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        disk.free().unwrap();
        write().unwrap();
        disk.set_read_only(true).unwrap();
        assert_eq!(write(), Err(io::ErrorKind::ReadOnlyFilesystem));
        disk.set_read_only(false).unwrap();
        write().unwrap();
        drop(disk);
        assert!(!path.exists());
    }
}
