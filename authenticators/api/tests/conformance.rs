//! The conformance suite is of use only when it lets a good authenticator pass and finds each fault of a bad one.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test fail like the test")]

use std::{
    collections::{BTreeSet, HashMap},
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, Mutex},
    task::Poll,
};

use authenticator_api::{
    Authenticator, BoxFuture, Challenge, DomainName, Error, KeyAuthorization, Lookup, Token, conformance as suite,
};
use tokio::task::yield_now;

#[tokio::test(flavor = "multi_thread")]
async fn an_authenticator_without_a_fault_passes() {
    suite::all(|| memory(None)).await;
}

#[tokio::test]
async fn it_passes_on_one_thread_too() {
    suite::all(|| memory(None)).await;
}

#[tokio::test]
async fn a_challenge_that_stays_is_found() {
    fails(suite::present_then_cleanup(memory(Some(Fault::CleanupKeeps))), "after cleanup, ").await;
}

#[tokio::test]
async fn an_answer_given_once_only_is_found() {
    fails(suite::present_then_cleanup(memory(Some(Fault::LookupTakes))), "after present, ").await;
}

#[tokio::test]
async fn a_visitor_without_a_host_who_gets_no_answer_is_found() {
    fails(suite::present_then_cleanup(memory(Some(Fault::WantsHost))), "for host None").await;
}

#[tokio::test]
async fn an_answer_to_an_unknown_token_is_found() {
    fails(suite::absent_is_unknown(memory(Some(Fault::AnswersAll))), "with nothing present, ").await;
    fails(suite::absent_is_unknown(memory(Some(Fault::AnswersAny))), "with another token present, ").await;
}

#[tokio::test]
async fn a_lookup_that_needs_a_start_is_found() {
    fails(suite::works_before_start(memory(Some(Fault::NeedsStart))), "not started").await;
}

#[tokio::test]
async fn what_cannot_be_repeated_is_found() {
    fails(suite::repetition_changes_nothing(memory(Some(Fault::PresentOnce))), "present of ").await;
    fails(suite::repetition_changes_nothing(memory(Some(Fault::CleanupOnce))), "cleanup of ").await;
}

#[tokio::test]
async fn a_conflict_that_is_overlooked_is_found() {
    fails(suite::conflict_keeps_the_first(memory(Some(Fault::LastWins))), "a conflict, not a success").await;
    let check = suite::conflict_keeps_the_first(memory(Some(Fault::CleanupByToken)));
    fails(check, "after cleanup of what was refused, ").await;
}

#[tokio::test]
async fn a_cleanup_of_too_much_is_found() {
    fails(suite::cleanup_removes_only_its_own(memory(Some(Fault::CleanupClears))), "after cleanup of another, ").await;
    let check = suite::shared_token_stays_for_the_other_name(memory(Some(Fault::IgnoresDomains)));
    fails(check, "after cleanup of the other name's challenge, ").await;
}

#[tokio::test]
async fn work_that_goes_on_behind_a_dropped_future_is_found() {
    fails(suite::dropped_present_is_cleaned(memory(Some(Fault::PresentGoesOn))), "after a present dropped").await;
    fails(suite::dropped_cleanup_can_be_repeated(memory(Some(Fault::CleanupGoesOn))), "after a cleanup dropped").await;
}

#[tokio::test]
async fn a_change_lost_between_two_tasks_is_found() {
    fails(suite::concurrent_calls_do_not_disturb(memory(Some(Fault::LosesChanges))), "while others present").await;
}

#[tokio::test]
async fn a_stop_for_ever_is_found() {
    fails(suite::start_and_stop_repeat(memory(Some(Fault::StopsForEver))), "start after stop failed").await;
}

#[tokio::test(start_paused = true)]
async fn an_authenticator_that_hangs_is_found() {
    fails(suite::all(|| memory(Some(Fault::Hangs))), "present_then_cleanup: not finished within ").await;
}

/// What is wrong with an authenticator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    AnswersAll,
    AnswersAny,
    CleanupByToken,
    CleanupClears,
    CleanupGoesOn,
    CleanupKeeps,
    CleanupOnce,
    Hangs,
    IgnoresDomains,
    LastWins,
    LookupTakes,
    LosesChanges,
    NeedsStart,
    PresentGoesOn,
    PresentOnce,
    StopsForEver,
    WantsHost,
}

/// Tokens in memory, with at most one fault.
struct Memory {
    fault: Option<Fault>,
    tokens: Arc<Mutex<Tokens>>,
    state: Mutex<State>,
}

type Tokens = HashMap<Token, (KeyAuthorization, BTreeSet<DomainName>)>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Started,
    Stopped,
}

fn memory(fault: Option<Fault>) -> Memory {
    Memory { fault, tokens: Arc::default(), state: Mutex::new(State::New) }
}

impl Memory {
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn insert(&self, challenge: &Challenge) -> Result<(), Error> {
        let mut tokens = self.tokens.lock().unwrap();
        let known = tokens.contains_key(&challenge.token);
        let new = (challenge.key_authorization.clone(), BTreeSet::new());
        let (key_authorization, domains) = tokens.entry(challenge.token.clone()).or_insert(new);
        if self.has(Fault::LastWins) {
            *key_authorization = challenge.key_authorization.clone();
        }
        if *key_authorization != challenge.key_authorization || known && self.has(Fault::PresentOnce) {
            return Err(Error::Conflict { token: challenge.token.clone() });
        }
        domains.insert(challenge.domain.clone());
        Ok(())
    }

    fn remove(&self, challenge: &Challenge) -> Result<(), Error> {
        let mut tokens = self.tokens.lock().unwrap();
        let Some((key_authorization, domains)) = tokens.get_mut(&challenge.token) else {
            let domain = challenge.domain.clone();
            return if self.has(Fault::CleanupOnce) { Err(Error::UnknownDomain { domain }) } else { Ok(()) };
        };
        let by_token = self.has(Fault::CleanupByToken);
        if self.has(Fault::CleanupKeeps) || *key_authorization != challenge.key_authorization && !by_token {
            return Ok(());
        }
        domains.remove(&challenge.domain);
        if domains.is_empty() || by_token || self.has(Fault::IgnoresDomains) {
            tokens.remove(&challenge.token);
        }
        if self.has(Fault::CleanupClears) {
            tokens.clear();
        }
        Ok(())
    }
}

impl Authenticator for Memory {
    fn start(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let mut state = self.state.lock().unwrap();
            if *state == State::Stopped && self.has(Fault::StopsForEver) {
                let source = std::io::Error::other("stopped for ever");
                return Err(Error::File { action: "reopen", path: "memory".into(), source });
            }
            *state = State::Started;
            Ok(())
        })
    }

    fn present<'a>(&'a self, challenge: &'a Challenge) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            if self.has(Fault::Hangs) {
                std::future::pending::<()>().await;
            }
            if self.has(Fault::PresentGoesOn) {
                let (tokens, challenge) = (Arc::clone(&self.tokens), challenge.clone());
                let late = late(move || {
                    let value = (challenge.key_authorization, [challenge.domain].into());
                    tokens.lock().unwrap().insert(challenge.token, value);
                });
                late.await;
                return Ok(());
            }
            let before = self.has(Fault::LosesChanges).then(|| self.tokens.lock().unwrap().clone());
            // One that never waits would have no moment at which it can be dropped or overtaken.
            yield_now().await;
            if let Some(before) = before {
                *self.tokens.lock().unwrap() = before;
            }
            self.insert(challenge)
        })
    }

    fn lookup<'a>(&'a self, host: Option<&'a DomainName>, token: &'a Token) -> Lookup<'a> {
        if self.has(Fault::NeedsStart) && *self.state.lock().unwrap() == State::New {
            panic!("not started");
        }
        if self.has(Fault::WantsHost) && host.is_none() {
            return Lookup::Ready(None);
        }
        let mut tokens = self.tokens.lock().unwrap();
        let found = if self.has(Fault::LookupTakes) { tokens.remove(token) } else { tokens.get(token).cloned() };
        let answer = found.map(|(key_authorization, _)| key_authorization).or_else(|| match self.fault {
            Some(Fault::AnswersAll) => Some(KeyAuthorization::parse("token.thumbprint").unwrap()),
            Some(Fault::AnswersAny) => tokens.values().next().map(|(key_authorization, _)| key_authorization.clone()),
            _ => None,
        });
        Lookup::Wait(Box::pin(async move {
            yield_now().await;
            answer
        }))
    }

    fn cleanup<'a>(&'a self, challenge: &'a Challenge) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            if self.has(Fault::CleanupGoesOn) {
                let (tokens, token) = (Arc::clone(&self.tokens), challenge.token.clone());
                late(move || drop(tokens.lock().unwrap().remove(&token))).await;
                return Ok(());
            }
            yield_now().await;
            self.remove(challenge)
        })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move { *self.state.lock().unwrap() = State::Stopped })
    }
}

/// Does `work` after some turns of the scheduler, also when the future that waits for it is dropped.
async fn late(work: impl FnOnce() + Send + 'static) {
    let task = tokio::spawn(async move {
        for _ in 0..20 {
            yield_now().await;
        }
        work();
    });
    task.await.unwrap();
}

/// Asserts that `check` panics with a message that has `wanted` in it.
async fn fails(check: impl Future<Output = ()>, wanted: &str) {
    let mut check = pin!(check);
    let outcome = poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| check.as_mut().poll(context))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    });
    let panic = outcome.await.expect_err("the check passes an authenticator that has a fault");
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap();
    assert!(text.contains(wanted), "the check fails for another reason than {wanted:?}: {text}");
}
