//! The links of a lineage, for whoever knows their paths and not the storage.

use std::{fs, path::Path};

use super::Store;

impl Store {
    /// The storage, and the name of the lineage whose links these two are: `live/NAME/fullchain.pem` and `privkey.pem`. To read
    /// what they lead to one after the other is to be wrong while they are moved; [`load`](Self::load) is not.
    pub fn of_links(certificate: &Path, key: &Path) -> Option<(Self, String)> {
        let is_link = |path: &Path, file: &str| {
            let is_link = fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
            is_link && path.file_name().is_some_and(|name| name == file)
        };
        if !is_link(certificate, "fullchain.pem") || !is_link(key, "privkey.pem") {
            return None;
        }
        let lineage = certificate.parent().filter(|lineage| key.parent() == Some(*lineage))?;
        let live = lineage.parent().filter(|live| live.file_name().is_some_and(|name| name == "live"))?;
        Some((Self::at(live.parent()?), lineage.file_name()?.to_str()?.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_both_links_of_one_lineage_are_its_links() {
        let directory = test_support::scratch_dir().unwrap();
        let path = |text: &str| directory.path().join(text);
        for part in ["live/a", "live/b", "other/a"] {
            fs::create_dir_all(path(part)).unwrap();
            for link in ["fullchain.pem", "privkey.pem", "cert.pem"] {
                symlink("nowhere", path(part).join(link)).unwrap();
            }
        }
        let of = |certificate: &str, key: &str| Store::of_links(&path(certificate), &path(key));
        let (store, name) = of("live/a/fullchain.pem", "live/a/privkey.pem").unwrap();
        assert_eq!((store.root(), name.as_str()), (directory.path(), "a"));
        assert!(of("live/a/fullchain.pem", "live/b/privkey.pem").is_none());
        assert!(of("live/a/cert.pem", "live/a/privkey.pem").is_none());
        assert!(of("other/a/fullchain.pem", "other/a/privkey.pem").is_none());
        assert!(of("live/c/fullchain.pem", "live/c/privkey.pem").is_none());
        fs::remove_file(path("live/a/privkey.pem")).unwrap();
        fs::write(path("live/a/privkey.pem"), "a file").unwrap();
        assert!(of("live/a/fullchain.pem", "live/a/privkey.pem").is_none());
    }
}
