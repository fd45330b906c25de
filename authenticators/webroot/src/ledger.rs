//! What this process has created below webroots, and the order in which it creates and removes.
//!
//! Everything here blocks and belongs on a thread that may.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use authenticator_api::{Challenge, DomainName, Error, KeyAuthorization, Token};

use crate::{
    TARGET,
    directory::{Creation, Root},
    entry::{Entry, Part, Temporary},
    journal::{self, Abandoned, Journal},
};

/// What this process has created, in memory and in its journal.
#[derive(Debug)]
pub(crate) struct Ledger {
    state: PathBuf,
    /// While there is something to remember.
    journal: Option<Journal>,
    files: BTreeMap<(PathBuf, Token), Presented>,
    directories: Vec<(PathBuf, Part)>,
    /// Whether something could not be removed: then the journal outlives its use, for a later start.
    unsettled: bool,
}

#[derive(Debug)]
struct Presented {
    key_authorization: KeyAuthorization,
    /// Who wants it: the file goes when the last of them is cleaned up.
    domains: BTreeSet<DomainName>,
}

/// What an attempt to present came to.
enum Attempt {
    Done,
    /// The file exists with the right content, and is not ours.
    Foreign,
    /// Somebody else changed the directory at the same time.
    Disturbed,
}

impl Ledger {
    pub(crate) fn new(state: PathBuf) -> Self {
        Self { state, journal: None, files: BTreeMap::new(), directories: Vec::new(), unsettled: false }
    }

    /// Makes the file of `challenge` in the webroot `root`, or finds it there.
    pub(crate) fn present(&mut self, root: &Path, challenge: &Challenge) -> Result<(), Error> {
        let key = (root.to_path_buf(), challenge.token.clone());
        if self.files.get(&key).is_some_and(|present| present.key_authorization != challenge.key_authorization) {
            return Err(Error::Conflict { token: challenge.token.clone() });
        }
        let mut collected = false;
        for _ in 0..ATTEMPTS {
            match self.attempt(&key, challenge) {
                Ok(Attempt::Done) => return Ok(()),
                // A killed process may have left it: then it is collected now, and made again as ours.
                Ok(Attempt::Foreign) if !collected => {
                    collected = true;
                    self.collect();
                }
                Ok(Attempt::Foreign) => {
                    tracing::debug!(target: TARGET, token = %challenge.token, "another client has written the file");
                    self.tidy(root);
                    return Ok(());
                }
                Ok(Attempt::Disturbed) => {}
                Err(error) => {
                    self.tidy(root);
                    return Err(error);
                }
            }
        }
        self.tidy(root);
        let source = io::Error::other("its directory keeps being changed by another process");
        Err(Error::File { action: "create", path: file_path(root, &challenge.token), source })
    }

    fn attempt(&mut self, key: &(PathBuf, Token), challenge: &Challenge) -> Result<Attempt, Error> {
        let (root, token) = key;
        let directory = match Root::open(root)?.create_challenges(|part| self.announce(root, part)) {
            Ok(directory) => directory,
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(Attempt::Disturbed);
            }
            Err(error) => return Err(error),
        };
        if let Some(content) = directory.read(token.as_str())? {
            if !holds(&content, &challenge.key_authorization) {
                return Err(Error::Conflict { token: token.clone() });
            }
            return Ok(match self.files.get_mut(key) {
                Some(present) => {
                    present.domains.insert(challenge.domain.clone());
                    Attempt::Done
                }
                None => Attempt::Foreign,
            });
        }
        let temporary = Temporary::new(journal::random().map_err(|source| Error::File {
            action: "choose a name for",
            path: file_path(root, token),
            source,
        })?);
        let key_authorization = challenge.key_authorization.clone();
        self.record(&Entry::File {
            root: root.clone(),
            token: token.clone(),
            key_authorization: key_authorization.clone(),
            temporary: temporary.clone(),
        })?;
        let created = directory.create(token, &temporary, &key_authorization).inspect_err(|_| {
            // What a failure leaves that cannot be removed either is in the journal; so that has to stay.
            self.unsettled |= remove_file(root, token, Some(&temporary), &key_authorization).is_err();
        });
        match created? {
            Creation::Done => {
                let present = self.files.entry(key.clone());
                let present = present.or_insert(Presented { key_authorization, domains: BTreeSet::new() });
                present.domains.insert(challenge.domain.clone());
                Ok(Attempt::Done)
            }
            Creation::Exists | Creation::DirectoryGone => Ok(Attempt::Disturbed),
        }
    }

    /// Removes the file of `challenge`, if this process made it, and the directories that it made for it.
    pub(crate) fn cleanup(&mut self, root: &Path, challenge: &Challenge) -> Result<(), Error> {
        let key = (root.to_path_buf(), challenge.token.clone());
        let Some(present) = self.files.get_mut(&key) else { return Ok(()) };
        if present.key_authorization != challenge.key_authorization || !present.domains.contains(&challenge.domain) {
            return Ok(());
        }
        if present.domains.len() > 1 {
            present.domains.remove(&challenge.domain);
            return Ok(());
        }
        // When this fails, the record stays and the call may be repeated.
        remove_file(root, &challenge.token, None, &challenge.key_authorization)?;
        self.files.remove(&key);
        self.tidy(root);
        Ok(())
    }

    /// Removes what dead processes have left, as far as their journals name it and it is still as they made it.
    pub(crate) fn collect(&mut self) {
        for abandoned in journal::abandoned(&self.state) {
            match self.undo(&abandoned) {
                Ok(()) => abandoned.delete(),
                Err(error) => {
                    tracing::warn!(
                        target: TARGET,
                        error = &error as &dyn std::error::Error,
                        "cannot remove what a killed process left; the next start tries again"
                    );
                }
            }
        }
    }

    fn undo(&self, abandoned: &Abandoned) -> Result<(), Error> {
        for entry in abandoned.entries.iter().rev() {
            match entry {
                Entry::File { root, token, key_authorization, temporary } => {
                    // Made anew by us since then, or never made by the dead one.
                    if !self.files.contains_key(&(root.clone(), token.clone())) {
                        remove_file(root, token, Some(temporary), key_authorization)?;
                    }
                }
                Entry::Directory { root, part } => {
                    if !self.directories.contains(&(root.clone(), *part)) {
                        remove_directory(root, *part)?;
                    }
                }
            }
        }
        if !abandoned.entries.is_empty() {
            tracing::info!(target: TARGET, "removed what a killed process left");
        }
        Ok(())
    }

    fn announce(&mut self, root: &Path, part: Part) -> Result<(), Error> {
        self.record(&Entry::Directory { root: root.to_path_buf(), part })?;
        let directory = (root.to_path_buf(), part);
        if !self.directories.contains(&directory) {
            self.directories.push(directory);
        }
        Ok(())
    }

    fn record(&mut self, entry: &Entry) -> Result<(), Error> {
        let journal = match &mut self.journal {
            Some(journal) => journal,
            None => self.journal.insert(Journal::create(&self.state)?),
        };
        journal.append(entry)
    }

    /// Removes the directories made in `root` when none of our files needs them, and the journal when it has nothing more
    /// to say. A directory that somebody else uses by then is theirs.
    fn tidy(&mut self, root: &Path) {
        if !self.files.keys().any(|(used, _)| used == root) {
            for part in Part::UP {
                let directory = (root.to_path_buf(), part);
                let Some(index) = self.directories.iter().position(|made| *made == directory) else { continue };
                self.directories.swap_remove(index);
                if let Err(error) = remove_directory(root, part) {
                    self.unsettled = true;
                    tracing::warn!(
                        target: TARGET,
                        error = &error as &dyn std::error::Error,
                        "cannot remove a directory that was created for challenges"
                    );
                }
            }
        }
        if self.files.is_empty()
            && self.directories.is_empty()
            && let Some(journal) = self.journal.take()
            && !std::mem::take(&mut self.unsettled)
        {
            journal.delete();
        }
    }
}

/// The key authorization that a visitor finds in the first of `roots` that has one. What cannot be read is logged.
pub(crate) fn lookup(roots: &[PathBuf], token: &Token) -> Option<KeyAuthorization> {
    roots.iter().find_map(|root| {
        let read = || Root::open(root)?.challenges()?.map_or(Ok(None), |directory| directory.read(token.as_str()));
        let content = read().unwrap_or_else(|error| {
            tracing::warn!(target: TARGET, error = &error as &dyn std::error::Error, "cannot look for a token");
            None
        })?;
        let answer = std::str::from_utf8(&content).ok().and_then(|text| KeyAuthorization::parse(text).ok());
        if answer.is_none() {
            tracing::warn!(target: TARGET, path = %file_path(root, token).display(), "not a key authorization");
        }
        answer
    })
}

/// Removes the file of `token`, and a half-written one called `temporary`, as far as they hold what was written.
fn remove_file(
    root: &Path,
    token: &Token,
    temporary: Option<&Temporary>,
    key_authorization: &KeyAuthorization,
) -> Result<(), Error> {
    let Some(directory) = absent_is_none(Root::open(root).and_then(Root::challenges))?.flatten() else {
        return Ok(());
    };
    if let Some(temporary) = temporary {
        let whole = key_authorization.as_str().as_bytes();
        directory.remove(temporary.as_str(), |content| whole.starts_with(content))?;
    }
    directory.remove(token.as_str(), |content| content == key_authorization.as_str().as_bytes())
}

fn remove_directory(root: &Path, part: Part) -> Result<(), Error> {
    absent_is_none(Root::open(root).and_then(|root| root.remove(part))).map(drop)
}

/// Nothing of ours is where the webroot itself is gone, or where a link or file has taken the place of a directory.
fn absent_is_none<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::File { source, .. })
            if matches!(
                source.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidInput
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn holds(content: &[u8], key_authorization: &KeyAuthorization) -> bool {
    content.trim_ascii_end() == key_authorization.as_str().as_bytes()
}

fn file_path(root: &Path, token: &Token) -> PathBuf {
    Part::DOWN.iter().fold(root.to_path_buf(), |path, part| path.join(part.name())).join(token.as_str())
}

/// Others who create and remove the same directory at the same time can disturb this often.
const ATTEMPTS: usize = 16;
