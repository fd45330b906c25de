//! The checks, each a sentence of the contract.

use std::{sync::Arc, time::Duration};

use super::{
    DOMAIN, OTHER_DOMAIN, assert_seen, assert_unseen, chain, challenge, challenge_for, cleanup, poll_at_most, present,
    rival, started,
};
use crate::{Authenticator, Challenge, DomainName, Error};

/// What was presented is found, and after `cleanup` unknown.
pub async fn present_then_cleanup<A: Authenticator>(authenticator: A) {
    let authenticator = started(authenticator).await;
    for challenge in [challenge_for(DOMAIN), challenge_for(OTHER_DOMAIN)] {
        present(&*authenticator, &challenge).await;
        assert_seen(&*authenticator, &challenge, "after present").await;
        cleanup(&*authenticator, &challenge).await;
        assert_unseen(&*authenticator, &challenge, "after cleanup").await;
    }
    authenticator.stop().await;
}

/// A token that was never presented is unknown.
pub async fn absent_is_unknown<A: Authenticator>(authenticator: A) {
    let authenticator = started(authenticator).await;
    let (present_one, absent) = (challenge(), challenge());
    assert_unseen(&*authenticator, &absent, "with nothing present").await;
    present(&*authenticator, &present_one).await;
    assert_unseen(&*authenticator, &absent, "with another token present").await;
    cleanup(&*authenticator, &present_one).await;
    authenticator.stop().await;
}

/// `lookup` may come before `start`; it knows nothing then, and fails nothing later.
pub async fn works_before_start<A: Authenticator>(authenticator: A) {
    let challenge = challenge();
    assert_unseen(&authenticator, &challenge, "before start").await;
    let authenticator = started(authenticator).await;
    present(&*authenticator, &challenge).await;
    assert_seen(&*authenticator, &challenge, "after a lookup that came before start").await;
    cleanup(&*authenticator, &challenge).await;
    authenticator.stop().await;
}

/// `present` twice and `cleanup` twice succeed, and one `cleanup` is enough for any number of `present`s.
pub async fn repetition_changes_nothing<A: Authenticator>(authenticator: A) {
    let authenticator = started(authenticator).await;
    let challenge = challenge();
    cleanup(&*authenticator, &challenge).await;
    for round in ["first round", "second round"] {
        present(&*authenticator, &challenge).await;
        present(&*authenticator, &challenge).await;
        assert_seen(&*authenticator, &challenge, &format!("{round}: presented twice")).await;
        cleanup(&*authenticator, &challenge).await;
        assert_unseen(&*authenticator, &challenge, &format!("{round}: presented twice, cleaned once")).await;
        cleanup(&*authenticator, &challenge).await;
    }
    authenticator.stop().await;
}

/// The same token with another key authorization is [`Error::Conflict`], and the first stays as it was, also when the
/// second is cleaned up.
pub async fn conflict_keeps_the_first<A: Authenticator>(authenticator: A) {
    let authenticator = started(authenticator).await;
    let first = challenge();
    let second = rival(&first);
    present(&*authenticator, &first).await;
    match authenticator.present(&second).await {
        Err(Error::Conflict { token }) => assert_eq!(token, first.token, "the conflict has to name the token"),
        Err(other) => panic!("another key authorization for a token has to be a conflict, not: {}", chain(&other)),
        Ok(()) => panic!("another key authorization for a token has to be a conflict, not a success"),
    }
    assert_seen(&*authenticator, &first, "after a conflict").await;
    cleanup(&*authenticator, &second).await;
    assert_seen(&*authenticator, &first, "after cleanup of what was refused").await;
    cleanup(&*authenticator, &first).await;
    present(&*authenticator, &second).await;
    assert_seen(&*authenticator, &second, "after cleanup of the first").await;
    cleanup(&*authenticator, &second).await;
    assert_unseen(&*authenticator, &second, "after both are cleaned").await;
    authenticator.stop().await;
}

/// `cleanup` leaves every other challenge alone.
pub async fn cleanup_removes_only_its_own<A: Authenticator>(authenticator: A) {
    let authenticator = started(authenticator).await;
    let challenges: Vec<_> = (0..4).map(|n| challenge_for(if n % 2 == 0 { DOMAIN } else { OTHER_DOMAIN })).collect();
    for challenge in &challenges {
        present(&*authenticator, challenge).await;
    }
    for (cleaned, challenge) in challenges.iter().enumerate() {
        cleanup(&*authenticator, challenge).await;
        assert_unseen(&*authenticator, challenge, "after its cleanup").await;
        for other in challenges.iter().skip(cleaned + 1) {
            assert_seen(&*authenticator, other, "after cleanup of another").await;
        }
    }
    authenticator.stop().await;
}

/// Two names may share a token and its key authorization; cleaning up one leaves the other's answer.
pub async fn shared_token_stays_for_the_other_name<A: Authenticator>(authenticator: A) {
    let authenticator = started(authenticator).await;
    let first = challenge();
    let domain = DomainName::parse(OTHER_DOMAIN).expect("the constant is a name");
    let second = Challenge { domain, ..first.clone() };
    present(&*authenticator, &first).await;
    present(&*authenticator, &second).await;
    cleanup(&*authenticator, &first).await;
    assert_seen(&*authenticator, &second, "after cleanup of the other name's challenge").await;
    cleanup(&*authenticator, &second).await;
    for challenge in [&first, &second] {
        assert_unseen(&*authenticator, challenge, "after both names are cleaned").await;
    }
    authenticator.stop().await;
}

/// A `present` dropped before its first poll, after it, after the second and so on leaves nothing that `cleanup` does
/// not remove, and nothing that appears later.
pub async fn dropped_present_is_cleaned<A: Authenticator>(authenticator: A) {
    let authenticator = started(authenticator).await;
    let mut cleaned = Vec::new();
    let mut finished = false;
    while !finished {
        let polls = cleaned.len();
        assert!(polls <= MOST_POLLS, "present was not ready after {MOST_POLLS} polls");
        let challenge = challenge();
        finished = poll_at_most(polls, authenticator.present(&challenge)).await;
        cleanup(&*authenticator, &challenge).await;
        let when = format!("after a present dropped at poll {polls} and a cleanup");
        assert_unseen(&*authenticator, &challenge, &when).await;
        cleaned.push(challenge);
    }
    tokio::time::sleep(SETTLED).await;
    for (polls, challenge) in cleaned.iter().enumerate() {
        let when = format!("{SETTLED:?} after a present dropped at poll {polls} and a cleanup");
        assert_unseen(&*authenticator, challenge, &when).await;
        present(&*authenticator, challenge).await;
        assert_seen(&*authenticator, challenge, &format!("{when} and a present")).await;
        cleanup(&*authenticator, challenge).await;
    }
    authenticator.stop().await;
}

/// A `cleanup` dropped at any poll may be called again, and does nothing behind the back of a later `present`.
pub async fn dropped_cleanup_can_be_repeated<A: Authenticator>(authenticator: A) {
    let authenticator = started(authenticator).await;
    let mut presented = Vec::new();
    let mut finished = false;
    while !finished {
        let polls = presented.len();
        assert!(polls <= MOST_POLLS, "cleanup was not ready after {MOST_POLLS} polls");
        let challenge = challenge();
        present(&*authenticator, &challenge).await;
        finished = poll_at_most(polls, authenticator.cleanup(&challenge)).await;
        present(&*authenticator, &challenge).await;
        let when = format!("after a cleanup dropped at poll {polls} and a present");
        assert_seen(&*authenticator, &challenge, &when).await;
        presented.push(challenge);
    }
    tokio::time::sleep(SETTLED).await;
    for (polls, challenge) in presented.iter().enumerate() {
        let when = format!("{SETTLED:?} after a cleanup dropped at poll {polls} and a present");
        assert_seen(&*authenticator, challenge, &when).await;
        cleanup(&*authenticator, challenge).await;
        assert_unseen(&*authenticator, challenge, &format!("{when}, and a whole cleanup")).await;
    }
    authenticator.stop().await;
}

/// Many tasks present, look up and clean up at once, also the same challenge, without seeing each other's changes.
pub async fn concurrent_calls_do_not_disturb<A: Authenticator>(authenticator: A) {
    let authenticator = started(authenticator).await;
    let standing = challenge();
    let contested = challenge();
    present(&*authenticator, &standing).await;

    let tasks: Vec<_> = (0..TASKS)
        .map(|n| {
            let (authenticator, standing, contested) =
                (Arc::clone(&authenticator), standing.clone(), contested.clone());
            let own = challenge_for(if n % 2 == 0 { DOMAIN } else { OTHER_DOMAIN });
            tokio::spawn(async move {
                for _ in 0..3 {
                    present(&*authenticator, &own).await;
                    present(&*authenticator, &contested).await;
                    assert_seen(&*authenticator, &own, "while others present and clean up").await;
                    assert_seen(&*authenticator, &standing, "while others present and clean up").await;
                    cleanup(&*authenticator, &contested).await;
                    cleanup(&*authenticator, &own).await;
                    assert_unseen(&*authenticator, &own, "after cleanup, while others present").await;
                }
            })
        })
        .collect();
    for task in tasks {
        if let Err(failure) = task.await {
            std::panic::resume_unwind(failure.into_panic());
        }
    }

    assert_seen(&*authenticator, &standing, "after the others are done").await;
    assert_unseen(&*authenticator, &contested, "after every task cleaned it").await;
    cleanup(&*authenticator, &standing).await;
    assert_unseen(&*authenticator, &standing, "at the end").await;
    authenticator.stop().await;
}

/// `start` and `stop` may be repeated and leave a working authenticator.
pub async fn start_and_stop_repeat<A: Authenticator>(authenticator: A) {
    let authenticator = started(authenticator).await;
    for round in 1..=3 {
        if let Err(error) = authenticator.start().await {
            panic!("round {round}: start of what is started failed: {}", chain(&error));
        }
        let challenge = challenge();
        present(&*authenticator, &challenge).await;
        assert_seen(&*authenticator, &challenge, &format!("round {round}")).await;
        cleanup(&*authenticator, &challenge).await;
        authenticator.stop().await;
        authenticator.stop().await;
        assert_unseen(&*authenticator, &challenge, &format!("round {round}, stopped")).await;
        if let Err(error) = authenticator.start().await {
            panic!("round {round}: start after stop failed: {}", chain(&error));
        }
    }
    authenticator.stop().await;
}

const TASKS: usize = 32;

/// More polls than any sensible future needs; a bound so that a broken one fails instead of looping.
const MOST_POLLS: usize = 1000;

/// Time for what goes on behind a dropped future: that it ends can be seen, that there is none cannot.
const SETTLED: Duration = Duration::from_millis(100);
