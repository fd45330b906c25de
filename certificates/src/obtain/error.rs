//! Why there is no certificate.

use std::{error::Error as _, path::PathBuf, time::SystemTime};

use authenticator_api::{ChallengeKind, DomainName};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::BoxError;
use crate::{IssuedError, LockError, StoreError, TransportError, client::Answer, persistence, retry_after};

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub enum ObtainError {
    /// No name was given.
    #[error("a certificate needs a name")]
    NoDomain,
    /// A certificate cannot be called so.
    #[error("a certificate cannot be called {name:?}: that is no name of a file")]
    Name {
        /// The name.
        name: String,
    },
    /// No certificate authority was given.
    #[error("a certificate needs an authority that issues it")]
    NoAuthority,
    /// Storage does not do as asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another process uses the storage.
    #[error("the storage is in use")]
    Locked {
        /// By whom.
        source: LockError,
    },
    /// The only stored account cannot be read.
    #[error("the account in {path} cannot be used: its key or its URL cannot be read", path = path.display())]
    Account {
        /// Its directory.
        path: PathBuf,
    },
    /// The account that is asked for is not stored.
    #[error("there is no account {id} for {directory}")]
    NoAccount {
        /// What it is called.
        id: String,
        /// The directory URL of its authority.
        directory: String,
    },
    /// A certificate of another authority is in the way.
    #[error("{name} has a certificate from {stored} that is not due; only force lets one from {wanted} take its place")]
    OtherAuthority {
        /// The lineage.
        name: String,
        /// The directory URL that it is from.
        stored: String,
        /// The directory URL of the request.
        wanted: String,
    },
    /// The operator has not agreed to the authority's terms.
    #[error("the certificate authority wants agreement to its terms: {url}")]
    Terms {
        /// Where they are.
        url: String,
    },
    /// The authority has accounts only for those who have one with it already.
    #[error("{directory} wants an external account: a key id and a key that its operator hands out")]
    ExternalAccount {
        /// Its directory URL.
        directory: String,
    },
    /// The authority has no such kind of certificate.
    #[error("the certificate authority has no profile {profile}; it offers: {offered}")]
    Profile {
        /// The one that is required.
        profile: String,
        /// Those that there are.
        offered: String,
    },
    /// The authority cannot be talked to.
    #[error("the certificate authority cannot be reached")]
    Transport {
        /// What happened.
        source: TransportError,
    },
    /// The authority refused a request.
    #[error("the certificate authority refuses to {action}: {detail} ({kind})")]
    Refused {
        /// What was asked.
        action: &'static str,
        /// The problem type (RFC 8555 §6.7), without its common beginning.
        kind: String,
        /// The status of its answer, or that of an error which it kept.
        status: Option<u16>,
        /// What it says.
        detail: String,
        /// The names that it says something about (RFC 8555 §6.7.1), and what.
        names: Vec<ChallengeFailure>,
        /// When it wants to be asked again.
        retry_after: Option<SystemTime>,
    },
    /// The authority did something that ACME does not have.
    #[error("cannot {action}")]
    Protocol {
        /// What was asked.
        action: &'static str,
        /// What happened.
        source: instant_acme::Error,
    },
    /// The authority offers no challenge for a name of the kind that its authenticator answers.
    #[error("the certificate authority offers no {kind} challenge for {domain}")]
    NoChallenge {
        /// The name.
        domain: DomainName,
        /// The kind.
        kind: ChallengeKind,
    },
    /// A challenge cannot be answered.
    #[error("cannot present the challenge for {domain}")]
    Present {
        /// The name.
        domain: DomainName,
        /// What the authenticator said.
        source: authenticator_api::Error,
    },
    /// What validation needs could not be prepared.
    #[error("cannot prepare for the certificate authority's visit")]
    Prepare {
        /// Why not.
        source: BoxError,
    },
    /// The authority came and was not convinced.
    #[error("{}", sentences(failures))]
    Validation {
        /// Each name that failed.
        failures: Vec<ChallengeFailure>,
    },
    /// The authority did not come to an end.
    #[error("the certificate authority did not {action} within {seconds} s")]
    TimedOut {
        /// What it was to do.
        action: &'static str,
        /// How long was waited.
        seconds: u64,
    },
    /// A key or a request could not be made.
    #[error("cannot make a key and a certificate request")]
    Key {
        /// Why not.
        source: rcgen::Error,
    },
    /// The certificate is not the one that was ordered.
    #[error("the certificate authority's certificate cannot be used")]
    Issued {
        /// Why not.
        #[from]
        source: IssuedError,
    },
    /// The process is ending.
    #[error("interrupted")]
    Interrupted,
}

/// A name that was not proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChallengeFailure {
    /// The name.
    pub domain: String,
    /// The kind of challenge.
    pub challenge: &'static str,
    /// The problem type, without its common beginning.
    pub kind: String,
    /// What the authority says.
    pub detail: String,
}

/// Who can do something about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blame {
    /// The operator: arguments or configuration.
    Configuration,
    /// This machine's storage.
    Storage,
    /// The network between us and the authority.
    Network,
    /// The authority.
    Authority,
    /// Whoever runs the name: DNS, or what answers on port 80.
    Domain,
}

impl ObtainError {
    /// Who can do something about it.
    pub fn blame(&self) -> Blame {
        match self {
            Self::NoDomain
            | Self::Name { .. }
            | Self::NoAuthority
            | Self::OtherAuthority { .. }
            | Self::Terms { .. } => Blame::Configuration,
            Self::ExternalAccount { .. } | Self::Profile { .. } | Self::NoAccount { .. } => Blame::Configuration,
            Self::Present { .. } | Self::Prepare { .. } => Blame::Configuration,
            Self::Store(_) | Self::Account { .. } | Self::Locked { .. } => Blame::Storage,
            Self::Transport { .. } => Blame::Network,
            Self::Validation { .. } => Blame::Domain,
            Self::Refused { kind, .. } if kind == "rejectedIdentifier" || kind == "caa" => Blame::Domain,
            _ => Blame::Authority,
        }
    }

    /// Whether trying again without a change is useless.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Refused { status, .. } if status.is_some_and(|status| 500 <= status || status == 429) => false,
            Self::Refused { kind, .. } => !matches!(kind.as_str(), "rateLimited" | "serverInternal" | "badNonce"),
            Self::NoDomain | Self::Name { .. } | Self::NoAuthority | Self::OtherAuthority { .. } => true,
            Self::Terms { .. } => true,
            Self::ExternalAccount { .. } | Self::Profile { .. } => true,
            Self::NoChallenge { .. } | Self::Account { .. } | Self::NoAccount { .. } => true,
            _ => false,
        }
    }

    /// Whether another authority may do better: this one is down, busy or does not offer what is wanted. Not when it came
    /// and was not convinced, nor when this machine is at fault: the next one would find the same.
    pub fn is_the_authoritys_own(&self) -> bool {
        match self {
            Self::Profile { .. } | Self::ExternalAccount { .. } | Self::Terms { .. } => true,
            Self::Key { .. } | Self::Interrupted => false,
            _ => matches!(self.blame(), Blame::Network | Blame::Authority),
        }
    }

    /// The error with its causes, in one line.
    pub fn sentence(&self) -> String {
        let mut sentence = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            sentence = format!("{sentence}: {error}");
            cause = error.source();
        }
        sentence
    }

    /// When the authority wants to be asked again: as a header says, or a sentence.
    pub fn retry_after(&self) -> Option<SystemTime> {
        match self {
            Self::Refused { retry_after, detail, .. } => retry_after.or_else(|| retry_after::sentence(detail)),
            Self::Transport { source } => source.retry_after(),
            _ => None,
        }
    }

    /// The names that are at fault.
    pub fn failures(&self) -> &[ChallengeFailure] {
        match self {
            Self::Validation { failures } => failures,
            Self::Refused { names, .. } => names,
            _ => &[],
        }
    }

    /// A page that a person should open: where a limit is explained, or a paused account is woken up.
    pub fn link(&self) -> Option<&str> {
        match self {
            Self::Refused { detail, .. } => retry_after::link(detail),
            Self::Terms { url } => Some(url),
            _ => None,
        }
    }

    /// Whether the same request may succeed in a moment. What asks for nothing to be done is then made again.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Transport { source } => source.is_passing(),
            Self::Refused { kind, .. } if kind == "badNonce" || kind == "serverInternal" => true,
            Self::Refused { status, .. } if status.is_some_and(|status| 500 <= status) => true,
            Self::Refused { .. } if self.is_a_limit() => self.retry_after().is_some(),
            _ => false,
        }
    }

    /// Whether the authority may have done what it was asked. What it was asked is then looked up.
    pub(super) fn is_undecided(&self) -> bool {
        match self {
            Self::Transport { source } => source.is_undecided(),
            Self::Refused { status, .. } => status.is_some_and(|status| 500 <= status),
            Self::Protocol { .. } => true,
            _ => false,
        }
    }

    /// Whether the authority has had enough of us for a while.
    pub(super) fn is_a_limit(&self) -> bool {
        matches!(self, Self::Refused { kind, status, .. } if kind == "rateLimited" || *status == Some(429))
    }

    /// Whether the authority wants to be left alone for longer than an attempt can wait.
    pub(super) fn asks_for_rest(&self) -> bool {
        let again = self.retry_after().and_then(|again| again.duration_since(SystemTime::now()).ok());
        again.is_some_and(|again| persistence::LONGEST < again)
    }

    /// Whether the authority does not have what it was asked for.
    pub(super) fn is_not_found(&self) -> bool {
        match self {
            Self::Transport { source: TransportError::NotAcme { status, .. } } => *status == StatusCode::NOT_FOUND,
            Self::Refused { status, .. } => *status == Some(404),
            _ => false,
        }
    }

    /// Whether nothing comes of an order that failed so, however often it is taken up again.
    pub(super) fn ends_the_order(&self) -> bool {
        match self {
            Self::Validation { .. } | Self::Issued { .. } | Self::NoChallenge { .. } => true,
            Self::Refused { .. } => !self.is_passing() && !self.is_a_limit(),
            _ => false,
        }
    }

    /// Adds what the head of the last answer said, where that answer was the refusal.
    pub(crate) fn answered_by(mut self, answer: &Answer) -> Self {
        if let Self::Refused { retry_after, status, .. } = &mut self {
            *retry_after = retry_after.or(answer.retry_after);
            *status = answer.status.map(|status| status.as_u16()).or(*status);
        }
        self
    }

    /// An error of the ACME library.
    pub(crate) fn acme(action: &'static str, error: instant_acme::Error) -> Self {
        match error {
            instant_acme::Error::Api(problem) => {
                let (kind, detail) = told(&problem);
                let parts = problem.subproblems.iter().map(part);
                let detail = std::iter::once(detail).chain(parts).collect::<Vec<_>>().join("; ");
                let names = problem.subproblems.iter().filter_map(refused).collect();
                Self::Refused { action, kind, status: problem.status, detail, names, retry_after: None }
            }
            instant_acme::Error::Other(other) => match other.downcast::<TransportError>() {
                Ok(source) => Self::Transport { source: *source },
                Err(other) => Self::Protocol { action, source: instant_acme::Error::Other(other) },
            },
            source => Self::Protocol { action, source },
        }
    }
}

/// Type and detail of a problem document.
pub(super) fn told(problem: &instant_acme::Problem) -> (String, String) {
    (short(problem.r#type.as_deref()), problem.detail.clone().unwrap_or_else(|| "no detail".to_owned()))
}

fn short(kind: Option<&str>) -> String {
    let kind = kind.unwrap_or("no type");
    kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(kind).to_owned()
}

/// A subproblem about a name that is not to be had.
fn refused(part: &instant_acme::Subproblem) -> Option<ChallengeFailure> {
    let domain = match part.identifier.as_ref()? {
        instant_acme::Identifier::Dns(name) => name.clone(),
        instant_acme::Identifier::Ip(address) => address.to_string(),
        _ => return None,
    };
    let detail = part.detail.clone().unwrap_or_else(|| "no detail".to_owned());
    Some(ChallengeFailure { domain, challenge: "order", kind: short(part.r#type.as_deref()), detail })
}

/// A subproblem (RFC 8555 §6.7.1), with the name that it is about.
fn part(part: &instant_acme::Subproblem) -> String {
    let detail = part.detail.as_deref().unwrap_or("no detail");
    match &part.identifier {
        Some(instant_acme::Identifier::Dns(name)) => format!("{name}: {detail}"),
        _ => detail.to_owned(),
    }
}

fn sentences(failures: &[ChallengeFailure]) -> String {
    let one = |failure: &ChallengeFailure| {
        format!("{}: the {} challenge failed: {} ({})", failure.domain, failure.challenge, failure.detail, failure.kind)
    };
    failures.iter().map(one).collect::<Vec<_>>().join("\n")
}
