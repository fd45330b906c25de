//! Which of very many patterns can be found in a subject at all, told by a few bytes that each of them requires.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// Bytes that a pattern requires, side by side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    pub(crate) bytes: &'a [u8],
    /// How many bytes of a match stand before it, when that is known.
    pub(crate) offset: u32,
}

/// A pattern that should be looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) pattern: u32,
    /// How many bytes of a match stand before the bytes that were found.
    pub(crate) offset: u32,
}

/// Patterns by one gram of each: the least frequent of the longest, so that few patterns share one.
pub(crate) struct Index {
    places: Map<(u32, u32)>,
    candidates: Box<[Candidate]>,
    /// The lengths that occur.
    lengths: Box<[usize]>,
}

/// A gram: up to six bytes, and how many they are.
type Gram = u64;

type Map<V> = HashMap<Gram, V, BuildHasherDefault<Mixer>>;

impl Index {
    /// An index of patterns by their runs, none of which is without one.
    pub(crate) fn new<'a>(patterns: &[Vec<Run<'a>>]) -> Self {
        let mut counts = Map::<u32>::default();
        for (gram, _) in patterns.iter().flat_map(|runs| grams(runs)) {
            *counts.entry(gram).or_default() += 1;
        }
        let rarest = |runs: &Vec<Run<'a>>| grams(runs).min_by_key(|(gram, _)| counts.get(gram).copied());
        let mut found: Vec<(Gram, Candidate)> = Vec::with_capacity(patterns.len());
        for (pattern, runs) in (0..).zip(patterns) {
            found.extend(rarest(runs).map(|(gram, offset)| (gram, Candidate { pattern, offset })));
        }
        found.sort_unstable_by_key(|(gram, candidate)| (*gram, candidate.pattern));
        let mut places = Map::default();
        for (index, (gram, _)) in (0..).zip(&found) {
            places.entry(*gram).or_insert((index, index)).1 = index + 1;
        }
        places.shrink_to_fit();
        let is_used = |length: &usize| found.iter().any(|(gram, _)| length_of(*gram) == *length);
        Self {
            places,
            lengths: LENGTHS.into_iter().filter(is_used).collect(),
            candidates: found.into_iter().map(|(_, candidate)| candidate).collect(),
        }
    }

    /// The first candidate that passes the test, which is told where in the subject the bytes were found.
    pub(crate) fn find(&self, subject: &[u8], mut test: impl FnMut(Candidate, usize) -> bool) -> Option<Candidate> {
        for length in &self.lengths {
            for (at, bytes) in subject.windows(*length).enumerate() {
                let Some(&(from, to)) = self.places.get(&gram(bytes)) else { continue };
                // A u32 is a usize wherever a list of so many patterns fits.
                let candidates = self.candidates.get(from as usize..to as usize).unwrap_or_default();
                if let Some(found) = candidates.iter().find(|candidate| test(**candidate, at)) {
                    return Some(*found);
                }
            }
        }
        None
    }
}

/// Whether these bytes are many enough to tell a pattern from most others.
pub(crate) fn is_telling(bytes: &[u8]) -> bool {
    bytes.len() >= TELLING
}

/// The grams of the greatest length that the runs have, with the number of bytes before each.
fn grams(runs: &[Run<'_>]) -> impl Iterator<Item = (Gram, u32)> {
    let longest = runs.iter().map(|run| run.bytes.len()).max().unwrap_or(0);
    let length = LENGTHS.into_iter().find(|length| *length <= longest);
    length.into_iter().flat_map(move |length| {
        runs.iter().flat_map(move |run| {
            let offsets = (0..).zip(run.bytes.windows(length));
            offsets.map(move |(before, bytes): (u32, _)| (gram(bytes), run.offset + before))
        })
    })
}

fn gram(bytes: &[u8]) -> Gram {
    bytes.iter().fold(bytes.len() as Gram, |gram, byte| gram << 8 | Gram::from(*byte))
}

fn length_of(gram: Gram) -> usize {
    LENGTHS.into_iter().find(|length| gram >> (8 * length) == *length as Gram).unwrap_or(0)
}

/// Grams are compared by multiplying: what is looked up comes from clients, but what it could collide with from the operator.
#[derive(Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // The map takes its buckets from the low bits, in which a product knows little of its high ones.
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// Longest first. Each costs a look-up at every byte of a subject, so not every length is there.
const LENGTHS: [usize; 5] = [6, 4, 3, 2, 1];
const TELLING: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    /// An index of texts, in which `?` is any byte.
    fn index(texts: &[&str]) -> Index {
        let runs = |text: &&'static str| {
            let mut offset = 0;
            let mut runs = Vec::new();
            for part in text.split('?') {
                runs.push(Run { bytes: part.as_bytes(), offset });
                offset += u32::try_from(part.len() + 1).unwrap();
            }
            runs
        };
        let texts: Vec<&'static str> = texts.iter().map(|text| &*text.to_string().leak()).collect();
        Index::new(&texts.iter().map(runs).collect::<Vec<_>>())
    }

    /// Which texts may be found, and from where on.
    fn candidates(index: &Index, subject: &str) -> Vec<(u32, usize)> {
        let mut all = Vec::new();
        index.find(subject.as_bytes(), |candidate, at| {
            all.push((candidate.pattern, at - candidate.offset as usize));
            false
        });
        all.sort_unstable();
        all
    }

    #[test]
    fn texts_are_looked_for_by_what_they_do_not_share() {
        let index = index(&["adserver?example", "banner?example", "example?org", "a", ""]);
        assert_eq!(candidates(&index, "x.bannerexample"), [(1, 2), (2, 8), (3, 3), (3, 10)]);
        assert_eq!(
            candidates(&index, "banner.exampl"),
            [(1, 0), (2, 7), (3, 1), (3, 9)],
            "the least frequent gram decides"
        );
        assert_eq!(candidates(&index, ""), []);
    }

    #[test]
    fn one_that_passes_ends_the_search() {
        let index = index(&["abc", "abc", "bcd"]);
        let mut asked = 0;
        let found = index.find(b"xabcd", |candidate, _| {
            asked += 1;
            candidate.pattern == 1
        });
        assert_eq!((found, asked), (Some(Candidate { pattern: 1, offset: 0 }), 2));
    }

    #[test]
    fn bytes_of_every_length_and_value_make_different_grams() {
        let all = [&b""[..], b"\0", b"\0\0", b"\x01", b"\x01\0", b"\xff\xff\xff\xff\xff\xff", b"abcdef", b"abcd"];
        for (at, one) in all.iter().enumerate() {
            assert!(all.iter().skip(at + 1).all(|other| gram(one) != gram(other)), "{one:?}");
            let is_known = LENGTHS.contains(&one.len());
            assert_eq!(length_of(gram(one)), if is_known { one.len() } else { 0 }, "{one:?}");
        }
    }
}
