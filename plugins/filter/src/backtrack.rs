//! Patterns with back-references. No machine looks for them in linear time: they are looked for by trying, within a bound.

use regex_syntax::hir::Look;

use crate::{
    byte_set::ByteSet,
    expression::{Expression, Repeated},
    syntax::PatternError,
};

/// A pattern as instructions.
pub(crate) struct Program {
    code: Vec<Instruction>,
    slots: usize,
}

/// How much may still be tried for one subject. A client chooses it, and could choose one that takes for ever.
pub(crate) struct Patience(u32);

enum Instruction {
    Byte(u8),
    Set(ByteSet),
    Look(Look),
    /// Goes on, and when that leads to nothing there.
    Else(usize),
    Jump(usize),
    /// Remembers the place.
    Save(usize),
    /// Jumps, unless nothing was read since the place in this slot.
    Again {
        since: usize,
        to: usize,
    },
    /// What stands between this slot and the next once more.
    Reference(usize),
    Found,
}

/// What to come back to.
enum Trail {
    Try { next: usize, at: usize },
    Restore { slot: usize, place: Option<usize> },
}

impl Program {
    pub(crate) fn new(expression: &Expression) -> Result<Self, PatternError> {
        let mut program = Self { code: Vec::new(), slots: 2 * (MOST_GROUPS + 1) };
        program.add(expression)?;
        program.code.push(Instruction::Found);
        Ok(program)
    }

    /// Whether the pattern is found anywhere; `None` when patience ends before that is known.
    pub(crate) fn is_found(&self, subject: &[u8], patience: &mut Patience) -> Option<bool> {
        for start in 0..=subject.len() {
            if self.is_found_at(subject, start, patience)? {
                return Some(true);
            }
        }
        Some(false)
    }

    fn is_found_at(&self, subject: &[u8], start: usize, patience: &mut Patience) -> Option<bool> {
        let mut slots = vec![None; self.slots];
        let mut trail = vec![Trail::Try { next: 0, at: start }];
        while let Some(last) = trail.pop() {
            match last {
                Trail::Restore { slot, place } => slots[slot] = place,
                Trail::Try { next, at } => {
                    if self.follow(subject, next, at, &mut slots, &mut trail, patience)? {
                        return Some(true);
                    }
                }
            }
        }
        Some(false)
    }

    /// Goes on from an instruction until it leads to nothing, or to the end.
    fn follow(
        &self,
        subject: &[u8],
        mut next: usize,
        mut at: usize,
        slots: &mut [Option<usize>],
        trail: &mut Vec<Trail>,
        patience: &mut Patience,
    ) -> Option<bool> {
        loop {
            patience.0 = patience.0.checked_sub(1)?;
            let read = subject.get(at..).unwrap_or_default();
            let mut goes_to = next + 1;
            let is_right = match &self.code[next] {
                Instruction::Found => return Some(true),
                Instruction::Byte(byte) => read.first() == Some(byte),
                Instruction::Set(set) => read.first().is_some_and(|byte| set.contains(*byte)),
                Instruction::Look(look) => holds(*look, subject, at),
                Instruction::Else(there) => {
                    trail.push(Trail::Try { next: *there, at });
                    true
                }
                Instruction::Jump(to) => {
                    goes_to = *to;
                    true
                }
                Instruction::Save(slot) => {
                    trail.push(Trail::Restore { slot: *slot, place: slots[*slot].replace(at) });
                    true
                }
                Instruction::Again { since, to } => {
                    if slots[*since] != Some(at) {
                        goes_to = *to;
                    }
                    true
                }
                Instruction::Reference(slot) => match (slots[*slot], slots[*slot + 1]) {
                    (Some(from), Some(to)) if from <= to => {
                        // Comparing is work too.
                        patience.0 = patience.0.checked_sub(u32::try_from((to - from) / COMPARED).ok()?)?;
                        let is_again = read.starts_with(&subject[from..to]);
                        at += if is_again { to - from } else { 0 };
                        is_again
                    }
                    _ => false,
                },
            };
            if !is_right {
                return Some(false);
            }
            if trail.len() > MOST_REMEMBERED {
                return None;
            }
            at += usize::from(matches!(self.code[next], Instruction::Byte(_) | Instruction::Set(_)));
            next = goes_to;
        }
    }

    fn add(&mut self, expression: &Expression) -> Result<(), PatternError> {
        if self.code.len() > MOST_INSTRUCTIONS {
            return Err(PatternError::Size);
        }
        match expression {
            Expression::Empty => {}
            Expression::Byte(byte) => self.code.push(Instruction::Byte(*byte)),
            Expression::Set(set) => self.code.push(Instruction::Set(*set)),
            Expression::Look(look) => self.code.push(Instruction::Look(*look)),
            Expression::Concat(parts) => parts.iter().try_for_each(|part| self.add(part))?,
            Expression::Alternation(parts) => self.alternation(parts)?,
            // No reference reaches the groups beyond the ninth.
            Expression::Group(number, part) if *number > MOST_GROUPS => self.add(part)?,
            Expression::Group(number, part) => {
                self.code.push(Instruction::Save(2 * number));
                self.add(part)?;
                self.code.push(Instruction::Save(2 * number + 1));
            }
            Expression::Repetition(repeated) => self.repetition(repeated)?,
            Expression::Reference(number) => self.code.push(Instruction::Reference(2 * number)),
        }
        Ok(())
    }

    fn alternation(&mut self, parts: &[Expression]) -> Result<(), PatternError> {
        let Some((last, others)) = parts.split_last() else { return Ok(()) };
        let mut ends = Vec::new();
        for part in others {
            let fork = self.hole();
            self.add(part)?;
            ends.push(self.hole());
            self.code[fork] = Instruction::Else(self.code.len());
        }
        self.add(last)?;
        let end = self.code.len();
        ends.into_iter().for_each(|hole| self.code[hole] = Instruction::Jump(end));
        Ok(())
    }

    fn repetition(&mut self, Repeated { min, max, part }: &Repeated) -> Result<(), PatternError> {
        for _ in 0..*min {
            self.add(part)?;
        }
        let Some(max) = max else { return self.endless(part) };
        let mut forks = Vec::new();
        for _ in *min..*max {
            forks.push(self.hole());
            self.add(part)?;
        }
        let end = self.code.len();
        forks.into_iter().for_each(|hole| self.code[hole] = Instruction::Else(end));
        Ok(())
    }

    fn endless(&mut self, part: &Expression) -> Result<(), PatternError> {
        let since = self.slots;
        self.slots += 1;
        let fork = self.hole();
        self.code.push(Instruction::Save(since));
        self.add(part)?;
        self.code.push(Instruction::Again { since, to: fork });
        self.code[fork] = Instruction::Else(self.code.len());
        Ok(())
    }

    /// Room for an instruction whose target is not known yet.
    fn hole(&mut self) -> usize {
        self.code.push(Instruction::Jump(0));
        self.code.len() - 1
    }
}

impl Patience {
    /// For one subject and all patterns: some milliseconds.
    pub(crate) fn new() -> Self {
        Self(MOST_STEPS)
    }
}

fn holds(look: Look, subject: &[u8], at: usize) -> bool {
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

const MOST_STEPS: u32 = 1_000_000;
/// So many bytes are compared in the time of a step.
const COMPARED: usize = 16;
const MOST_REMEMBERED: usize = 200_000;
const MOST_INSTRUCTIONS: usize = 20_000;
/// A back-reference has one digit.
const MOST_GROUPS: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Syntax,
        syntax::{self, Pattern},
    };

    fn program(pattern: &str) -> Result<Program, PatternError> {
        match syntax::parse(pattern.as_bytes(), Syntax::Ere, false)? {
            Pattern::Referring(program) => Ok(program),
            Pattern::Plain(_) => panic!("{pattern} refers to nothing"),
        }
    }

    #[test]
    fn a_search_ends_when_patience_does() {
        let program = program("((a*)*)*\\2(a*)*b").unwrap();
        assert_eq!(program.is_found(&[b'a'; 5000], &mut Patience::new()), None);
        let mut patience = Patience::new();
        assert_eq!(program.is_found(b"aab", &mut patience), Some(true));
        assert!(patience.0 > MOST_STEPS - 100, "{}", patience.0);
    }

    #[test]
    fn patience_is_for_all_patterns() {
        let program = program("(.)\\1").unwrap();
        let mut patience = Patience(50);
        assert_eq!(program.is_found(b"abcd", &mut patience), Some(false));
        assert_eq!(program.is_found(b"abcdefghijk", &mut patience), None);
    }

    #[test]
    fn a_large_pattern_is_refused() {
        assert_eq!(program("(a{200}){200}\\1").err(), Some(PatternError::Size));
        assert!(program("(a{200}){20}\\1").is_ok());
    }
}
