//! Names that only one namespace knows.

use std::{
    fmt::Write as _,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Once,
};

use crate::{Namespace, scratch::is_leftover};

/// The `/etc/hosts` of a namespace, for programs that are started there while this lives (see ip-netns(8)).
#[derive(Debug)]
pub struct HostsFile(PathBuf);

impl HostsFile {
    /// Gives the namespace these names, and no name server.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(namespace: &Namespace, names: &[(&str, IpAddr)]) -> io::Result<Self> {
        static COLLECTED: Once = Once::new();
        COLLECTED.call_once(collect);
        let this = Self(Path::new(DIRECTORY).join(namespace.name()));
        fs::create_dir_all(&this.0)?;
        let mut text = "127.0.0.1 localhost\n::1 localhost\n".to_owned();
        for (name, ip) in names {
            let _ = writeln!(text, "{ip} {name}");
        }
        fs::write(this.0.join("hosts"), text)?;
        // The machine's own name servers cannot be reached from there; nobody shall wait for them.
        fs::write(this.0.join("resolv.conf"), "nameserver 127.0.0.1\noptions timeout:5 attempts:1\n")?;
        Ok(this)
    }
}

impl Drop for HostsFile {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Removes what killed runs left behind.
fn collect() {
    for entry in fs::read_dir(DIRECTORY).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_leftover) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

const DIRECTORY: &str = "/etc/netns";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Network;

    #[test]
    fn a_name_is_known_in_its_namespace_only() {
        let network = Network::new(["knows", "knowsnot"]).unwrap();
        let [knows, not] = network.hosts();
        let hosts = HostsFile::new(knows, &[("site.example", knows.ipv4().into())]).unwrap();
        let resolve = |namespace: &Namespace| {
            namespace.command("getent").args(["hosts", "site.example"]).output().unwrap().status.success()
        };
        assert!(resolve(knows) && !resolve(not));
        let directory = hosts.0.clone();
        drop(hosts);
        assert!(!directory.exists());
    }
}
