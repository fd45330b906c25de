//! Who may pass: passwords, hashes of passwords, and which of these were checked already.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use plugin_api::PluginError;
use ring::{
    hmac::{HMAC_SHA256, Key, sign},
    rand::SystemRandom,
};
use subtle::{Choice, ConstantTimeEq as _};
use tokio::sync::Semaphore;

use crate::{
    User,
    credentials::Credentials,
    htpasswd::{Hash, Users},
};

/// All who may pass. Names and passwords are not kept: only what a key of this process makes of both.
pub(crate) struct Accounts {
    key: Key,
    plain: Vec<Tag>,
    hashed: Users,
    checked: Mutex<HashMap<Tag, Instant>>,
    remember: Duration,
    slots: Arc<Semaphore>,
}

/// What the key makes of a name and a password.
type Tag = [u8; 32];

/// What is known about a name and a password at once.
pub(crate) enum Check {
    Accepted,
    Refused,
    /// A hash must be checked, which takes a while.
    Open(Test),
}

/// A hash to be checked.
pub(crate) struct Test {
    tag: Tag,
    hash: Arc<Hash>,
    /// Whether the hash is that of the user; that of somebody else is checked so that nobody learns which names there are.
    is_of_user: bool,
}

/// There are no random numbers.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the system has no random numbers")]
pub(crate) struct NoRandomness;

impl Accounts {
    pub(crate) fn new(
        users: &[User],
        hashed: Users,
        remember: Duration,
        slots: Arc<Semaphore>,
    ) -> Result<Self, NoRandomness> {
        let key = Key::generate(HMAC_SHA256, &SystemRandom::new()).map_err(|_unspecified| NoRandomness)?;
        let texts = users.iter().map(|user| format!("{}:{}", user.name, user.password.0));
        let plain = texts.flat_map(|text| encodings(&text)).map(|bytes| tag(&key, &bytes)).collect();
        Ok(Self { key, plain, hashed, checked: Mutex::default(), remember, slots })
    }

    /// What can be said at once.
    pub(crate) fn check(&self, credentials: &Credentials) -> Check {
        let tag = tag(&self.key, credentials.as_bytes());
        // All of them are looked at, whichever is found.
        let is_plain = self.plain.iter().fold(Choice::from(0), |found, known| found | known.ct_eq(&tag));
        if is_plain.into() || self.was_checked(&tag) {
            return Check::Accepted;
        }
        let hash = self.hashed.get(&*credentials.user());
        match hash.or_else(|| self.hashed.values().next()) {
            Some(any) => Check::Open(Test { tag, hash: Arc::clone(any), is_of_user: hash.is_some() }),
            None => Check::Refused,
        }
    }

    /// Checks a hash on a thread for blocking calls. So many at once as there are processors: more would only take longer.
    pub(crate) async fn pass(&self, test: Test, credentials: &Credentials) -> Result<bool, PluginError> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(PluginError::new)?;
        let Test { tag, hash, is_of_user } = test;
        // A browser asks for many things at once: the first one may have been checked while the others waited.
        if self.was_checked(&tag) {
            return Ok(true);
        }
        let password = credentials.password().to_vec();
        let checked = tokio::task::spawn_blocking(move || {
            // It is held until the work is done, also when the client goes away.
            let _slot = slot;
            hash.is_of(&password) && is_of_user
        });
        let passes = checked.await.map_err(PluginError::new)?;
        if passes {
            self.remember(tag);
        }
        Ok(passes)
    }

    fn was_checked(&self, tag: &Tag) -> bool {
        let checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        checked.get(tag).is_some_and(|at| at.elapsed() < self.remember)
    }

    fn remember(&self, tag: Tag) {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if checked.len() >= MOST_CHECKED {
            checked.retain(|_, at| at.elapsed() < self.remember);
            // bcrypt reads 72 bytes: one user has many passwords that pass.
            if checked.len() >= MOST_CHECKED {
                checked.clear();
            }
        }
        checked.insert(tag, Instant::now());
    }
}

/// A text in UTF-8, and in Latin-1 where it differs: a client may send either, and tinyproxy wants the bytes that its file has.
fn encodings(text: &str) -> Vec<Vec<u8>> {
    let latin1: Option<Vec<u8>> = text.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect();
    let other = latin1.filter(|latin1| latin1 != text.as_bytes());
    [text.as_bytes().to_vec()].into_iter().chain(other).collect()
}

fn tag(key: &Key, text: &[u8]) -> Tag {
    let mut tag = Tag::default();
    for (to, from) in tag.iter_mut().zip(sign(key, text).as_ref()) {
        *to = *from;
    }
    tag
}

/// Above this many passwords that were checked, old ones are dropped.
const MOST_CHECKED: usize = 4096;
