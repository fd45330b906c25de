//! What lineages are called.

use std::fs;

use super::Store;
use crate::issued::Names;

impl Store {
    /// Whether a lineage can be called so: it becomes part of paths.
    pub fn is_name(text: &str) -> bool {
        !text.is_empty() && !text.starts_with('.') && !text.contains(['/', '\0', '\n']) && text != "README"
    }

    /// The names of all lineages of which there is anything, in order.
    pub fn names(&self) -> Vec<String> {
        let listed = |part| fs::read_dir(self.root.join(part)).into_iter().flatten().flatten();
        let configured = |entry: fs::DirEntry| Some(entry.file_name().to_str()?.strip_suffix(".conf")?.to_owned());
        let archived = |entry: fs::DirEntry| {
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            is_directory.then(|| entry.file_name().to_str().map(str::to_owned)).flatten()
        };
        // A run that was killed may have written the files and not yet the configuration.
        let mut existing: Vec<String> = listed("renewal").filter_map(configured).collect();
        existing.extend(listed("archive").filter_map(archived));
        existing.retain(|name| Self::is_name(name));
        existing.sort();
        existing.dedup();
        existing
    }

    /// The name for a certificate with these names: that of the lineage with exactly these, else the first name, with a
    /// number when a lineage with other names has it.
    pub fn name_for(&self, first: &str, names: &Names) -> String {
        let existing = self.names();
        if let Some(same) = existing.iter().find(|name| self.load(name).is_some_and(|lineage| lineage.is_for(names))) {
            return same.clone();
        }
        // Files of which none make a certificate are nobody's.
        let is_taken = |name: &str| self.load(name).is_some() || self.is_configured(name);
        let mut candidate = first.to_owned();
        let mut number = 0;
        while is_taken(&candidate) {
            number += 1;
            candidate = format!("{first}-{number:04}");
        }
        candidate
    }

    /// The same for a certificate that may have only some of these names: that of the lineage with exactly these, else the one
    /// called after the first name, when it has no other names than these; else a new name.
    pub fn name_for_some(&self, first: &str, names: &Names) -> String {
        let named = self.name_for(first, names);
        if self.load(&named).is_some_and(|lineage| lineage.is_for(names)) {
            return named;
        }
        // It ends at the new name, which is of this form.
        let names_like_it = std::iter::once(first.to_owned()).chain((1..).map(|number| format!("{first}-{number:04}")));
        names_like_it
            .take_while(|name| *name != named)
            .find(|name| self.load(name).is_some_and(|lineage| lineage.is_part_of(names)))
            .unwrap_or(named)
    }
}
