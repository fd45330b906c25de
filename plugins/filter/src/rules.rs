//! Patterns made ready for a question: is any of them found in this subject?

use std::collections::BTreeSet;

use regex_automata::{
    meta,
    nfa::thompson::{self, NFA, WhichCaptures, pikevm::PikeVM},
};
use regex_syntax::hir::Hir;

use crate::{
    backtrack::Patience,
    byte_set::ByteSet,
    index::{self, Candidate, Index, Run},
    program::Program,
    shape::{self, Place, Sequence},
    syntax::{Pattern, PatternError},
};

/// Patterns, of which only whether any matches is asked.
pub(crate) struct Rules {
    /// Some pattern is found in every subject.
    is_everything: bool,
    sequences: Sequences,
    /// Patterns that are more than sequences, by bytes that they require.
    machines: Machines,
    /// Patterns that require nothing, many in one.
    others: Vec<meta::Regex>,
    /// Patterns with back-references.
    referring: Vec<Program>,
}

/// Whether any pattern is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Yes,
    No,
    /// Nobody can wait for the answer.
    Unknown,
}

/// Sequences side by side in one piece of memory.
struct Sequences {
    index: Index,
    /// Bytes, and from 256 on places in `sets`.
    places: Box<[u16]>,
    sequences: Box<[Span]>,
    sets: Box<[ByteSet]>,
}

struct Span {
    from: u32,
    length: u16,
    at_start: bool,
    at_end: bool,
}

struct Machines {
    index: Index,
    machines: Box<[NFA]>,
}

/// Takes patterns in, one after the other.
#[derive(Default)]
pub(crate) struct Builder {
    is_everything: bool,
    places: Vec<u16>,
    sequences: Vec<Span>,
    sets: Vec<ByteSet>,
    machines: Vec<(NFA, Vec<u8>)>,
    others: Vec<Hir>,
    referring: Vec<Program>,
}

impl Builder {
    /// Takes a pattern in.
    pub(crate) fn add(&mut self, pattern: Pattern) -> Result<(), PatternError> {
        match pattern {
            Pattern::Plain(hir) => self.add_plain(&hir),
            Pattern::Referring(program) => {
                self.referring.push(program);
                Ok(())
            }
        }
    }

    fn add_plain(&mut self, hir: &Hir) -> Result<(), PatternError> {
        let hir = shape::trimmed(hir);
        if let Some(sequences) = shape::sequences(&hir)
            && sequences.iter().all(|sequence| self.can_hold(sequence))
        {
            sequences.iter().for_each(|sequence| self.add_sequence(sequence));
            return Ok(());
        }
        let longest = shape::required(&hir).into_iter().max_by_key(|bytes| bytes.len());
        match longest.filter(|bytes| index::is_telling(bytes)) {
            Some(bytes) => self.machines.push((machine(&hir)?, bytes.to_vec())),
            None => self.others.push(hir),
        }
        Ok(())
    }

    /// The patterns made ready.
    pub(crate) fn build(self) -> Result<Rules, PatternError> {
        let sequences = Sequences::new(self.places, self.sequences, self.sets);
        let runs: Vec<_> = self.machines.iter().map(|(_, bytes)| vec![Run { bytes, offset: 0 }]).collect();
        let index = Index::new(&runs);
        let machines = self.machines.into_iter().map(|(machine, _)| machine).collect();
        Ok(Rules {
            is_everything: self.is_everything,
            sequences,
            machines: Machines { index, machines },
            others: together(self.others)?,
            referring: self.referring,
        })
    }

    /// Whether a sequence has a byte to be found by, or no place at all.
    fn can_hold(&mut self, sequence: &Sequence) -> bool {
        let has_byte = sequence.places.iter().any(|place| matches!(place, Place::Byte(_)));
        let sets = sequence.places.iter().filter(|place| matches!(place, Place::Set(_))).count();
        let is_everything = sequence.places.is_empty() && !(sequence.at_start && sequence.at_end);
        is_everything || has_byte && self.sets.len() + sets < usize::from(u16::MAX) - 256
    }

    fn add_sequence(&mut self, sequence: &Sequence) {
        if sequence.places.is_empty() {
            self.is_everything = true;
            return;
        }
        // Neither is more than a list in memory can have.
        let from = u32::try_from(self.places.len()).expect("a list has less than 2^32 characters");
        let length = u16::try_from(sequence.places.len()).expect("a sequence is short");
        for place in &sequence.places {
            let code = match place {
                Place::Byte(byte) => u16::from(*byte),
                Place::Set(set) => self.set(set),
            };
            self.places.push(code);
        }
        self.sequences.push(Span { from, length, at_start: sequence.at_start, at_end: sequence.at_end });
    }

    fn set(&mut self, set: &ByteSet) -> u16 {
        let index = self.sets.iter().position(|known| known == set).unwrap_or_else(|| {
            self.sets.push(*set);
            self.sets.len() - 1
        });
        256 + u16::try_from(index).expect("there is room for this set")
    }
}

impl Rules {
    /// Whether any pattern is found.
    pub(crate) fn match_any(&self, subject: &[u8], patience: &mut Patience) -> Answer {
        if self.is_everything
            || self.sequences.match_any(subject)
            || self.machines.match_any(subject)
            || self.others.iter().any(|regex| regex.is_match(subject))
        {
            return Answer::Yes;
        }
        for program in &self.referring {
            if patience.is_over() {
                return Answer::Unknown;
            }
            match program.is_found(subject, patience) {
                Some(true) => return Answer::Yes,
                Some(false) => {}
                None => {
                    tell(program, subject);
                    return Answer::Unknown;
                }
            }
        }
        Answer::No
    }
}

/// Tells once what pattern refuses requests that it does not match.
fn tell(program: &Program, subject: &[u8]) {
    let (pattern, length) = (&program.pattern, subject.len());
    program.told.call_once(|| {
        tracing::warn!(
            target: "lockgate::filter",
            "the pattern {pattern} has a back-reference and takes too long to look for in {length} bytes: the request is refused, \
             and so are others like it, which is not told again"
        );
    });
}

impl Answer {
    /// The answer for two lists, or two ways to write a subject.
    pub(crate) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Yes, _) | (_, Self::Yes) => Self::Yes,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::No, Self::No) => Self::No,
        }
    }
}

impl Sequences {
    fn new(places: Vec<u16>, sequences: Vec<Span>, sets: Vec<ByteSet>) -> Self {
        let bytes: Vec<u8> = places.iter().map(|place| u8::try_from(*place).unwrap_or(0)).collect();
        let runs = |span: &Span| {
            let places = places.get(span.range()).unwrap_or_default();
            let bytes = bytes.get(span.range()).unwrap_or_default();
            let mut from = 0;
            let mut runs = Vec::new();
            for part in places.split(|place| *place >= 256) {
                let run = bytes.get(from..from + part.len()).unwrap_or_default();
                if let Ok(offset) = u32::try_from(from)
                    && !run.is_empty()
                {
                    runs.push(Run { bytes: run, offset });
                }
                from += part.len() + 1;
            }
            runs
        };
        let index = Index::new(&sequences.iter().map(runs).collect::<Vec<_>>());
        Self { index, places: places.into(), sequences: sequences.into(), sets: sets.into() }
    }

    fn match_any(&self, subject: &[u8]) -> bool {
        self.index.find(subject, |candidate, at| self.matches_at(candidate, subject, at)).is_some()
    }

    fn matches_at(&self, candidate: Candidate, subject: &[u8], at: usize) -> bool {
        let Some(span) = self.sequences.get(candidate.pattern as usize) else { return false };
        let Some(from) = at.checked_sub(candidate.offset as usize) else { return false };
        let to = from + usize::from(span.length);
        let Some(bytes) = subject.get(from..to) else { return false };
        if span.at_start && from > 0 || span.at_end && to < subject.len() {
            return false;
        }
        let places = self.places.get(span.range()).unwrap_or_default();
        places.iter().zip(bytes).all(|(place, byte)| match usize::from(*place).checked_sub(256) {
            None => *place == u16::from(*byte),
            Some(set) => self.sets.get(set).is_some_and(|set| set.contains(*byte)),
        })
    }
}

impl Span {
    fn range(&self) -> std::ops::Range<usize> {
        let from = self.from as usize;
        from..from + usize::from(self.length)
    }
}

impl Machines {
    fn match_any(&self, subject: &[u8]) -> bool {
        let mut tried = BTreeSet::new();
        let found = self.index.find(subject, |candidate, _| {
            let is_new = tried.insert(candidate.pattern);
            is_new && self.machines.get(candidate.pattern as usize).is_some_and(|machine| is_match(machine, subject))
        });
        found.is_some()
    }
}

/// A machine takes a time that is proportional to the length of the subject, whatever the pattern.
fn machine(hir: &Hir) -> Result<NFA, PatternError> {
    let config = thompson::Config::new().utf8(false).which_captures(WhichCaptures::None);
    // Only a pattern that is too large makes none.
    thompson::Compiler::new().configure(config).build_from_hir(hir).map_err(|_too_large| PatternError::Size)
}

fn is_match(machine: &NFA, subject: &[u8]) -> bool {
    // What it needs beside the machine is small, and made for the few subjects that hold what it requires.
    PikeVM::new_from_nfa(machine.clone()).is_ok_and(|machine| machine.is_match(&mut machine.create_cache(), subject))
}

/// The patterns as few large ones.
fn together(patterns: Vec<Hir>) -> Result<Vec<meta::Regex>, PatternError> {
    let mut all = Vec::new();
    let (mut some, mut states) = (Vec::new(), 0);
    for pattern in patterns {
        states += shape::size(&pattern);
        some.push(pattern);
        if states > MOST_STATES || some.len() >= MOST_TOGETHER {
            all.push(regex(std::mem::take(&mut some))?);
            states = 0;
        }
    }
    if !some.is_empty() {
        all.push(regex(some)?);
    }
    Ok(all)
}

fn regex(patterns: Vec<Hir>) -> Result<meta::Regex, PatternError> {
    let config = meta::Config::new()
        .utf8_empty(false)
        .which_captures(WhichCaptures::None)
        .nfa_size_limit(None)
        .hybrid_cache_capacity(MOST_MEMORY);
    let regex = meta::Regex::builder().configure(config).build_from_hir(&Hir::alternation(patterns));
    regex.map_err(|_too_large| PatternError::Size)
}

const MOST_STATES: usize = 50_000;
const MOST_TOGETHER: usize = 128;
/// For what each thread remembers of a large pattern.
const MOST_MEMORY: usize = 1 << 20;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
