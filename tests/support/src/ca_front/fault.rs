//! What an authority does wrong, or does not want to do.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use jiff::{Timestamp, fmt::rfc2822};
use serde_json::{Value, json};

use super::{
    endpoint::{Endpoint, Scope},
    message::Answer,
};

/// What becomes of a request instead of what it asks for. All but [`Cut`](Self::Cut) keep it from pebble, so nothing is done.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A problem document (RFC 7807); with a fresh nonce where the request was a POST.
    Problem(Problem),
    /// A page for people, as a proxy before the authority makes it.
    Page {
        /// The status, which may say that all is well.
        status: u16,
        /// When to come again.
        retry_after: RetryAfter,
    },
    /// No answer, until the client leaves; or the usual one once faults are cleared.
    Hang,
    /// The connection is reset.
    Reset,
    /// Pebble does what it is asked, and its answer ends in the middle.
    Cut,
    /// The nonce is no good, and a fresh one is given. Only a POST has one: others pass.
    BadNonce,
}

/// A refusal as ACME has it (RFC 8555 §6.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: u16,
    kind: String,
    detail: String,
    retry_after: RetryAfter,
    parts: Vec<(String, String, String)>,
}

/// When to come again (RFC 9110 §10.2.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetryAfter {
    /// The authority does not say.
    #[default]
    Absent,
    /// After so many seconds.
    Seconds(u64),
    /// At a moment, in whole seconds.
    Date(SystemTime),
}

/// How often something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// The next so many times.
    Next(u32),
    /// Always.
    Forever,
}

/// Faults that are to come.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<(Scope, Times, Fault)>);

impl Fault {
    /// 429 `rateLimited`.
    pub fn rate_limited(retry_after: impl Into<RetryAfter>) -> Self {
        Problem::new(429, "rateLimited", "Service busy; retry later.").retry_after(retry_after).into()
    }

    /// 500 `serverInternal`.
    #[must_use]
    pub fn server_error() -> Self {
        Problem::new(500, "serverInternal", "An internal error").into()
    }

    /// 503 `serverInternal`.
    pub fn unavailable(retry_after: impl Into<RetryAfter>) -> Self {
        Problem::new(503, "serverInternal", "The service is down for maintenance").retry_after(retry_after).into()
    }

    /// A page with the status 502.
    #[must_use]
    pub fn bad_gateway() -> Self {
        Self::Page { status: 502, retry_after: RetryAfter::Absent }
    }

    /// A page with the status 200: where somebody has to log in before the network lets him out.
    #[must_use]
    pub fn portal() -> Self {
        Self::Page { status: 200, retry_after: RetryAfter::Absent }
    }

    /// The account is paused for these names until a person opens the page, in Let's Encrypt's words.
    #[must_use]
    pub fn paused(names: &str, page: &str) -> Self {
        let detail = format!(
            "Your account is temporarily prevented from requesting certificates for {names} and possibly others. \
             Please visit: {page}"
        );
        Problem::new(429, "rateLimited", detail).into()
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl Problem {
    /// One with the type `urn:ietf:params:acme:error:` and this.
    pub fn new(status: u16, kind: impl Into<String>, detail: impl Into<String>) -> Self {
        let (kind, detail) = (kind.into(), detail.into());
        Self { status, kind, detail, retry_after: RetryAfter::Absent, parts: Vec::new() }
    }

    /// The same, with when to come again.
    #[must_use]
    pub fn retry_after(mut self, retry_after: impl Into<RetryAfter>) -> Self {
        self.retry_after = retry_after.into();
        self
    }

    /// The same, with a subproblem about one name (RFC 8555 §6.7.1).
    #[must_use]
    pub fn about(mut self, name: &str, kind: &str, detail: &str) -> Self {
        self.parts.push((name.to_owned(), kind.to_owned(), detail.to_owned()));
        self
    }

    /// As the error of a challenge has it.
    pub(super) fn document(&self) -> Value {
        let kind = |kind: &str| format!("{NAMESPACE}{kind}");
        let mut document = json!({ "type": kind(&self.kind), "detail": self.detail, "status": self.status });
        if !self.parts.is_empty() {
            let part = |(name, its, detail): &(String, String, String)| {
                let sort = if name.parse::<IpAddr>().is_ok() { "ip" } else { "dns" };
                json!({ "type": kind(its), "detail": detail, "identifier": { "type": sort, "value": name } })
            };
            document["subproblems"] = self.parts.iter().map(part).collect();
        }
        document
    }

    pub(super) fn answer(&self) -> Answer {
        let mut answer = Answer::new(self.status, "application/problem+json", self.document().to_string());
        self.retry_after.put_into(&mut answer);
        answer
    }
}

impl RetryAfter {
    /// The value of the header.
    pub(super) fn text(self) -> Option<String> {
        match self {
            Self::Absent => None,
            Self::Seconds(seconds) => Some(seconds.to_string()),
            Self::Date(moment) => {
                let timestamp = Timestamp::try_from(moment).ok()?;
                rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&timestamp).ok()
            }
        }
    }

    pub(super) fn put_into(self, answer: &mut Answer) {
        if let Some(text) = self.text() {
            answer.set_header("retry-after", text);
        }
    }
}

impl From<Duration> for RetryAfter {
    fn from(duration: Duration) -> Self {
        Self::Seconds(duration.as_secs())
    }
}

impl From<SystemTime> for RetryAfter {
    fn from(moment: SystemTime) -> Self {
        Self::Date(moment)
    }
}

impl Times {
    /// Whether it happens now; then it is one time fewer.
    pub(super) fn take(&mut self) -> bool {
        match self {
            Self::Forever => true,
            Self::Next(0) => false,
            Self::Next(left) => {
                *left -= 1;
                true
            }
        }
    }
}

impl From<u32> for Times {
    fn from(times: u32) -> Self {
        Self::Next(times)
    }
}

impl Faults {
    pub(super) fn add(&mut self, scope: Scope, times: Times, fault: Fault) {
        self.0.push((scope, times, fault));
    }

    /// The one that a request meets: of several, the one that was told first.
    pub(super) fn take(&mut self, endpoint: Endpoint, method: &str) -> Option<Fault> {
        let meets = |scope: Scope, fault: &Fault| {
            scope.holds(endpoint) && (method == "POST" || !matches!(fault, Fault::BadNonce))
        };
        let mut left = self.0.iter_mut().filter(|(_, times, _)| *times != Times::Next(0));
        let (_, times, fault) = left.find(|(scope, _, fault)| meets(*scope, fault))?;
        times.take();
        Some(fault.clone())
    }
}

const NAMESPACE: &str = "urn:ietf:params:acme:error:";
