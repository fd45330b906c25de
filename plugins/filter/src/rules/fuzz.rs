//! Patterns made at random (`cargo xtask fuzz filter`): they mean what they mean to the C library of this system, and a list
//! finds what its patterns find.

use proptest::{
    prelude::{ProptestConfig, Strategy, any, prop},
    strategy::ValueTree as _,
    test_runner::TestRunner,
};

use super::{
    tests::{Question, SYNTAXES, compare, look, ready},
    *,
};
use crate::{config::Syntax, syntax::parse};

/// Pieces of which patterns are made.
const PIECES: &[&str] = &[
    "a",
    "b",
    "c",
    "ab",
    "abc",
    ".",
    "\\.",
    "^",
    "$",
    "*",
    "+",
    "?",
    "\\+",
    "\\?",
    "|",
    "\\|",
    "(",
    ")",
    "\\(",
    "\\)",
    "[ab]",
    "[^a]",
    "[a-c]",
    "[[:alpha:]]",
    "[^[:space:]]",
    "{2}",
    "{0,2}",
    "{1,}",
    "\\{2\\}",
    "\\{,2\\}",
    "\\w",
    "\\W",
    "\\b",
    "\\<",
    "\\>",
    "\\B",
    ".*",
    "(a|b)",
    "\\(a\\|b\\)",
    "(^|\\.)",
    "\\(^\\|\\.\\)",
    "-",
    "B",
    "[!b]",
    "\\1",
    "\\2",
    "[",
    "]",
];

fn pieces() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 1..8).prop_map(|pieces| pieces.concat())
}

fn subjects() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[abcB.-]{0,7}", 6)
}

/// Some of whatever a strategy makes.
fn some<T>(strategy: &impl Strategy<Value = T>, runner: &mut TestRunner, number: usize) -> Vec<T> {
    (0..number).map(|_| strategy.new_tree(runner).unwrap().current()).collect()
}

/// The GNU C library loses its way when a group with an anchor is repeated: it finds `.(^|x){2}` in `ax`. And of a group with
/// bounds it makes copies, and does not know which of them is referred to: it misses `.(a|b){0,2}\1` in `abb`.
fn is_beyond_the_library(pattern: &str) -> bool {
    let has_anchor = ["^", "$", "\\b", "\\B", "\\<", "\\>"].iter().any(|anchor| pattern.contains(anchor));
    let repeats = |behind: &str| behind.trim_start_matches('\\').starts_with(['{', '*', '+', '?']);
    let bounds = |behind: &str| {
        behind.trim_start_matches(['\\', '*', '+', '?']).starts_with('{')
            && (behind.contains("\\1") || behind.contains("\\2"))
    };
    let behind_groups = || pattern.match_indices(')').filter_map(|(at, _)| pattern.get(at + 1..));
    has_anchor && pattern.split(')').skip(1).any(repeats) || behind_groups().any(bounds)
}

#[test]
fn random_patterns_mean_what_they_mean_to_the_c_library() {
    let mut runner = TestRunner::new(ProptestConfig::default());
    let mut left = usize::try_from(ProptestConfig::default().cases).unwrap().max(BATCH);
    while left > 0 {
        let number = left.min(BATCH);
        left -= number;
        let cases = some(&(pieces(), subjects(), any::<bool>()), &mut runner, number);
        let mut questions = Vec::new();
        for (pattern, subjects, ignore_case) in cases.iter().filter(|(pattern, ..)| !is_beyond_the_library(pattern)) {
            for syntax in SYNTAXES.into_iter().filter(|syntax| !ignore_case || *syntax != Syntax::Fnmatch) {
                let (pattern, ignore_case) = (pattern.as_bytes(), *ignore_case);
                let subjects = subjects.iter().map(|subject| subject.as_bytes());
                questions.extend(subjects.map(|subject| Question { syntax, ignore_case, pattern, subject }));
            }
        }
        let (compared, wrong) = compare(&questions);
        assert!(compared > 8 * number || number < BATCH, "{compared}");
        assert!(wrong.is_empty(), "{} of {compared} differ:\n{wrong}", wrong.lines().count());
    }
}

/// Patterns for which the library is asked at once.
const BATCH: usize = 2048;

proptest::proptest! {
    /// However patterns are stored, a list finds what one of its patterns finds alone.
    #[test]
    fn a_list_finds_what_its_patterns_find(
        patterns in prop::collection::vec(pieces(), 0..20),
        subjects in subjects(),
        ignore_case in any::<bool>(),
        extended in any::<bool>(),
    ) {
        let syntax = if extended { Syntax::Ere } else { Syntax::Bre };
        let patterns: Vec<_> =
            patterns.iter().filter(|pattern| parse(pattern.as_bytes(), syntax, ignore_case).is_ok()).collect();
        let read = |pattern: &str| parse(pattern.as_bytes(), syntax, ignore_case).unwrap();
        let mut builder = Builder::default();
        patterns.iter().for_each(|pattern| builder.add(read(pattern)).unwrap());
        let rules = builder.build().unwrap();
        for subject in subjects.iter().map(|subject| subject.to_lowercase()) {
            let alone = patterns.iter().any(|pattern| match read(pattern) {
                Pattern::Plain(hir) => is_match(&machine(&hir).unwrap(), subject.as_bytes()),
                Pattern::Referring(program) => program.is_found(subject.as_bytes(), &mut Patience::new()).unwrap(),
            });
            proptest::prop_assert_eq!(rules.match_any(subject.as_bytes(), &mut Patience::new()) == Answer::Yes, alone, "{}", subject);
        }
    }

    #[test]
    fn no_bytes_are_too_odd(
        pattern in prop::collection::vec(any::<u8>(), 0..64),
        subject in prop::collection::vec(any::<u8>(), 0..64),
        syntax in prop::sample::select(&SYNTAXES[..]),
        ignore_case in any::<bool>(),
    ) {
        if let Ok(rules) = ready(syntax, ignore_case, &pattern) {
            look(rules.as_ref(), ignore_case, &subject);
        }
    }
}
