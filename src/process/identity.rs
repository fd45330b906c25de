//! Whom the process runs as once it needs root no more.
//!
//! Identities belong to threads in Linux. The C library changes all of them in one call; that it did is checked, because
//! one thread that stayed root is all that an attacker needs.

use std::{fs, io};

use nix::{
    errno::Errno,
    unistd::{Gid, Group, Uid, User, geteuid, setgid, setgroups, setuid},
};

/// An identity to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// `None` stays root, with another group.
    user: Option<Uid>,
    group: Gid,
    name: String,
}

/// To whom files belong that this identity must be able to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) user: u32,
    pub(super) group: u32,
}

/// Why an identity cannot be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("there is no user `{0}`")]
    NoUser(String),
    #[error("there is no group `{0}`")]
    NoGroup(String),
    #[error("cannot look up `{name}`")]
    LookUp { name: String, source: Errno },
    #[error("cannot become {name}")]
    Denied { name: String, source: Errno },
    #[error("cannot see whether every thread has become {name}")]
    Unseen { name: String, source: io::Error },
    #[error("root could be had back after becoming {name}")]
    Kept { name: String },
}

impl IdentityError {
    /// Whether the name is at fault, and not the system.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self, Self::NoUser(_) | Self::NoGroup(_) | Self::LookUp { .. })
    }
}

impl Identity {
    /// The identity with this user and group, names or numbers. `None` if there is nothing to become: nothing was asked for,
    /// or we are not root.
    pub(super) fn resolve(user: Option<&str>, group: Option<&str>) -> Result<Option<Self>, IdentityError> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let user = user.map(find_user).transpose()?;
        let group = group.map(find_group).transpose()?;
        let name = match (&user, &group) {
            (Some(user), _) => user.name.clone(),
            (None, Some(group)) => format!("group {group}"),
            (None, None) => return Ok(None),
        };
        // A number that no user has needs a group that owns nothing.
        let own = user.as_ref().map_or(NOBODY, |user| user.group.unwrap_or(NOBODY));
        Ok(Some(Self { user: user.map(|user| user.id), group: group.unwrap_or(own), name }))
    }

    pub(super) fn owner(&self) -> Owner {
        Owner { user: self.user.map_or(0, Uid::as_raw), group: self.group.as_raw() }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Gives up everything else: for good, and in every thread.
    pub(super) fn assume(&self) -> Result<(), IdentityError> {
        let denied = |source| IdentityError::Denied { name: self.name.clone(), source };
        setgroups(&[]).map_err(denied)?;
        setgid(self.group).map_err(denied)?;
        if let Some(user) = self.user {
            setuid(user).map_err(denied)?;
        }
        self.verify()
    }

    fn verify(&self) -> Result<(), IdentityError> {
        let unseen = |source| IdentityError::Unseen { name: self.name.clone(), source };
        for thread in fs::read_dir("/proc/self/task").map_err(unseen)? {
            let status = match fs::read_to_string(thread.map_err(unseen)?.path().join("status")) {
                Ok(status) => status,
                // It ended since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound || is_no_process(&error) => continue,
                Err(error) => return Err(unseen(error)),
            };
            if !self.is_all_of(&status) {
                return Err(IdentityError::Kept { name: self.name.clone() });
            }
        }
        let regained = self.user.is_some_and(|user| !user.is_root() && setuid(Uid::from_raw(0)).is_ok());
        if regained { Err(IdentityError::Kept { name: self.name.clone() }) } else { Ok(()) }
    }

    /// Whether a thread with this status (proc_pid_status(5)) is nothing but this.
    fn is_all_of(&self, status: &str) -> bool {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(|line| line.split_whitespace().collect::<Vec<_>>())
        };
        // Real, effective, saved, and that for files.
        let all_four = |name, id: u32| field(name).is_some_and(|ids| ids == [&*id.to_string(); 4]);
        all_four("Uid", self.user.map_or(0, Uid::as_raw))
            && all_four("Gid", self.group.as_raw())
            && field("Groups").is_some_and(|groups| groups.is_empty())
    }
}

/// The number of a user, by name or number.
pub(crate) fn user_id(name: &str) -> Result<u32, IdentityError> {
    find_user(name).map(|user| user.id.as_raw())
}

/// The number of a group, by name or number.
pub(crate) fn group_id(name: &str) -> Result<u32, IdentityError> {
    find_group(name).map(Gid::as_raw)
}

struct Account {
    id: Uid,
    group: Option<Gid>,
    name: String,
}

fn find_user(name: &str) -> Result<Account, IdentityError> {
    let failed = |source| IdentityError::LookUp { name: name.to_owned(), source };
    let number = name.parse().ok().filter(|number| *number != NO_ID).map(Uid::from_raw);
    let found = match number {
        Some(number) => User::from_uid(number).map_err(failed)?,
        None => User::from_name(name).map_err(failed)?,
    };
    match (found, number) {
        (Some(found), _) => Ok(Account { id: found.uid, group: Some(found.gid), name: found.name }),
        (None, Some(id)) => Ok(Account { id, group: None, name: name.to_owned() }),
        (None, None) => Err(IdentityError::NoUser(name.to_owned())),
    }
}

fn find_group(name: &str) -> Result<Gid, IdentityError> {
    if let Some(number) = name.parse().ok().filter(|number| *number != NO_ID) {
        return Ok(Gid::from_raw(number));
    }
    let found = Group::from_name(name).map_err(|source| IdentityError::LookUp { name: name.to_owned(), source })?;
    found.map(|group| group.gid).ok_or_else(|| IdentityError::NoGroup(name.to_owned()))
}

/// `ESRCH`: the thread ended between opening its status and reading it.
fn is_no_process(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ESRCH as i32)
}

/// The group that owns no files (nogroup, nobody), the same number everywhere.
const NOBODY: Gid = Gid::from_raw(65534);
/// `(uid_t) -1`, which system calls take for "leave it".
const NO_ID: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_another_only_with_all_its_ids() {
        let identity = Identity { user: Some(Uid::from_raw(33)), group: Gid::from_raw(34), name: "x".into() };
        let status = "Name:\tx\nUid:\t33\t33\t33\t33\nGid:\t34\t34\t34\t34\nGroups:\t \nNStgid:\t1\n";
        assert!(identity.is_all_of(status));
        for (from, to) in [
            ("33\t33\nGid", "33\t0\nGid"),
            ("Uid:\t33", "Uid:\t0"),
            ("34\t34\nGroups", "0\t34\nGroups"),
            ("Groups:\t ", "Groups:\t4 24 "),
            ("Groups:\t \n", ""),
        ] {
            let worse = status.replacen(from, to, 1);
            assert!(worse != status && !identity.is_all_of(&worse), "{worse}");
        }
    }

    #[test]
    fn names_and_numbers_are_found() {
        assert!(geteuid().is_root(), "these tests need root");
        let resolve = |user, group| Identity::resolve(user, group);
        let nobody = resolve(Some("nobody"), None).unwrap().unwrap();
        assert_eq!(nobody.owner(), Owner { user: 65534, group: 65534 });
        assert_eq!(resolve(Some("65534"), None).unwrap().unwrap(), nobody);
        let number = resolve(Some("12345"), Some("54321")).unwrap().unwrap();
        assert_eq!(number.owner(), Owner { user: 12345, group: 54321 });
        assert_eq!(resolve(Some("12345"), None).unwrap().unwrap().owner(), Owner { user: 12345, group: 65534 });
        assert_eq!(resolve(None, Some("daemon")).unwrap().unwrap().owner(), Owner { user: 0, group: 1 });
        assert_eq!(resolve(None, None).unwrap(), None);
        assert!(matches!(resolve(Some("no-such-user"), None), Err(IdentityError::NoUser(_))));
        assert!(matches!(resolve(Some("4294967295"), None), Err(IdentityError::NoUser(_))));
        assert!(matches!(resolve(None, Some("no-such-group")), Err(IdentityError::NoGroup(_))));
    }
}
