//! Which names are given up, and which never.

use std::time::Duration;

use super::*;

const DAY: Duration = Duration::from_secs(86_400);

fn at(day: u32) -> SystemTime {
    SystemTime::UNIX_EPOCH + DAY * (20_000 + day)
}

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn request(names: &[&str], resting: &[&str]) -> Request {
    Request {
        domains: names.iter().map(|text| name(text)).collect(),
        completeness: Completeness::Some { resting: resting.iter().map(|text| name(text)).collect() },
        ..Request::default()
    }
}

/// A certificate of ninety days.
fn current(names: &[&str]) -> Lineage {
    Lineage {
        name: "a.example".into(),
        version: 1,
        names: names.iter().map(|text| name(text)).collect(),
        others: vec![],
        not_before: at(0),
        not_after: at(90),
        id: None,
    }
}

fn failed(names: &[&str]) -> ObtainError {
    let failure = |name: &&str| ChallengeFailure {
        domain: (*name).to_owned(),
        challenge: "http-01",
        kind: "dns".into(),
        detail: "no such name".into(),
    };
    ObtainError::Validation { failures: names.iter().map(failure).collect() }
}

#[test]
fn one_dead_name_of_three_is_given_up() {
    let mut selection = Selection::new(&request(&["a.example", "b.example", "c.example"], &[]), None, at(0));
    assert_eq!(selection.give_up(&failed(&["b.example"])), Next::Again);
    assert_eq!(selection.names, [name("a.example"), name("c.example")]);
    assert_eq!(selection.refused.len(), 1);
    assert_eq!(selection.give_up(&failed(&["a.example", "c.example"])), Next::Fail, "nothing is left");
}

#[test]
fn whoever_wants_all_names_gets_all_or_none() {
    let wants_all = Request { completeness: Completeness::All, ..request(&["a.example", "b.example"], &[]) };
    assert_eq!(Selection::new(&wants_all, None, at(0)).give_up(&failed(&["b.example"])), Next::Fail);
}

#[test]
fn a_name_with_a_good_certificate_is_not_given_up_before_that_is_about_to_expire() {
    let current = current(&["a.example", "b.example"]);
    let wanted = request(&["a.example", "b.example"], &["b.example"]);
    let mut early = Selection::new(&wanted, Some(&current), at(61));
    assert_eq!(early.names.len(), 2, "nor does it rest");
    assert_eq!(early.give_up(&failed(&["b.example"])), Next::Fail);
    let mut late = Selection::new(&request(&["a.example", "b.example"], &[]), Some(&current), at(88));
    assert_eq!(late.give_up(&failed(&["b.example"])), Next::Again);
}

#[test]
fn a_missing_name_that_fails_again_costs_no_certificate() {
    let current = current(&["a.example"]);
    let mut selection = Selection::new(&request(&["a.example", "b.example"], &[]), Some(&current), at(1));
    assert!(!selection.is_enough());
    assert_eq!(selection.give_up(&failed(&["b.example"])), Next::Enough);
    assert!(Selection::new(&request(&["a.example", "b.example"], &["b.example"]), Some(&current), at(1)).is_enough());
    let mut due = Selection::new(&request(&["a.example", "b.example"], &[]), Some(&current), at(61));
    assert_eq!(due.give_up(&failed(&["b.example"])), Next::Again, "it is time for a new one anyway");
}

#[test]
fn names_that_rest_are_left_out_unless_nothing_else_is_wanted() {
    let some = Selection::new(&request(&["a.example", "b.example"], &["b.example"]), None, at(0));
    assert_eq!(some.names, [name("a.example")]);
    let none = Selection::new(&request(&["b.example"], &["b.example"]), None, at(0));
    assert_eq!(none.names, [name("b.example")]);
}

#[test]
fn a_failure_that_is_about_no_name_of_ours_is_nobodys() {
    let mut selection = Selection::new(&request(&["a.example", "b.example"], &[]), None, at(0));
    assert_eq!(selection.give_up(&failed(&["z.example"])), Next::Fail);
    assert_eq!(selection.give_up(&ObtainError::NoDomain), Next::Fail);
}

#[test]
fn sentences_are_read_word_by_word() {
    let names = [name("a.example"), name("b.a.example"), DomainName::from_address("2001:db8::1".parse().unwrap())];
    let found = |sentence: &str| mentioned(sentence, &names).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(found("Cannot issue for \"a.example\": it is forbidden"), ["a.example"]);
    assert_eq!(found("too many failed authorizations for B.A.Example, retry later."), ["b.a.example"]);
    assert_eq!(found("paused for a.example."), ["a.example"]);
    assert_eq!(found("for 2001:db8::1: no"), ["2001:db8::1"]);
    assert!(found("xa.example a.example.org -a.example nothing").is_empty());
}
