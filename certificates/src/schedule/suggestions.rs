//! What the authority suggests (RFC 9773), and when to ask it again.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::{DAY, HOUR, MINUTE, part_of};
use crate::moment;

/// The authority's suggestion for one certificate, and when to ask again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Suggestions {
    /// The certificate that it is about, as RFC 9773 §4.1 names it.
    pub certificate: String,
    /// When the authority wants to see it renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Why, for people: a URL. It is there when something is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
    /// The moment that was drawn in the window. It stays while the window does.
    #[serde(with = "moment::optional", skip_serializing_if = "Option::is_none")]
    pub moment: Option<SystemTime>,
    /// When to ask again.
    #[serde(with = "moment::optional", skip_serializing_if = "Option::is_none")]
    pub next_poll: Option<SystemTime>,
    /// Questions without an answer since the last answer.
    pub failures: u32,
}

/// A span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Its beginning.
    #[serde(with = "moment")]
    pub start: SystemTime,
    /// Its end, after the beginning.
    #[serde(with = "moment")]
    pub end: SystemTime,
}

/// What came of a question for renewal information.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A window.
    Suggested {
        /// The window.
        window: Window,
        /// Why, for people.
        explanation: Option<String>,
        /// When to ask again, as `Retry-After` says.
        retry_after: Option<SystemTime>,
    },
    /// The authority has no renewal information.
    Unsupported,
    /// No usable answer.
    Failed {
        /// Whether it may work in a minute: no connection, a server that is busy or broken.
        temporary: bool,
        /// When to ask again, as `Retry-After` says.
        retry_after: Option<SystemTime>,
    },
}

impl Suggestions {
    /// Forgets what is about another certificate than this one.
    pub fn concern(&mut self, certificate: &str) {
        if self.certificate != certificate {
            *self = Self { certificate: certificate.to_owned(), ..Self::default() };
        }
    }

    /// Takes in an answer. `random` is any number; it decides the moment when the window is a new one (RFC 9773 §4.2).
    pub fn learn(&mut self, answer: Answer, now: SystemTime, random: u64) {
        let bounded = |asked: SystemTime| asked.clamp(now + MINUTE, now + DAY);
        match answer {
            Answer::Suggested { window, explanation, retry_after } if window.start < window.end => {
                if self.window != Some(window) || self.moment.is_none() {
                    let length = window.end.duration_since(window.start).unwrap_or_default();
                    self.moment = Some(window.start + part_of(length, random));
                }
                (self.window, self.explanation, self.failures) = (Some(window), explanation, 0);
                // Without the header, as after an error (§4.3.3).
                self.next_poll = Some(retry_after.map_or(now + LONG_REST, bounded));
            }
            Answer::Unsupported => {
                // It may be in the directory tomorrow.
                *self = Self { certificate: std::mem::take(&mut self.certificate), ..Self::default() };
                self.next_poll = Some(now + DAY);
            }
            Answer::Failed { temporary: true, retry_after } if self.failures < SHORT_RESTS => {
                self.next_poll = Some(retry_after.map_or(now + MINUTE * (1 << self.failures), bounded));
                self.failures += 1;
            }
            Answer::Failed { retry_after, .. } => {
                self.next_poll = Some(retry_after.map_or(now + LONG_REST, bounded));
                self.failures = self.failures.saturating_add(1);
            }
            // A window that ends before it begins says nothing.
            Answer::Suggested { .. } => {
                self.next_poll = Some(now + LONG_REST);
                self.failures = self.failures.saturating_add(1);
            }
        }
    }

    /// When to ask: in the past when it is time.
    pub(super) fn ask_at(&self, now: SystemTime) -> SystemTime {
        self.next_poll.map_or(now, |moment| moment.min(now + DAY))
    }
}

/// After an answer that asking again soon will not change (RFC 9773 §4.3.3).
const LONG_REST: Duration = Duration::from_secs(6 * HOUR.as_secs());
/// Temporary errors are followed by 1, 2, 4, 8 and 16 minutes, then count as lasting ones.
const SHORT_RESTS: u32 = 5;
