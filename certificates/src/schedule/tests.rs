//! The rules one by one, and what must hold whatever happens.

use proptest::prelude::*;

use super::*;

const START: Duration = Duration::from_secs(1_800_000_000);

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + START + Duration::from_secs(seconds)
}

fn life(length: Duration) -> Life {
    Life { not_before: at(0), not_after: at(0) + length }
}

/// An authority that has no renewal information and was asked recently.
fn silent(now: SystemTime) -> Suggestions {
    let mut suggestions = Suggestions::default();
    suggestions.learn(Answer::Unsupported, now, 0);
    suggestions
}

fn suggested(start: SystemTime, end: SystemTime, now: SystemTime, random: u64) -> Suggestions {
    let mut suggestions = Suggestions::default();
    suggestions.learn(answer(start, end), now, random);
    suggestions
}

fn answer(start: SystemTime, end: SystemTime) -> Answer {
    Answer::Suggested { window: Window { start, end }, explanation: None, retry_after: None }
}

fn situation<'s>(
    now: SystemTime,
    life: Option<Life>,
    suggestions: &'s Suggestions,
    attempts: &'s Attempts,
) -> Situation<'s> {
    Situation { now, life, missing: None, suggestions, attempts, seed: 7, is_foreign: false, force: false }
}

/// Lives the life of a certificate whose renewals fail as `fails` says, sleeping as planned; returns when it was tried.
fn lived(life: Life, until: SystemTime, mut fails: impl FnMut(SystemTime) -> bool) -> Vec<(SystemTime, Reason)> {
    let (mut now, mut tried) = (life.not_before, Vec::new());
    let (mut attempts, mut suggestions) = (Attempts::default(), silent(now));
    while now < until {
        match plan(&situation(now, Some(life), &suggestions, &attempts)) {
            Plan::Wait { until } => {
                assert!(until > now && until <= now + HOUR, "a wait has an end and goes forward");
                now = until;
            }
            Plan::AskAuthority => suggestions.learn(Answer::Unsupported, now, 0),
            Plan::Renew { reason } => {
                tried.push((now, reason));
                if !fails(now) {
                    break;
                }
                attempts.failed(now, None);
            }
        }
    }
    tried
}

#[test]
fn every_length_of_life_is_renewed_in_time() {
    for (length, at_least, at_most) in [
        (90 * DAY, 0.32, 0.36),
        (64 * DAY, 0.32, 0.36),
        (45 * DAY, 0.32, 0.36),
        (Duration::from_secs(160 * 3600), 0.49, 0.53),
        (DAY, 0.49, 0.53),
        (HOUR, 0.49, 0.53),
        (MINUTE, 0.49, 0.53),
    ] {
        let life = life(length);
        let tried = lived(life, life.not_after, |_| false);
        let [(moment, Reason::Lifetime)] = tried[..] else { panic!("{length:?}: {tried:?}") };
        let left = life.not_after.duration_since(moment).unwrap().div_duration_f64(length);
        assert!((at_least..at_most).contains(&left), "{length:?}: {left} of it was left");
    }
}

#[test]
fn failures_are_followed_by_one_ten_and_a_hundred_minutes_then_days() {
    let life = life(90 * DAY);
    let tried = lived(life, at(63 * 86_400), |_| true);
    let minutes: Vec<_> =
        tried.windows(2).map(|pair| pair[1].0.duration_since(pair[0].0).unwrap().as_secs_f64() / 60.0).collect();
    for (index, expected) in [1.0, 10.0, 100.0, 1440.0, 1440.0].into_iter().enumerate() {
        let actual = minutes[index];
        assert!((expected..=expected * 1.1).contains(&actual), "{minutes:?}: one tenth of jitter at most");
    }
}

#[test]
fn the_last_days_have_more_attempts_and_the_days_after_expiry_too_but_not_for_ever() {
    let life = life(90 * DAY);
    let tried = lived(life, at(120 * 86_400), |_| true);
    let count = |from: u64, to: u64| {
        tried.iter().filter(|(moment, _)| (at(from * 86_400)..at(to * 86_400)).contains(moment)).count()
    };
    assert!((1..=2).contains(&count(80, 81)), "daily while there is time");
    assert!(count(89, 90) >= 5, "often on the last day");
    assert!(count(90, 91) >= 5, "often when it has just expired");
    assert!(count(110, 111) <= 2, "daily when nobody has cared for weeks");
    assert!(tried.last().unwrap().0 > at(118 * 86_400), "but never silent");
}

#[test]
fn a_short_life_has_short_rests() {
    let life = life(MINUTE);
    let tried = lived(life, life.not_after, |_| true);
    assert!(tried.len() >= 4, "{tried:?}");
    assert_eq!(tried.last().unwrap().1, Reason::Emergency);
}

#[test]
fn nothing_rests_without_a_certificate_but_failures_are_respected() {
    let (suggestions, mut attempts) = (silent(at(0)), Attempts::default());
    let decide = |attempts: &Attempts, now| plan(&situation(now, None, &suggestions, attempts));
    assert_eq!(decide(&attempts, at(0)), Plan::Renew { reason: Reason::Missing });
    attempts.failed(at(0), None);
    let Plan::Wait { until } = decide(&attempts, at(0)) else { panic!("no rest") };
    assert_eq!(decide(&attempts, until), Plan::Renew { reason: Reason::Missing });
    let forced = Situation { force: true, ..situation(at(0), None, &suggestions, &attempts) };
    assert_eq!(plan(&forced), Plan::Renew { reason: Reason::Forced });
}

#[test]
fn retry_after_is_obeyed_also_when_it_is_longer_than_the_rest_but_not_for_longer_than_a_week() {
    let suggestions = silent(at(0));
    let mut attempts = Attempts::default();
    attempts.failed(at(0), Some(at(5 * 3600)));
    assert_eq!(attempts.free_at(None, 7, at(0)), at(5 * 3600));
    assert!(matches!(plan(&situation(at(5 * 3600 - 1), None, &suggestions, &attempts)), Plan::Wait { .. }));
    assert!(matches!(plan(&situation(at(5 * 3600), None, &suggestions, &attempts)), Plan::Renew { .. }));
    attempts.failed(at(0), Some(at(365 * 86_400)));
    assert_eq!(attempts.free_at(None, 7, at(0)), at(7 * 86_400));
}

#[test]
fn the_moment_is_drawn_in_the_window_and_kept_while_the_window_is() {
    let (start, end) = (at(50 * 86_400), at(52 * 86_400));
    let mut suggestions = suggested(start, end, at(0), u64::MAX / 3);
    let drawn = suggestions.moment.unwrap();
    assert!(start < drawn && drawn < end);
    suggestions.learn(answer(start, end), at(100), u64::MAX / 2);
    assert_eq!(suggestions.moment, Some(drawn), "another random number changes nothing");
    suggestions.learn(Answer::Failed { temporary: false, retry_after: None }, at(200), 0);
    assert_eq!(suggestions.moment, Some(drawn), "nor does an error");
    suggestions.learn(answer(start + DAY, end + DAY), at(300), u64::MAX / 2);
    assert_ne!(suggestions.moment, Some(drawn));
    assert_eq!(suggested(start, end, at(0), 0).moment, Some(start));
    assert!(suggested(start, end, at(0), u64::MAX).moment.unwrap() <= end);
}

#[test]
fn a_window_in_the_past_means_now_and_one_after_the_emergency_does_not_count() {
    let (life, attempts) = (Some(life(90 * DAY)), Attempts::default());
    let now = at(86_400 * 10);
    let revoked = suggested(at(86_400), at(2 * 86_400), now, 5);
    assert_eq!(plan(&situation(now, life, &revoked, &attempts)), Plan::Renew { reason: Reason::Suggested });
    let late = suggested(at(89 * 86_400), at(90 * 86_400), now, u64::MAX);
    assert_eq!(due(&situation(now, life, &late, &attempts)), (at(90 * 86_400 - 388_800), Reason::Emergency));
    let now = at(86 * 86_400);
    assert_eq!(plan(&situation(now, life, &late, &attempts)), Plan::Renew { reason: Reason::Emergency });
}

#[test]
fn what_seems_to_end_before_it_begins_is_no_window() {
    let suggestions = suggested(at(200), at(100), at(0), 5);
    assert_eq!((suggestions.window, suggestions.moment), (None, None));
    assert_eq!(suggestions.next_poll, Some(at(6 * 3600)));
}

#[test]
fn the_authority_is_asked_when_it_says_within_a_minute_and_a_day() {
    let asked = |seconds: Option<u64>| {
        let mut suggestions = Suggestions::default();
        let window = Window { start: at(1), end: at(2) };
        suggestions.learn(Answer::Suggested { window, explanation: None, retry_after: seconds.map(at) }, at(0), 0);
        suggestions.next_poll.unwrap()
    };
    assert_eq!(asked(Some(7200)), at(7200));
    assert_eq!(asked(Some(1)), at(60));
    assert_eq!(asked(Some(86_400 * 30)), at(86_400));
    assert_eq!(asked(None), at(6 * 3600));
}

#[test]
fn a_busy_authority_is_asked_again_in_1_2_4_8_16_minutes_then_in_six_hours() {
    let mut suggestions = Suggestions::default();
    let busy = Answer::Failed { temporary: true, retry_after: None };
    for minutes in [1, 2, 4, 8, 16, 360, 360] {
        suggestions.learn(busy.clone(), at(0), 0);
        assert_eq!(suggestions.next_poll, Some(at(minutes * 60)));
    }
    let mut suggestions = Suggestions::default();
    suggestions.learn(Answer::Failed { temporary: false, retry_after: None }, at(0), 0);
    assert_eq!(suggestions.next_poll, Some(at(6 * 3600)));
}

#[test]
fn another_certificate_has_another_window() {
    let mut suggestions = suggested(at(1), at(2), at(0), 0);
    suggestions.concern("first");
    suggestions.learn(answer(at(1), at(2)), at(0), 0);
    suggestions.concern("first");
    assert!(suggestions.moment.is_some());
    suggestions.concern("second");
    assert_eq!((suggestions.moment, suggestions.next_poll), (None, None));
}

#[test]
fn the_authority_is_asked_before_renewing_by_length_but_not_in_an_emergency_nor_after_expiry() {
    let (unknown, attempts) = (Suggestions::default(), Attempts::default());
    let decide = |days: u64| plan(&situation(at(days * 86_400), Some(life(90 * DAY)), &unknown, &attempts));
    assert_eq!(decide(0), Plan::AskAuthority);
    assert_eq!(decide(70), Plan::AskAuthority);
    assert_eq!(decide(88), Plan::Renew { reason: Reason::Emergency });
    assert_eq!(decide(91), Plan::Renew { reason: Reason::Expired });
}

#[test]
fn a_missing_name_has_its_own_time() {
    let (suggestions, attempts) = (silent(at(0)), Attempts::default());
    let incomplete = |now, missing| {
        let situation = situation(now, Some(life(90 * DAY)), &suggestions, &attempts);
        plan(&Situation { missing: Some(missing), ..situation })
    };
    assert_eq!(incomplete(at(100), at(160)), Plan::Wait { until: at(160) });
    assert_eq!(incomplete(at(160), at(160)), Plan::Renew { reason: Reason::Incomplete });
}

#[test]
fn a_certificate_of_an_issuer_that_is_not_wanted_any_more_is_due_but_rests_after_a_failure() {
    let (suggestions, mut attempts) = (silent(at(0)), Attempts { issued: Some(at(0)), ..Attempts::default() });
    let decide = |attempts: &Attempts| {
        let situation = situation(at(100), Some(life(90 * DAY)), &suggestions, attempts);
        plan(&Situation { is_foreign: true, ..situation })
    };
    assert_eq!(decide(&attempts), Plan::Renew { reason: Reason::OtherIssuer });
    attempts.failed(at(90), None);
    assert!(matches!(decide(&attempts), Plan::Wait { .. }));
}

#[test]
fn a_machine_that_was_off_catches_up() {
    let attempts = Attempts { issued: Some(at(0)), ..Attempts::default() };
    let suggestions = silent(at(0));
    for (days, reason) in [(70, Reason::Lifetime), (89, Reason::Emergency), (300, Reason::Expired)] {
        let now = at(days * 86_400);
        let mut asked = suggestions.clone();
        asked.learn(Answer::Unsupported, now, 0);
        assert_eq!(plan(&situation(now, Some(life(90 * DAY)), &asked, &attempts)), Plan::Renew { reason });
    }
}

/// The clock is a year ahead, and every certificate that comes seems to have expired.
#[test]
fn a_clock_that_is_wrong_for_ever_does_not_spend_the_authoritys_limits() {
    let year = 365 * 86_400;
    let (mut now, mut attempts, mut suggestions) = (at(year), Attempts::default(), silent(at(year)));
    let mut issued = 0;
    while now < at(year + 7 * 86_400) {
        let real = Life { not_before: now - 365 * DAY, not_after: now - 275 * DAY };
        match plan(&situation(now, Some(real), &suggestions, &attempts)) {
            Plan::Wait { until } => now = until,
            Plan::AskAuthority => suggestions.learn(Answer::Unsupported, now, 0),
            Plan::Renew { .. } => {
                issued += 1;
                attempts.succeeded(now);
            }
        }
    }
    assert!((1..=4).contains(&issued), "{issued} certificates in a week; Let's Encrypt issues five");
}

#[test]
fn a_clock_that_was_ahead_leaves_no_long_silence() {
    let mut attempts = Attempts::default();
    attempts.failed(at(1_000_000), Some(at(1_100_000)));
    attempts.issued = Some(at(1_000_000));
    let mut suggestions = Suggestions { next_poll: Some(at(5_000_000)), ..Suggestions::default() };
    let now = at(500);
    assert!(settle(&mut attempts, &mut suggestions, now));
    assert_eq!((attempts.last_failure, attempts.issued), (Some(now), Some(now)));
    assert!(attempts.free_at(None, 0, now) <= now + 7 * DAY && suggestions.next_poll == Some(now + DAY));
    assert!(!settle(&mut attempts, &mut suggestions, now), "nothing is left to settle");
}

fn any_life() -> impl Strategy<Value = Life> {
    (60_u64..400 * 86_400).prop_map(|seconds| life(Duration::from_secs(seconds)))
}

fn any_moment() -> impl Strategy<Value = SystemTime> {
    (0_u64..500 * 86_400).prop_map(at)
}

fn any_attempts() -> impl Strategy<Value = Attempts> {
    let moment = || proptest::option::of(any_moment());
    (0_u32..6, moment(), moment(), moment()).prop_map(|(failures, last, not_before, issued)| Attempts {
        failures,
        last_failure: last.filter(|_| failures > 0),
        not_before,
        issued,
    })
}

fn any_suggestions() -> impl Strategy<Value = Suggestions> {
    let poll = proptest::option::of(any_moment());
    let window = proptest::option::of((any_moment(), 1_u64..10 * 86_400, any::<u64>()));
    (poll, window).prop_map(|(next_poll, window)| {
        let mut suggestions = Suggestions::default();
        if let Some((start, length, random)) = window {
            suggestions.learn(answer(start, start + Duration::from_secs(length)), at(0), random);
        }
        Suggestions { next_poll, ..suggestions }
    })
}

proptest! {
    #[test]
    fn no_attempt_comes_within_the_rest_of_the_one_before(
        life in proptest::option::of(any_life()),
        now in any_moment(),
        suggestions in any_suggestions(),
        attempts in any_attempts(),
        seed in any::<u64>(),
    ) {
        let situation = Situation { seed, ..situation(now, life, &suggestions, &attempts) };
        if let Plan::Renew { .. } = plan(&situation) {
            if let Some(refused) = attempts.not_before {
                prop_assert!(refused <= now);
            }
            if let Some(last) = attempts.last_failure {
                let least = [MINUTE, 10 * MINUTE, 100 * MINUTE, 100 * MINUTE, 100 * MINUTE][attempts.failures as usize - 1];
                let least = life.map_or(least, |life| least.min((life.length() / 10).max(Duration::from_secs(1))));
                prop_assert!(now >= last + least, "after {:?}", now.duration_since(last));
            }
        }
    }

    #[test]
    fn without_failures_no_wait_passes_the_emergency(
        life in any_life(), now in any_moment(), suggestions in any_suggestions(), seed in any::<u64>(),
    ) {
        let attempts = Attempts::default();
        let situation = Situation { seed, ..situation(now, Some(life), &suggestions, &attempts) };
        if let Plan::Wait { until } = plan(&situation) {
            prop_assert!(now < until && until <= now + HOUR);
            prop_assert!(until <= life.emergency());
        }
    }

    #[test]
    fn what_is_due_stays_due(
        life in proptest::option::of(any_life()),
        now in any_moment(),
        later in 0_u64..86_400 * 300,
        suggestions in any_suggestions(),
        attempts in any_attempts(),
        seed in any::<u64>(),
    ) {
        let first = Situation { seed, ..situation(now, life, &suggestions, &attempts) };
        let second = Situation { now: now + Duration::from_secs(later), ..first.clone() };
        if let Plan::Renew { .. } = plan(&first) {
            let waits = matches!(plan(&second), Plan::Wait { .. });
            prop_assert!(!waits);
        }
    }

    #[test]
    fn a_longer_life_is_never_due_earlier(length in 60_u64..400 * 86_400, more in 0_u64..86_400) {
        let (shorter, longer) = (life(Duration::from_secs(length)), life(Duration::from_secs(length + more)));
        prop_assert!(shorter.emergency() <= longer.emergency());
        prop_assert!(shorter.ordinary() <= longer.ordinary());
    }

    #[test]
    fn settling_is_enough_once(mut attempts in any_attempts(), mut suggestions in any_suggestions(), now in any_moment()) {
        settle(&mut attempts, &mut suggestions, now);
        prop_assert!(!settle(&mut attempts, &mut suggestions, now));
        prop_assert!(attempts.free_at(None, 0, now) <= now + 7 * DAY + DAY);
    }
}
