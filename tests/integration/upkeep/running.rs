//! A site that is served.

use std::{
    cell::Cell,
    fs,
    ops::{Deref, DerefMut},
    path::Path,
    time::Duration,
};

use test_support::{Lockgate, Signal, poll};

use super::{
    A_REST, A_ROUND, DEADLINE, HOUR, Site, Stage, Visitor, record, stored,
    visitor::{self, Shown},
};

/// A site that is served.
pub(super) struct Running<'s> {
    pub(super) stage: &'s Stage,
    pub(super) lockgate: Lockgate,
    /// How much of what it says was waited for.
    pub(super) seen: Cell<usize>,
}

impl Running<'_> {
    /// Waits until the program says this once more, and returns the line.
    pub(super) fn says(&self, words: &str) -> String {
        let line = poll(DEADLINE, || {
            let (output, seen) = (self.output(), self.seen.get());
            let at = seen + output[seen..].find(words)?;
            let end = at + output[at..].find('\n')?;
            self.seen.set(end);
            Some(output[..end].rsplit('\n').next()?.to_owned())
        });
        line.unwrap_or_else(|| panic!("it does not say {words:?} after {}:\n{}", self.seen.get(), self.output()))
    }

    /// Lets this time pass, and waits until the program says this.
    pub(super) fn later(&self, time: Duration, words: &str) -> String {
        self.later_when(time, || self.output()[self.seen.get()..].contains(words));
        self.says(words)
    }

    /// Lets this time pass, and waits until this has happened.
    pub(super) fn later_when(&self, time: Duration, has_happened: impl Fn() -> bool) {
        let happens = |within| poll(within, || has_happened().then_some(())).is_some();
        self.stage.clock.advance(time).unwrap();
        if happens(2 * A_ROUND) {
            return;
        }
        // A look that began before may have asked the authority already, and rests before it asks again: for a minute, or for hours
        // from when it read the clock, which may have been after it was set.
        for more in [A_REST, 3 * HOUR, 3 * HOUR, 3 * HOUR] {
            self.stage.clock.advance(more).unwrap();
            if happens(4 * A_ROUND) {
                return;
            }
        }
        panic!("{}\n{:#?}", self.output(), self.stage.front.journal());
    }

    /// Waits until it knows what the authority suggests for the newest certificate for this name.
    ///
    /// That the authority was asked is no sign: the program looks at its clock when it has read the answer.
    pub(super) fn knows_when(&self, storage: &Path, name: &str) {
        let newest = || {
            let all = self.stage.front.certificates();
            all.into_iter().rfind(|one| one.names.iter().any(|found| found == name)).map(|one| one.id)
        };
        let known = || {
            let suggestions = &record(storage, name)["suggestions"];
            let is_it = suggestions["certificate"].as_str() == newest().as_deref();
            (is_it && suggestions["next_poll"].is_string()).then_some(())
        };
        poll(DEADLINE, known).unwrap_or_else(|| panic!("{}", self.output()));
    }

    /// Lets this time pass, and waits until it has asked the authority once more when to renew the certificate of this name.
    ///
    /// What the authority has been asked is no sign: the program looks at its clock when it has read the answer.
    pub(super) fn asks_again_after(&self, time: Duration, storage: &Path, name: &str) {
        let next = || record(storage, name)["suggestions"]["next_poll"].clone();
        let before = next();
        self.later_when(time, || next() != before);
    }

    /// How often it has said so.
    pub(super) fn count(&self, words: &str) -> usize {
        self.output().matches(words).count()
    }

    /// Takes another configuration.
    pub(super) fn reload(&mut self, site: &Site<'_>) {
        fs::write(self.file("lockgate.toml"), site.config()).unwrap();
        self.signal(Signal::HUP);
    }

    /// Visitors come to these names.
    pub(super) fn visitor(&self, names: &[&str]) -> Visitor {
        let [http, https] = [0, 1].map(|door| self.stage.doors[door].address());
        Visitor::start(http, https, names, &self.stage.origin.site().page.1)
    }

    /// What a visitor is shown for a name now.
    pub(super) fn shows(&self, name: &str) -> Shown {
        visitor::look(self.stage.doors[1].address(), name).unwrap()
    }

    /// Kills it.
    pub(super) fn kill(mut self) {
        self.signal(Signal::KILL);
        self.wait(DEADLINE).unwrap();
    }

    /// Waits until somebody who asks for the name is shown the current certificate of a lineage in this storage.
    pub(super) fn shows_the_one_in(&self, storage: &Path, name: &str) {
        let shown = poll(DEADLINE, || (self.shows(name) == stored(storage, name)?).then_some(()));
        assert!(shown.is_some(), "{:?} is shown: {}", self.shows(name), self.output());
    }
}

impl Deref for Running<'_> {
    type Target = Lockgate;

    fn deref(&self) -> &Lockgate {
        &self.lockgate
    }
}

impl DerefMut for Running<'_> {
    fn deref_mut(&mut self) -> &mut Lockgate {
        &mut self.lockgate
    }
}
