//! Who makes a certificate.

use std::time::Duration;

use certificates::Internal;
use plugin_api::config::{Duration as Time, Problem, Problems, Spans, did_you_mean};

use crate::config::acme::Texts;

/// Who makes a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    /// Certificate authorities.
    Authorities,
    /// This machine.
    Internal,
    /// Certificate authorities; this machine for want of anything better.
    AuthoritiesElseInternal,
}

impl Maker {
    /// What the key `issuer` says. `None` when it says nothing useful, which has been told.
    pub(super) fn read(issuer: Option<&Texts>, spans: &Spans, problems: &mut Problems) -> Option<Self> {
        let Some(Texts(words)) = issuer else { return Some(Self::Authorities) };
        for (index, word) in words.iter().enumerate().filter(|(_, word)| !WORDS.contains(&word.as_str())) {
            let hint = did_you_mean(word, &WORDS).unwrap_or_else(|| {
                "write \"acme\", \"internal\" or both; which authority is asked is said by `directory`".to_owned()
            });
            let span = spans.of_index("issuer", index);
            problems.push(Problem::new(span, format!("there is no issuer `{word}`")).with_hint(hint));
        }
        let message = match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["acme"] => return Some(Self::Authorities),
            ["internal"] => return Some(Self::Internal),
            ["acme", "internal"] => return Some(Self::AuthoritiesElseInternal),
            words if !words.iter().all(|word| WORDS.contains(word)) => return None,
            [] => "there is no issuer in this list",
            ["internal", "acme", ..] => "the internal authority never fails: nobody behind it is ever asked",
            _ => "an issuer is in this list twice",
        };
        let hint = "write \"acme\", \"internal\", or [\"acme\", \"internal\"]";
        problems.push(Problem::new(spans.of("issuer"), message).with_hint(hint));
        None
    }

    /// Whether authorities are asked.
    pub(super) fn asks_authorities(self) -> bool {
        self != Self::Internal
    }

    /// The internal authority, whose certificates live for so long, if it may be asked.
    pub(super) fn internal(self, life: Option<Time>, spans: &Spans, problems: &mut Problems) -> Option<Internal> {
        if self == Self::Authorities && life.is_some() {
            let message = "an authority decides itself how long its certificates live";
            let hint = "`preferred_profile` chooses among what it offers; `life` is for `issuer = \"internal\"`";
            problems.push(Problem::new(spans.of_key("life"), message).with_hint(hint));
            return None;
        }
        let life = life.map_or(Internal::default().life, |life| bounded(life, spans, problems));
        (self != Self::Authorities).then_some(Internal { life })
    }
}

/// Clients of some makes take no certificate that lives for longer, from whatever authority.
fn bounded(life: Time, spans: &Spans, problems: &mut Problems) -> Duration {
    if life < Time(SHORTEST_LIFE) || life > Time(LONGEST_LIFE) {
        let problem = Problem::new(spans.of("life"), format!("{life} is no life for a certificate"));
        problems.push(problem.with_hint("write at least \"1m\" and at most \"825d\""));
    }
    life.0
}

const WORDS: [&str; 2] = ["acme", "internal"];
const SHORTEST_LIFE: Duration = Duration::from_secs(60);
const LONGEST_LIFE: Duration = Duration::from_secs(825 * 86_400);
