//! When a certificate is to be renewed, and when to look again: no clock and no I/O of its own.
//!
//! Four rules, the strongest first:
//!
//! 1. A certificate that is missing or expired is due at once, and one with a twentieth of its life left is due whatever the
//!    authority suggests: what keeps the site up beats what is polite. The twentieth is certmagic's; here it is at least two
//!    hours, which the first three attempts need, but not more than a quarter of the life.
//! 2. With renewal information ([RFC 9773](https://www.rfc-editor.org/rfc/rfc9773)) it is due at the moment that was drawn in
//!    the window. A window in the past means now: revocation may be near.
//! 3. Without, it is due when a third of its life is left, or half when it lives for less than ten days
//!    ([Let's Encrypt's integration guide](https://letsencrypt.org/docs/integration-guide/)), less some jitter.
//! 4. After a failure nothing is tried for 1, 10 and 100 minutes, then daily; `Retry-After` of a refusal is obeyed.
//!
//! A clock that jumps does no harm. What is recorded as past and lies in the future counts as now ([`settle`] writes that
//! down), no wait is longer than an hour, and a certificate that was just issued is left alone for a while even when it seems
//! to be expired: with a wrong clock every new one does.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::moment;

pub use suggestions::{Answer, Suggestions, Window};

mod suggestions;

/// Everything that a decision needs.
#[derive(Clone, Debug)]
pub struct Situation<'s> {
    /// The wall clock.
    pub now: SystemTime,
    /// The life of the certificate in use, if there is one.
    pub life: Option<Life>,
    /// When a name that is wanted and not in the certificate may be tried again; `None` when no name is missing.
    pub missing: Option<SystemTime>,
    /// What the authority suggests.
    pub suggestions: &'s Suggestions,
    /// What became of earlier attempts.
    pub attempts: &'s Attempts,
    /// Any number; it decides the jitter. To be kept for as long as the certificate is.
    pub seed: u64,
    /// Whether the certificate is from an issuer that is not wanted any more.
    pub is_foreign: bool,
    /// Whether the operator wants a new certificate now, whatever all rules say.
    pub force: bool,
}

/// The life of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// The first moment at which it is valid.
    pub not_before: SystemTime,
    /// The last one.
    pub not_after: SystemTime,
}

/// What became of earlier attempts to get a certificate for one set of names, or to prove one name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attempts {
    /// Failures since the last success.
    pub failures: u32,
    /// The last of them.
    #[serde(with = "moment::optional", skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<SystemTime>,
    /// The authority does not want to be asked before this.
    #[serde(with = "moment::optional", skip_serializing_if = "Option::is_none")]
    pub not_before: Option<SystemTime>,
    /// When the last certificate was issued, by our clock.
    #[serde(with = "moment::optional", skip_serializing_if = "Option::is_none")]
    pub issued: Option<SystemTime>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing before this. It is at most an hour away: timers stand still while a machine sleeps, and clocks are set.
    Wait {
        /// When to look again.
        until: SystemTime,
    },
    /// Ask the authority for renewal information, then look again.
    AskAuthority,
    /// Get a new certificate.
    Renew {
        /// Why now.
        reason: Reason,
    },
}

/// Why a certificate is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The operator wants it.
    Forced,
    /// There is none.
    Missing,
    /// It is no longer valid.
    Expired,
    /// It expires very soon.
    Emergency,
    /// The authority suggested this moment.
    Suggested,
    /// Much of its life is over.
    Lifetime,
    /// A name is not in it that may be tried again.
    Incomplete,
    /// It is from an issuer that is not wanted any more.
    OtherIssuer,
}

impl Life {
    /// How long it is.
    pub fn length(&self) -> Duration {
        self.not_after.duration_since(self.not_before).unwrap_or_default()
    }

    /// When renewal is due by its length alone.
    pub fn ordinary(&self) -> SystemTime {
        let length = self.length();
        self.not_after - if length < 10 * DAY { length / 2 } else { length / 3 }
    }

    /// From when on nothing is more important than a new one.
    pub fn emergency(&self) -> SystemTime {
        let length = self.length();
        self.not_after - (length / 20).max((2 * HOUR).min(length / 4))
    }
}

impl Attempts {
    /// Notes a failure. `not_before` is what the authority asked for in `Retry-After`; a week at most is believed, the longest
    /// window of Let's Encrypt's limits.
    pub fn failed(&mut self, now: SystemTime, not_before: Option<SystemTime>) {
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some(now);
        self.not_before = not_before.map(|moment| moment.min(now + LONGEST_REFUSAL));
    }

    /// Notes a success.
    pub fn succeeded(&mut self, now: SystemTime) {
        *self = Self { issued: Some(now), ..Self::default() };
    }

    /// The first moment at which it may be tried again: `now` or later.
    pub fn free_at(&self, life: Option<Life>, seed: u64, now: SystemTime) -> SystemTime {
        let refused = self.not_before.map(|moment| moment.min(now + LONGEST_REFUSAL));
        let last = self.last_failure.map(|last| last.min(now));
        let rested = last.map(|last| last + self.rest(life, last, seed));
        now.max(refused.unwrap_or(now)).max(rested.unwrap_or(now))
    }

    /// How long to rest after the last failure.
    fn rest(&self, life: Option<Life>, last: SystemTime, seed: u64) -> Duration {
        let rest = match (self.failures, life) {
            (0, _) => return Duration::ZERO,
            (1, _) => MINUTE,
            (2, _) => 10 * MINUTE,
            (3, _) => 100 * MINUTE,
            (_, None) => DAY,
            // A day is too long for a certificate that expires in three, and too short for one that expired long ago.
            (_, Some(life)) => (distance(life.not_after, last) / 4).clamp(100 * MINUTE, DAY),
        };
        // A certificate of an hour has no time for 100 minutes.
        let rest = life.map_or(rest, |life| rest.min((life.length() / 10).max(Duration::from_secs(1))));
        rest + part_of(rest / 10, mix(seed ^ u64::from(self.failures)))
    }
}

/// When the certificate is due, attempts and their failures apart. It may lie in the past.
pub fn due(situation: &Situation<'_>) -> (SystemTime, Reason) {
    let Situation { now, life, missing, suggestions, attempts, seed, .. } = *situation;
    let Some(life) = life else { return (now, Reason::Missing) };
    let jitter = part_of(life.length() / 100, mix(seed));
    let (mut at, mut reason) = match suggestions.moment {
        Some(moment) => (moment, Reason::Suggested),
        None => (life.ordinary() - jitter, Reason::Lifetime),
    };
    let emergency = life.emergency();
    if emergency < at {
        (at, reason) = (emergency, Reason::Emergency);
    }
    if life.not_after <= now {
        (at, reason) = (life.not_after, Reason::Expired);
    } else if emergency <= now {
        reason = Reason::Emergency;
    }
    if let Some(issued) = attempts.issued {
        at = at.max(issued.min(now) + (life.length() / 10).min(2 * DAY));
    }
    match missing {
        _ if situation.is_foreign && now < at => (now, Reason::OtherIssuer),
        Some(moment) if now < at && moment < at => (moment, Reason::Incomplete),
        _ => (at, reason),
    }
}

/// What to do now.
pub fn plan(situation: &Situation<'_>) -> Plan {
    let Situation { now, life, suggestions, attempts, seed, force, .. } = *situation;
    if force {
        return Plan::Renew { reason: Reason::Forced };
    }
    let (at, reason) = due(situation);
    let at = at.max(attempts.free_at(life, seed, now));
    let is_urgent = matches!(reason, Reason::Missing | Reason::Expired | Reason::Emergency);
    // RFC 9773 §4.3: clients must not ask about a certificate that has expired.
    let ask_at = life.filter(|life| now < life.not_after).map(|_| suggestions.ask_at(now));
    match ask_at {
        Some(ask_at) if ask_at <= now && !(is_urgent && at <= now) => Plan::AskAuthority,
        _ if at <= now => Plan::Renew { reason },
        _ => Plan::Wait { until: at.min(ask_at.unwrap_or(at)).min(now + LONGEST_WAIT) },
    }
}

/// Takes back what a clock that was ahead has recorded: what has happened lies not in the future. Returns whether anything
/// changed; then it is to be stored, or a rest would begin anew at every look.
pub fn settle(attempts: &mut Attempts, suggestions: &mut Suggestions, now: SystemTime) -> bool {
    let before = (attempts.clone(), suggestions.next_poll);
    for past in [&mut attempts.last_failure, &mut attempts.issued] {
        *past = past.map(|moment| moment.min(now));
    }
    attempts.not_before = attempts.not_before.map(|moment| moment.min(now + LONGEST_REFUSAL));
    suggestions.next_poll = suggestions.next_poll.map(|moment| moment.min(now + DAY));
    before != (attempts.clone(), suggestions.next_poll)
}

/// A part of `whole` that looks random and is the same for the same `random`.
fn part_of(whole: Duration, random: u64) -> Duration {
    let milliseconds = (whole.as_millis() * u128::from(random)) >> 64;
    Duration::from_millis(u64::try_from(milliseconds).unwrap_or(u64::MAX))
}

/// Spreads neighbouring seeds over all numbers (the finalizer of SplitMix64).
fn mix(seed: u64) -> u64 {
    let seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    seed ^ (seed >> 31)
}

fn distance(one: SystemTime, other: SystemTime) -> Duration {
    one.duration_since(other).unwrap_or_else(|error| error.duration())
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
const LONGEST_WAIT: Duration = HOUR;
pub(crate) const LONGEST_REFUSAL: Duration = Duration::from_secs(7 * 86_400);

#[cfg(test)]
mod tests;
