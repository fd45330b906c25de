//! Patterns with back-references. No machine looks for them in linear time: they are looked for by trying, within a bound.

use regex_syntax::hir::Look;

use crate::{
    byte_set::ByteSet,
    program::{Instruction, Program},
    table::Table,
};

/// How much may still be tried for one request, and the memory in which it is tried. A client chooses the subject, and could choose
/// one that takes for ever.
pub(crate) struct Patience {
    steps: u32,
    slots: Vec<Option<usize>>,
    trail: Vec<Trail>,
    table: Table,
}

/// What to come back to.
enum Trail {
    Try { next: usize, at: usize },
    Restore { slot: usize, place: Option<usize> },
}

struct Search<'s> {
    program: &'s Program,
    subject: &'s [u8],
    patience: &'s mut Patience,
}

impl Patience {
    /// For one request, in all its spellings, and all patterns: some hundredths of a second.
    pub(crate) fn new() -> Self {
        Self::of(MOST_STEPS)
    }

    pub(crate) fn of(steps: u32) -> Self {
        Self { steps, slots: Vec::new(), trail: Vec::new(), table: Table::default() }
    }

    /// Whether there is none left.
    pub(crate) fn is_over(&self) -> bool {
        self.steps == 0
    }

    /// Takes the time for so many steps; `None` when there is not so much left.
    fn spend(&mut self, steps: usize) -> Option<()> {
        let left = u32::try_from(steps).ok().and_then(|steps| self.steps.checked_sub(steps));
        // Whoever asked for too much gets nothing cheaper either: another pattern would take what is left, for nothing.
        self.steps = left.unwrap_or(0);
        left.map(|_| ())
    }
}

impl Program {
    /// Whether the pattern is found anywhere; `None` when patience ends before that is known.
    pub(crate) fn is_found(&self, subject: &[u8], patience: &mut Patience) -> Option<bool> {
        for bytes in &self.required {
            patience.spend(1 + subject.len() / COMPARED)?;
            if !subject.windows(bytes.len()).any(|window| window == &**bytes) {
                return Some(false);
            }
        }
        patience.spend(1 + Table::cost(self, subject) + self.slots / COMPARED)?;
        patience.table.fill(self, subject);
        patience.slots.clear();
        patience.slots.resize(self.slots, None);
        patience.trail.clear();
        let mut search = Search { program: self, subject, patience };
        let mut from = 0;
        while let Some(start) = search.next_possible(0, from)? {
            if search.is_found_at(start)? {
                return Some(true);
            }
            from = start + 1;
        }
        Some(false)
    }
}

impl Search<'_> {
    /// Slots are as they were before when nothing is found.
    fn is_found_at(&mut self, start: usize) -> Option<bool> {
        self.patience.trail.push(Trail::Try { next: 0, at: start });
        while let Some(last) = self.patience.trail.pop() {
            match last {
                Trail::Restore { slot, place } => self.patience.slots[slot] = place,
                Trail::Try { next, at } => {
                    if self.follow(next, at)? {
                        return Some(true);
                    }
                }
            }
        }
        Some(false)
    }

    /// Goes on from an instruction until it leads to nothing, or to the end.
    fn follow(&mut self, mut next: usize, mut at: usize) -> Option<bool> {
        let (program, subject) = (self.program, self.subject);
        loop {
            self.patience.spend(1)?;
            if !self.patience.table.is_worth_trying(next, at, program.is_free[next]) {
                return Some(false);
            }
            let mut goes_to = next + 1;
            // What reads a byte can be passed here, or the table had told.
            match program.code[next] {
                Instruction::Found => return Some(true),
                Instruction::Byte(_) | Instruction::Set(_) => at += 1,
                Instruction::Look(_) => {}
                Instruction::Many(set) => {
                    let Some(end) = self.end_of_many(next, at, set)? else { return Some(false) };
                    if subject.get(end).is_some_and(|byte| set.contains(*byte)) {
                        self.patience.trail.push(Trail::Try { next, at: end + 1 });
                    }
                    at = end;
                }
                Instruction::Else(there) => self.patience.trail.push(Trail::Try { next: there, at }),
                Instruction::Jump(to) => goes_to = to,
                Instruction::Save(slot) => {
                    let place = self.patience.slots[slot].replace(at);
                    self.patience.trail.push(Trail::Restore { slot, place });
                }
                Instruction::Again { since, to } => {
                    if self.patience.slots[since] != Some(at) {
                        goes_to = to;
                    }
                }
                Instruction::Reference(slot) => match self.again(slot, at)? {
                    Some(behind) => at = behind,
                    None => return Some(false),
                },
            }
            if self.patience.trail.len() > MOST_REMEMBERED {
                self.patience.steps = 0;
                return None;
            }
            next = goes_to;
        }
    }

    /// The end of what a group found when it stands here once more.
    fn again(&mut self, slot: usize, at: usize) -> Option<Option<usize>> {
        let (Some(from), Some(to)) = (self.patience.slots[slot], self.patience.slots[slot + 1]) else {
            return Some(None);
        };
        let (Some(found), Some(rest)) = (self.subject.get(from..to), self.subject.get(at..)) else { return Some(None) };
        // Most differ at once; comparing more is work.
        let (start, more) = found.split_at(found.len().min(COMPARED));
        if !rest.starts_with(start) {
            return Some(None);
        }
        self.patience.spend(more.len() / COMPARED)?;
        Some(rest.starts_with(found).then_some(at + found.len()))
    }

    /// The first place from which it can go on behind any number of bytes of a set.
    fn end_of_many(&mut self, next: usize, mut at: usize, set: ByteSet) -> Option<Option<usize>> {
        let soon = self.program.soon[next];
        let Some((start, offset)) = soon.and_then(|soon| Some((self.patience.slots[soon.slot]?, soon.offset))) else {
            return self.next_possible(next + 1, at);
        };
        // A group that is asked for soon ends where its first byte stands again, or holds nothing.
        let first = self.subject.get(start);
        let mut passed = 0;
        let end = loop {
            match self.next_possible(next + 1, at)? {
                Some(end) if end == start || self.subject.get(end + offset) == first => break Some(end),
                Some(end) if self.subject.get(end).is_some_and(|byte| set.contains(*byte)) => at = end + 1,
                _ => break None,
            }
            passed += 1;
        };
        self.patience.spend(passed / PASSED)?;
        Some(end)
    }

    fn next_possible(&mut self, next: usize, from: usize) -> Option<Option<usize>> {
        let place = self.patience.table.next_possible(next, from);
        let looked_at = place.unwrap_or(self.subject.len()).saturating_sub(from);
        self.patience.spend(looked_at / LOOKED_AT)?;
        Some(place)
    }
}

pub(crate) fn holds(look: Look, subject: &[u8], at: usize) -> bool {
    let is_word = |byte: Option<&u8>| byte.is_some_and(|byte| ByteSet::word().contains(*byte));
    let before = || is_word(at.checked_sub(1).and_then(|before| subject.get(before)));
    let behind = || is_word(subject.get(at));
    match look {
        Look::Start => at == 0,
        Look::End => at == subject.len(),
        Look::WordAscii => before() != behind(),
        Look::WordAsciiNegate => before() == behind(),
        Look::WordStartAscii => !before() && behind(),
        Look::WordEndAscii => before() && !behind(),
        // There are no others in these languages.
        _ => false,
    }
}

const MOST_STEPS: u32 = 20_000_000;
/// So many bytes are compared in the time of a step.
const COMPARED: usize = 16;
/// So many bytes are passed one by one in the time of a step.
const PASSED: usize = 2;
/// Of so many places it is known in the time of a step that nothing is possible there.
const LOOKED_AT: usize = 512;
const MOST_REMEMBERED: usize = 200_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Syntax,
        syntax::{self, Pattern},
    };

    fn program(pattern: &str) -> Program {
        match syntax::parse(pattern.as_bytes(), Syntax::Ere, false) {
            Ok(Pattern::Referring(program)) => program,
            _ => panic!("{pattern} refers to nothing"),
        }
    }

    /// How many steps it takes to find that out.
    fn steps(pattern: &str, subject: &[u8], expected: Option<bool>) -> u32 {
        let mut patience = Patience::new();
        assert_eq!(program(pattern).is_found(subject, &mut patience), expected, "{pattern}");
        MOST_STEPS - patience.steps
    }

    /// Letters as a long URL has them: none of them tells what comes.
    fn letters(number: usize) -> Vec<u8> {
        let mut mixed: u32 = 1;
        let mut letter = || {
            mixed = mixed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b'a' + u8::try_from((mixed >> 24) % 26).unwrap()
        };
        (0..number).map(|_| letter()).collect()
    }

    #[test]
    fn a_search_ends_when_patience_does() {
        let program = program("((a|b)*c?)*\\2(a*)*\\1\\3d");
        let mut patience = Patience::of(100_000);
        assert_eq!(program.is_found(&[&[b'a'; 5000][..], b"d"].concat(), &mut patience), None);
        assert_eq!(patience.steps, 0);
        assert!(steps("((a*)*)*\\2(a*)*b", b"aab", Some(true)) < 200);
    }

    #[test]
    fn patience_is_for_all_patterns() {
        let program = program("(.)\\1");
        let mut patience = Patience::of(200);
        assert_eq!(program.is_found(b"abcdefg", &mut patience), Some(false));
        assert_eq!(program.is_found("abcdefgh".repeat(9).as_bytes(), &mut patience), None);
        assert_eq!(program.is_found(b"a", &mut patience), None, "and ends for all");
    }

    #[test]
    fn what_a_subject_lacks_is_known_at_once() {
        let long = letters(65_000);
        for pattern in ["(.{1,})=\\1;", "(.+)=\\1", "((a|b)*)*\\1-(x*)*"] {
            assert!(steps(pattern, &long, Some(false)) < 10_000, "{pattern}");
        }
    }

    #[test]
    fn long_subjects_are_looked_at_to_their_end() {
        let words = letters(8000);
        let query: Vec<u8> = words.chunks(80).flat_map(|word| [word, b"=x&;"].concat()).collect();
        for (pattern, subject, most) in [
            ("(.{1,})=\\1;", &query[..], 2_000_000),
            ("(.+)=([^;]+);\\1=\\2;", &query, 10_000_000),
            ("/(.+)/\\1/\\1/", &query, 1000),
            ("^http://(.*)\\.\\1/", &query, 1000),
            ("(ad[0-9]+).*\\1", &query, 200_000),
            ("([a-z0-9]{8,16})[^a-z0-9].*\\1=", &query, 10_000_000),
            // Nothing stands between the group and what asks for it: the time grows with the square of the length.
            ("(.{3,})\\1\\1", &words[..2000], 2_000_000),
        ] {
            let took = steps(pattern, subject, Some(false));
            assert!(took < most, "{pattern}: {took}");
        }
    }

    #[test]
    fn searches_in_one_memory_know_nothing_of_each_other() {
        let mut patience = Patience::new();
        let mut is_found = |pattern: &str, subject: &str| program(pattern).is_found(subject.as_bytes(), &mut patience);
        for _ in 0..2 {
            assert_eq!(is_found("(a|b)*c\\1", "abcb"), Some(true));
            assert_eq!(is_found("(a)?x\\1", "xa"), Some(false), "a group that found nothing");
            assert_eq!(is_found("(.+)-\\1$", "ab-ab"), Some(true));
            assert_eq!(is_found("(.+)-\\1$", "ab-abc"), Some(false));
            assert_eq!(is_found("^(.*)\\1$", &"ab".repeat(100)), Some(true));
            assert_eq!(is_found("^(.*)\\1$", &"ab".repeat(99).replace("baba", "ba-ba")), Some(false));
        }
    }
}
