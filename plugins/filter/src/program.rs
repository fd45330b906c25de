//! Patterns with back-references, as instructions for whoever tries them out.

use std::sync::Once;

use regex_syntax::hir::Look;

use crate::{
    byte_set::ByteSet,
    expression::{Expression, Repeated},
    shape,
    syntax::PatternError,
};

/// A pattern as instructions.
pub(crate) struct Program {
    /// The pattern, for those who read it.
    pub(crate) pattern: String,
    /// Whether it was told already that a search takes too long.
    pub(crate) told: Once,
    pub(crate) code: Vec<Instruction>,
    /// For each instruction, whether what comes of it is the same whatever groups found.
    pub(crate) is_free: Vec<bool>,
    /// For each instruction, what a back-reference that follows soon asks for.
    pub(crate) soon: Vec<Option<Soon>>,
    /// Whether an instruction leads back to one in front of it.
    pub(crate) repeats: bool,
    /// How many places are remembered.
    pub(crate) slots: usize,
    /// Bytes of which every subject that matches holds all.
    pub(crate) required: Vec<Box<[u8]>>,
}

/// A back-reference to a group that ends before it, with nothing between them but bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Soon {
    /// Where the start of the group is remembered.
    pub(crate) slot: usize,
    /// How many bytes stand in front of it.
    pub(crate) offset: usize,
}

#[derive(Clone, Copy)]
pub(crate) enum Instruction {
    Byte(u8),
    Set(ByteSet),
    /// Any number of bytes of this set.
    Many(ByteSet),
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

impl Program {
    pub(crate) fn new(pattern: &[u8], expression: &Expression) -> Result<Self, PatternError> {
        let mut program = Self {
            pattern: String::from_utf8_lossy(pattern).replace(char::is_control, "\u{fffd}"),
            told: Once::new(),
            code: Vec::new(),
            is_free: Vec::new(),
            soon: Vec::new(),
            repeats: false,
            slots: 2 * (MOST_GROUPS + 1),
            required: shape::required(&expression.to_hir()).into_iter().map(Box::from).collect(),
        };
        program.add(expression)?;
        program.code.push(Instruction::Found);
        program.soon = (0..program.code.len()).map(|index| soon(program.code.get(index + 1..)?)).collect();
        program.repeats = program.code.iter().any(|instruction| matches!(instruction, Instruction::Again { .. }));
        program.is_free = asked(&program.code).into_iter().map(|slots| slots == 0).collect();
        Ok(program)
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
        let Some(max) = max else {
            return match **part {
                Expression::Byte(byte) => self.many(ByteSet::of(|other| other == byte)),
                Expression::Set(set) => self.many(set),
                _ => self.endless(part),
            };
        };
        let mut forks = Vec::new();
        for _ in *min..*max {
            forks.push(self.hole());
            self.add(part)?;
        }
        let end = self.code.len();
        forks.into_iter().for_each(|hole| self.code[hole] = Instruction::Else(end));
        Ok(())
    }

    fn many(&mut self, set: ByteSet) -> Result<(), PatternError> {
        self.code.push(Instruction::Many(set));
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

fn soon(code: &[Instruction]) -> Option<Soon> {
    let (mut offset, mut ended) = (0, None);
    for instruction in code {
        match instruction {
            Instruction::Save(slot) => ended = Some(*slot),
            Instruction::Byte(_) | Instruction::Set(_) => offset += 1,
            Instruction::Reference(slot) if ended == Some(slot + 1) => return Some(Soon { slot: *slot, offset }),
            _ => break,
        }
    }
    None
}

/// For each instruction, the slots (a bit for each) of which the program may ask from there on what was put in before.
fn asked(code: &[Instruction]) -> Vec<u32> {
    let mut asked = vec![0; code.len()];
    loop {
        let before = asked.clone();
        for (at, instruction) in code.iter().enumerate().rev() {
            let behind = asked.get(at + 1).copied().unwrap_or(0);
            asked[at] = match instruction {
                Instruction::Else(there) => behind | asked[*there],
                Instruction::Jump(to) => asked[*to],
                // The place in `since` only keeps the search from standing still.
                Instruction::Again { to, .. } => behind | asked[*to],
                Instruction::Save(slot) => behind & !bit(*slot),
                Instruction::Reference(slot) => behind | bit(*slot) | bit(*slot + 1),
                Instruction::Found => 0,
                Instruction::Byte(_) | Instruction::Set(_) | Instruction::Many(_) | Instruction::Look(_) => behind,
            };
        }
        if asked == before {
            return asked;
        }
    }
}

/// No back-reference asks for the slots that have none.
fn bit(slot: usize) -> u32 {
    u32::try_from(slot).ok().and_then(|slot| 1_u32.checked_shl(slot)).unwrap_or(0)
}

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
    fn a_large_pattern_is_refused() {
        assert_eq!(program("(a{200}){200}\\1").err(), Some(PatternError::Size));
        assert!(program("(a{200}){20}\\1").is_ok());
    }

    #[test]
    fn only_what_stands_between_a_group_and_what_asks_for_it_depends_on_it() {
        let is_free = |pattern: &str| -> String {
            program(pattern).unwrap().is_free.iter().map(|is_free| if *is_free { '.' } else { '!' }).collect()
        };
        // x, Save, a, Save, b, Reference, c, Found.
        assert_eq!(is_free("x(a)b\\1c"), "..!!!!..");
        // Save, Many, Save, Many, Reference, Many, Found.
        assert_eq!(is_free("(a*).*\\1b*"), ".!!!!..");
        // Else, Save, Save, a, Again, then a group that is asked for.
        assert!(is_free("(ab|c)*(.)\\2").starts_with("........"), "{}", is_free("(ab|c)*(.)\\2"));
    }

    #[test]
    fn it_is_known_what_is_asked_for_soon() {
        let soon = |pattern: &str| program(pattern).unwrap().soon[1];
        assert_eq!(soon("(a*)\\1"), Some(Soon { slot: 2, offset: 0 }));
        assert_eq!(soon("(a*b)=[c]\\1"), Some(Soon { slot: 2, offset: 3 }));
        assert_eq!(soon("(a*)b?\\1"), None);
        assert_eq!(soon("(a*(b))\\1"), Some(Soon { slot: 2, offset: 1 }));
        assert_eq!(soon("(a*)(b)\\1"), None);
    }

    #[test]
    fn literals_outside_of_alternatives_are_required() {
        let program = program("ab(c|d)+=\\1;(e)?").unwrap();
        let required: Vec<_> = program.required.iter().map(|bytes| &**bytes).collect();
        assert_eq!(required, [&b"ab"[..], b"=", b";"]);
    }
}
