//! Checks that hold for every authenticator; an author runs them all from one test.
//!
//! A check panics with a sentence that names the broken clause of the [contract](crate::Authenticator). Each check makes
//! its own authenticator, so the maker may hand out authenticators of one directory again and again, but must not share
//! one instance. The authenticator has to serve [`DOMAIN`] and [`OTHER_DOMAIN`].
//!
//! ```ignore
//! // Cargo.toml: [dev-dependencies] authenticator-api = { …, features = ["conformance"] }, tokio with `rt-multi-thread`
//! use authenticator_api::conformance;
//!
//! #[tokio::test(flavor = "multi_thread")]
//! async fn conforms() {
//!     conformance::all(|| Mine::new(/* serves conformance::DOMAIN and OTHER_DOMAIN */)).await;
//! }
//! ```
//!
//! What the suite cannot see from here stays with the author: that no trace is left on disk, that a visitor on a socket
//! sees what `lookup` says, and that a killed process's leftovers are collected.

#![expect(clippy::panic, reason = "a test suite fails by panicking, and here the message carries a dynamic cause")]

mod checks;

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

pub use checks::{
    absent_is_unknown, cleanup_removes_only_its_own, concurrent_calls_do_not_disturb, conflict_keeps_the_first,
    dropped_cleanup_can_be_repeated, dropped_present_is_cleaned, present_then_cleanup, repetition_changes_nothing,
    shared_token_stays_for_the_other_name, start_and_stop_repeat, works_before_start,
};

use crate::{Authenticator, Challenge, DomainName, KeyAuthorization, Token};

/// The name that most checks use; the authenticator under test has to serve it.
pub const DOMAIN: &str = "one.conformance.test";

/// A second name that the authenticator under test has to serve.
pub const OTHER_DOMAIN: &str = "two.conformance.test";

/// Runs every check, each on an authenticator of its own that `make` makes and that is not started yet.
///
/// Needs a tokio runtime with time; on one with several threads, the concurrent check is at its strongest.
///
/// # Panics
///
/// With the broken clause, at the first check that fails or takes longer than 30 s.
pub async fn all<A: Authenticator>(make: impl Fn() -> A) {
    in_time("present_then_cleanup", present_then_cleanup(make())).await;
    in_time("absent_is_unknown", absent_is_unknown(make())).await;
    in_time("works_before_start", works_before_start(make())).await;
    in_time("repetition_changes_nothing", repetition_changes_nothing(make())).await;
    in_time("conflict_keeps_the_first", conflict_keeps_the_first(make())).await;
    in_time("cleanup_removes_only_its_own", cleanup_removes_only_its_own(make())).await;
    in_time("shared_token_stays_for_the_other_name", shared_token_stays_for_the_other_name(make())).await;
    in_time("dropped_present_is_cleaned", dropped_present_is_cleaned(make())).await;
    in_time("dropped_cleanup_can_be_repeated", dropped_cleanup_can_be_repeated(make())).await;
    in_time("concurrent_calls_do_not_disturb", concurrent_calls_do_not_disturb(make())).await;
    in_time("start_and_stop_repeat", start_and_stop_repeat(make())).await;
}

/// A challenge of [`DOMAIN`] whose token no other call has returned in this process.
pub fn challenge() -> Challenge {
    challenge_for(DOMAIN)
}

/// A challenge of `domain` whose token no other call has returned in this process.
///
/// # Panics
///
/// When `domain` is not a domain name.
pub fn challenge_for(domain: &str) -> Challenge {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let token = format!("conformance-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    Challenge {
        domain: DomainName::parse(domain).expect("the caller names a domain"),
        key_authorization: key_authorization(&token, "first-account"),
        token: Token::parse(&token).expect("letters, digits and hyphens are a token"),
    }
}

/// The same challenge as another account would answer it.
fn rival(challenge: &Challenge) -> Challenge {
    let key_authorization = key_authorization(challenge.token.as_str(), "second-account");
    Challenge { key_authorization, ..challenge.clone() }
}

fn key_authorization(token: &str, thumbprint: &str) -> KeyAuthorization {
    KeyAuthorization::parse(&format!("{token}.{thumbprint}")).expect("two parts of the token alphabet")
}

/// Fails a check that hangs instead of hanging with it.
async fn in_time(name: &str, check: impl Future<Output = ()>) {
    // Boxed: the future of a check is as large as the author's authenticator.
    let outcome = tokio::time::timeout(DEADLINE, Box::pin(check)).await;
    assert!(outcome.is_ok(), "{name}: not finished within {DEADLINE:?}");
}

async fn started<A: Authenticator>(authenticator: A) -> Arc<A> {
    let authenticator = Arc::new(authenticator);
    authenticator.start().await.unwrap_or_else(|error| panic!("start failed: {}", chain(&error)));
    authenticator
}

async fn present(authenticator: &impl Authenticator, challenge: &Challenge) {
    if let Err(error) = authenticator.present(challenge).await {
        panic!("present of {} failed: {}", challenge.token, chain(&error));
    }
}

async fn cleanup(authenticator: &impl Authenticator, challenge: &Challenge) {
    if let Err(error) = authenticator.cleanup(challenge).await {
        panic!("cleanup of {} failed: {}", challenge.token, chain(&error));
    }
}

/// Asserts what a visitor sees who names the domain, and one who names none.
async fn assert_seen(authenticator: &impl Authenticator, challenge: &Challenge, when: &str) {
    for host in [Some(&challenge.domain), None] {
        let answer = authenticator.lookup(host, &challenge.token).wait().await;
        assert_eq!(
            answer.as_ref(),
            Some(&challenge.key_authorization),
            "{when}, lookup of {} for host {host:?} has to give its key authorization",
            challenge.token
        );
    }
}

async fn assert_unseen(authenticator: &impl Authenticator, challenge: &Challenge, when: &str) {
    for host in [Some(&challenge.domain), None] {
        let answer = authenticator.lookup(host, &challenge.token).wait().await;
        assert_eq!(answer, None, "{when}, {} has to be unknown for host {host:?}", challenge.token);
    }
}

/// Polls `future` at most `times` times, waiting for a wake-up between two polls, and drops it. Returns whether it was
/// ready by then.
async fn poll_at_most(times: usize, future: impl Future) -> bool {
    let mut future = pin!(future);
    for polled in 1..=times {
        if poll_once(future.as_mut()).await {
            return true;
        }
        if polled < times {
            woken().await;
        }
    }
    false
}

async fn poll_once(mut future: Pin<&mut impl Future>) -> bool {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_ready())).await
}

/// Returns at the next wake-up of this task, which the future that was polled before has asked for.
async fn woken() {
    let mut waited = false;
    poll_fn(|_| if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

const DEADLINE: Duration = Duration::from_secs(30);
