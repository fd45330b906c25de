//! Where in a subject each instruction of a program can lead to a match at all.

use crate::{
    backtrack::holds,
    program::{Instruction, Program},
};

/// A bit for each instruction and each place, in rows of places. It is told backwards from the end, in a time that is proportional to
/// both, as if a back-reference were anything.
#[derive(Default)]
pub(crate) struct Table {
    words: usize,
    possible: Vec<u64>,
    /// From there it was tried already, and what comes of it depends on nothing else.
    tried: Vec<u64>,
    /// Which instructions can lead to a match from the place that is looked at, and from the one behind it.
    now: Vec<bool>,
    behind: Vec<bool>,
}

impl Table {
    /// How many steps it is worth to fill it.
    pub(crate) fn cost(program: &Program, subject: &[u8]) -> usize {
        let passes = 1 + usize::from(program.repeats);
        program.code.len().saturating_mul(passes * (subject.len() + 1))
    }

    pub(crate) fn fill(&mut self, program: &Program, subject: &[u8]) {
        let instructions = program.code.len();
        self.words = subject.len() / 64 + 1;
        for bits in [&mut self.possible, &mut self.tried] {
            bits.clear();
            bits.resize(instructions * self.words, 0);
        }
        for column in [&mut self.now, &mut self.behind] {
            column.clear();
            column.resize(instructions, false);
        }
        for at in (0..=subject.len()).rev() {
            std::mem::swap(&mut self.now, &mut self.behind);
            self.now.fill(false);
            // Only a repetition leads back to an instruction in front of it.
            while self.look_at(program, subject, at) {}
            for (instruction, _) in self.now.iter().enumerate().filter(|(_, is_possible)| **is_possible) {
                self.possible[instruction * self.words + at / 64] |= 1 << (at % 64);
            }
        }
    }

    /// Whether a place must be looked at once more.
    fn look_at(&mut self, program: &Program, subject: &[u8], at: usize) -> bool {
        let byte = subject.get(at);
        let mut is_new = false;
        for (index, instruction) in program.code.iter().enumerate().rev() {
            let (now, behind) = (&self.now, &self.behind);
            let is_possible = match instruction {
                Instruction::Found => true,
                Instruction::Byte(other) => byte == Some(other) && behind[index + 1],
                Instruction::Set(set) => byte.is_some_and(|byte| set.contains(*byte)) && behind[index + 1],
                Instruction::Many(set) => {
                    now[index + 1] || byte.is_some_and(|byte| set.contains(*byte)) && behind[index]
                }
                Instruction::Look(look) => now[index + 1] && holds(*look, subject, at),
                Instruction::Else(there) => now[index + 1] || now[*there],
                Instruction::Jump(to) => now[*to],
                Instruction::Save(_) => now[index + 1],
                Instruction::Again { to, .. } => now[index + 1] || now[*to],
                // It ends here or anywhere behind.
                Instruction::Reference(_) => now[index + 1] || behind[index],
            };
            is_new |= is_possible && !now[index];
            self.now[index] = is_possible;
        }
        is_new && program.repeats
    }

    /// Whether this instruction may lead to a match from there. It is asked once only where the answer is the same for ever.
    pub(crate) fn is_worth_trying(&mut self, instruction: usize, at: usize, is_free: bool) -> bool {
        let (word, bit) = (instruction * self.words + at / 64, 1 << (at % 64));
        let is_worth = self.possible[word] & bit != 0 && self.tried[word] & bit == 0;
        if is_free {
            self.tried[word] |= bit;
        }
        is_worth
    }

    /// The first place, from this one on, from where this instruction can lead to a match.
    pub(crate) fn next_possible(&self, instruction: usize, from: usize) -> Option<usize> {
        let row = self.possible.get(instruction * self.words..(instruction + 1) * self.words)?;
        let first = from / 64;
        let head = row.get(first)? & (u64::MAX << (from % 64));
        // Often it is the next place.
        if head >> (from % 64) & 1 == 1 {
            return Some(from);
        }
        let words = std::iter::once(head).chain(row.get(first + 1..)?.iter().copied());
        let (word, bits) = (first..).zip(words).find(|(_, bits)| *bits != 0)?;
        Some(word * 64 + usize::try_from(bits.trailing_zeros()).ok()?)
    }
}
