//! Accounts and certificates on disk, in certbot's layout.

mod account;
mod deployment;
mod durable;
mod lineage;
mod links;
mod names;
mod order;
mod renewal;
mod unsaved;

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

pub use account::StoredAccount;
pub use lineage::Lineage;
pub(crate) use order::{KeptOrder, Terms};
pub use renewal::{Hooks, Renewal};
pub(crate) use unsaved::Certificate;
pub use unsaved::Unsaved;

use crate::issued::Issued;

/// A storage directory.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    unsaved: Unsaved,
}

/// Where a certificate was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The lineage.
    pub lineage: Lineage,
    /// The directory with the links, `live/NAME`.
    pub live: PathBuf,
}

/// Why storage does not do as asked.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}", path = path.display())]
pub struct StoreError {
    /// What was tried.
    pub action: &'static str,
    /// Where.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// The files of a version.
const KINDS: [&str; 4] = ["privkey", "cert", "chain", "fullchain"];

impl Store {
    /// Opens a directory, making it and its parts where they are missing, and tries whether it can be written: a
    /// certificate that was issued and cannot be saved counts against the authority's limits all the same.
    ///
    /// # Errors
    ///
    /// The directory cannot be made or written.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        // certbot takes the paths in `renewal` as they are, wherever it is started.
        let absolute = std::path::absolute(root);
        let root = &absolute.map_err(|source| StoreError { action: "find", path: root.to_owned(), source })?;
        let store = Self { root: root.clone(), unsaved: Unsaved::default() };
        durable::make_directory(root, 0o755)?;
        for (part, mode) in [("accounts", 0o700), ("archive", 0o700), ("live", 0o700), ("renewal", 0o755)] {
            durable::make_directory(&root.join(part), mode)?;
            durable::collect_orphans(&root.join(part));
        }
        store.try_out()?;
        let readme = root.join("live/README");
        if !readme.exists() {
            durable::write(&readme, LIVE_README.as_bytes(), 0o644)?;
        }
        Ok(store)
    }

    /// The same for whoever only reads: nothing is made or tried, and the directory need not exist.
    pub fn at(root: &Path) -> Self {
        let root = std::path::absolute(root).unwrap_or_else(|_| root.to_owned());
        Self { root, unsaved: Unsaved::default() }
    }

    /// Tries whether a certificate could be saved now.
    ///
    /// # Errors
    ///
    /// It could not.
    pub(crate) fn try_out(&self) -> Result<(), StoreError> {
        let trial = self.root.join("archive").join(".lockgate-trial");
        // As large as a certificate with its chain and key: a full disk takes small files for longer.
        let written = durable::write(&trial, &[b'\n'; 32 * 1024], 0o600);
        match fs::remove_file(&trial) {
            // Another process that opens the storage, without the lock like us, removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(|source| StoreError { action: "remove", path: trial, source })?,
        }
        written
    }

    /// The files of a lineage that programs read through links: whoever sees them change may load it again.
    pub fn live(&self, name: &str) -> PathBuf {
        self.root.join("live").join(name)
    }

    /// Chain and private key of a version, in PEM.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub fn pem(&self, lineage: &Lineage) -> Result<(Vec<u8>, Vec<u8>), StoreError> {
        let read = |kind: &str| {
            let path = self.root.join("archive").join(&lineage.name).join(format!("{kind}{}.pem", lineage.version));
            fs::read(&path).map_err(|source| StoreError { action: "read", path, source })
        };
        Ok((read("fullchain")?, read("privkey")?))
    }

    /// The directory, as an absolute path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where Lockgate keeps what is neither a certificate nor known to certbot.
    pub(crate) fn own_directory(&self) -> PathBuf {
        self.root.join("lockgate")
    }

    /// Replaces a file of Lockgate's own, making its directory where it is missing.
    pub(crate) fn write_own(&self, path: &Path, text: &[u8], mode: u32) -> Result<(), StoreError> {
        if let Some(directory) = path.parent() {
            durable::make_directory(directory, 0o755)?;
            durable::collect_orphans(directory);
        }
        durable::write(path, text, mode)
    }

    /// The version in use, as the links say; where they do not lead to one complete version, the newest that is complete.
    pub fn load(&self, name: &str) -> Option<Lineage> {
        let version = self.linked(name).into_iter().chain(self.versions(name).into_iter().rev());
        version.into_iter().find_map(|version| self.read(name, version))
    }

    fn write_version(&self, name: &str, issued: &Issued, key: &str, renewal: &Renewal) -> Result<Saved, StoreError> {
        let (archive, live) = (self.root.join("archive").join(name), self.root.join("live").join(name));
        durable::make_directory(&archive, 0o755)?;
        durable::make_directory(&live, 0o755)?;
        durable::collect(&archive);
        durable::collect(&live);
        let version = self.versions(name).last().map_or(1, |last| last + 1);
        let fullchain = format!("{}{}", issued.certificate, issued.chain);
        let (key_mode, key_group) = self.key_access(name);
        for kind in KINDS {
            let (text, mode, group) = match kind {
                "privkey" => (key, key_mode, key_group),
                "cert" => (issued.certificate.as_str(), 0o644, None),
                "chain" => (issued.chain.as_str(), 0o644, None),
                _ => (fullchain.as_str(), 0o644, None),
            };
            durable::put_for(&archive.join(format!("{kind}{version}.pem")), text.as_bytes(), mode, group)?;
        }
        // Whichever of them a crash before this leaves: less than all four are no version.
        durable::sync_names(&archive)?;
        let readme = live.join("README");
        if !readme.exists() {
            durable::write(&readme, LINEAGE_README.as_bytes(), 0o644)?;
        }
        self.configure(name, renewal)?;
        self.lead_to(name, version)?;
        Ok(Saved { lineage: Lineage::of(name, version, issued.clone()), live })
    }

    /// Mode and group of the next private key. An operator who let a group read the one in use, so that a mail server
    /// can, means the next one too; so does certbot.
    fn key_access(&self, name: &str) -> (u32, Option<u32>) {
        let in_use = fs::metadata(self.root.join("live").join(name).join("privkey.pem"));
        in_use.map_or((0o600, None), |key| (0o600 | (key.mode() & 0o074), Some(key.gid())))
    }

    /// Whether all links lead to this version, and there is a configuration. Else a run was killed that saved it.
    pub(crate) fn is_whole(&self, lineage: &Lineage) -> bool {
        self.is_configured(&lineage.name) && self.linked(&lineage.name) == Some(lineage.version)
    }

    fn is_configured(&self, name: &str) -> bool {
        self.conf(name).exists()
    }

    /// Finishes what a killed run began: lets the links lead to this version, and writes the configuration if there is none.
    pub(crate) fn mend(&self, lineage: &Lineage, renewal: &Renewal) -> Result<(), StoreError> {
        let name = &lineage.name;
        if !self.is_configured(name) {
            self.configure(name, renewal)?;
        }
        if self.linked(name) != Some(lineage.version) {
            durable::make_directory(&self.root.join("live").join(name), 0o755)?;
            self.lead_to(name, lineage.version)?;
        }
        Ok(())
    }

    /// Removes everything that there is of a lineage: its certificates and keys, how it was obtained, and what is remembered.
    /// What a run that was killed leaves is found and removed by the next.
    ///
    /// # Errors
    ///
    /// Something cannot be removed.
    pub fn delete(&self, name: &str) -> Result<(), StoreError> {
        if !Self::is_name(name) {
            let source = io::ErrorKind::InvalidInput.into();
            return Err(StoreError { action: "delete", path: name.into(), source });
        }
        let own = self.own_directory();
        // Last what a lineage is found by.
        let all = [
            self.live(name),
            own.join("orders").join(name),
            own.join(format!("{name}.json")),
            self.deployment_file(name),
            self.conf(name),
            self.root.join("archive").join(name),
        ];
        for path in all {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            match removed {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.map_err(|source| StoreError { action: "remove", path, source })?,
            }
        }
        Ok(())
    }

    /// The directory URL of the authority that a lineage is from, as far as its configuration tells.
    pub fn server(&self, name: &str) -> Option<String> {
        Some(self.renewal(name)?.server).filter(|server| !server.is_empty())
    }

    /// How a lineage was obtained, as far as its configuration tells.
    pub fn renewal(&self, name: &str) -> Option<Renewal> {
        Some(Renewal::read(&fs::read_to_string(self.conf(name)).ok()?))
    }

    /// The same, with the text of the configuration.
    pub fn configuration(&self, name: &str) -> Option<(String, Renewal)> {
        let text = fs::read_to_string(self.conf(name)).ok()?;
        let renewal = Renewal::read(&text);
        Some((text, renewal))
    }

    /// What the account is called that a lineage was obtained with.
    pub(crate) fn account_of(&self, name: &str) -> Option<String> {
        self.renewal(name)?.account
    }

    /// The file that says how a lineage was obtained.
    fn conf(&self, name: &str) -> PathBuf {
        self.root.join("renewal").join(format!("{name}.conf"))
    }

    /// Writes how a lineage was obtained. What is not said stays as it is.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn configure(&self, name: &str, renewal: &Renewal) -> Result<(), StoreError> {
        let conf = self.conf(name);
        let old = match fs::read_to_string(&conf) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            // To write it anew would lose what others keep there.
            read => read.map_err(|source| StoreError { action: "read", path: conf.clone(), source })?,
        };
        let new = renewal.written_into(&old, &self.root, name);
        // A write that lasts takes long on some disks, and a renewal has nothing new to say.
        if new == old { Ok(()) } else { durable::write(&conf, new.as_bytes(), 0o644) }
    }

    fn lead_to(&self, name: &str, version: u32) -> Result<(), StoreError> {
        let live = self.root.join("live").join(name);
        for kind in KINDS {
            let target = PathBuf::from(format!("../../archive/{name}/{kind}{version}.pem"));
            durable::link(&live.join(format!("{kind}.pem")), &target)?;
        }
        // By these a certbot that was killed finds back to the version before it: from here on to one that is past.
        for kind in KINDS {
            let _ = fs::remove_file(live.join(format!("previous_{kind}.pem")));
        }
        // While they disagree, the newest version that is complete is the one: this one.
        durable::sync_names(&live)
    }

    /// The version that all four links lead to.
    fn linked(&self, name: &str) -> Option<u32> {
        let live = self.root.join("live").join(name);
        let mut versions = KINDS.into_iter().map(|kind| {
            let target = fs::read_link(live.join(format!("{kind}.pem"))).ok()?;
            number_of(target.file_name()?.to_str()?, kind)
        });
        let first = versions.next()??;
        versions.all(|version| version == Some(first)).then_some(first)
    }

    /// The numbers of all versions of which there is any file, in order.
    fn versions(&self, name: &str) -> Vec<u32> {
        let files = fs::read_dir(self.root.join("archive").join(name)).into_iter().flatten().flatten();
        let number = |entry: fs::DirEntry| {
            let file = entry.file_name();
            KINDS.into_iter().find_map(|kind| number_of(file.to_str()?, kind))
        };
        let mut versions: Vec<u32> = files.filter_map(number).collect();
        versions.sort_unstable();
        versions.dedup();
        versions
    }

    /// A version, when it is complete and its key fits.
    fn read(&self, name: &str, version: u32) -> Option<Lineage> {
        let file = |kind: &str| {
            fs::read_to_string(self.root.join("archive").join(name).join(format!("{kind}{version}.pem"))).ok()
        };
        let issued = Issued::read(&file("fullchain")?, &file("privkey")?).ok()?;
        if file("cert")?.trim() != issued.certificate.trim() || file("chain")?.trim() != issued.chain.trim() {
            return None;
        }
        Some(Lineage::of(name, version, issued))
    }
}

fn number_of(file: &str, kind: &str) -> Option<u32> {
    file.strip_prefix(kind)?.strip_suffix(".pem")?.parse().ok()
}

const LIVE_README: &str = "\
Each directory here belongs to one certificate and holds links to its newest version.\n\
Programs should read the files through these links. Do not move or rename anything:\n\
Lockgate and certbot find certificates by these names.\n";

const LINEAGE_README: &str = "\
privkey.pem    the private key; keep it secret\n\
fullchain.pem  the certificate and what leads to its root; most servers want this one\n\
cert.pem       the certificate alone\n\
chain.pem      what leads from the certificate to its root\n\n\
These are links. Lockgate lets them lead to a new version after each renewal.\n";

#[cfg(test)]
mod tests;
