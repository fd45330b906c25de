//! What can be known about a pattern without running it: its size, what it requires, and whether it is only a few sequences.

use regex_syntax::hir::{Class, Hir, HirKind, Look, Repetition};

use crate::byte_set::ByteSet;

/// A place in a sequence.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Byte(u8),
    Set(ByteSet),
}

/// Places side by side, perhaps at the start or at the end of the subject.
#[derive(Clone, Default)]
pub(crate) struct Sequence {
    pub(crate) at_start: bool,
    pub(crate) at_end: bool,
    pub(crate) places: Vec<Place>,
    /// It can never be found, because something is asked for before the start or behind the end.
    is_impossible: bool,
}

/// How many states a machine for this pattern has, about.
pub(crate) fn size(hir: &Hir) -> usize {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) | HirKind::Class(_) => 1,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min).max(1);
            size(&repetition.sub).saturating_mul(usize::try_from(times).unwrap_or(usize::MAX)).saturating_add(1)
        }
        HirKind::Capture(capture) => size(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().map(size).fold(1, usize::saturating_add),
    }
}

/// The same pattern, for whoever looks for it anywhere, without what may or may not stand before and behind it.
pub(crate) fn trimmed(hir: &Hir) -> Hir {
    trim(&trim(hir, Side::Front), Side::Back)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Front,
    Back,
}

fn trim(hir: &Hir, side: Side) -> Hir {
    match hir.kind() {
        HirKind::Repetition(Repetition { min, greedy, sub, .. }) => {
            Hir::repetition(Repetition { min: *min, max: Some(*min), greedy: *greedy, sub: sub.clone() })
        }
        HirKind::Alternation(branches) => Hir::alternation(branches.iter().map(|branch| trim(branch, side)).collect()),
        HirKind::Concat(parts) => trim_concat(parts, side),
        _ => hir.clone(),
    }
}

fn trim_concat(parts: &[Hir], side: Side) -> Hir {
    let mut parts: Vec<Hir> = parts.to_vec();
    if side == Side::Back {
        parts.reverse();
    }
    let edge = if side == Side::Front { Look::Start } else { Look::End };
    let mut rest = parts.as_slice();
    let mut first = None;
    loop {
        match rest {
            // Anything at the edge is the same as anywhere.
            [look, any, behind @ ..] if *look.kind() == HirKind::Look(edge) && is_anything(any) => rest = behind,
            [part, behind @ ..] => {
                rest = behind;
                let part = trim(part, side);
                if *part.kind() != HirKind::Empty {
                    first = Some(part);
                    break;
                }
            }
            [] => break,
        }
    }
    let mut trimmed: Vec<Hir> = first.into_iter().chain(rest.iter().cloned()).collect();
    if side == Side::Back {
        trimmed.reverse();
    }
    Hir::concat(trimmed)
}

fn is_anything(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Repetition(Repetition { min: 0, max: None, sub, .. }) => {
            matches!(sub.kind(), HirKind::Class(class) if set_of(class) == ByteSet::ALL)
        }
        _ => false,
    }
}

/// The sequences of which one must be found, when these are few.
pub(crate) fn sequences(hir: &Hir) -> Option<Vec<Sequence>> {
    let found = expand(hir, vec![Sequence::default()])?;
    Some(found.into_iter().filter(|sequence| !sequence.is_impossible).collect())
}

/// Each of the sequences, followed by what this pattern stands for.
fn expand(hir: &Hir, before: Vec<Sequence>) -> Option<Vec<Sequence>> {
    let is_small = |sequences: &Vec<Sequence>| {
        sequences.len() <= MOST_SEQUENCES && sequences.iter().all(|sequence| sequence.places.len() <= LONGEST_SEQUENCE)
    };
    let after = match hir.kind() {
        HirKind::Empty => before,
        HirKind::Literal(literal) => appended(before, literal.0.iter().map(|byte| Place::Byte(*byte))),
        HirKind::Class(class) => appended(before, [Place::Set(set_of(class))].into_iter()),
        HirKind::Look(Look::Start) => mapped(before, |sequence| {
            sequence.is_impossible |= !sequence.places.is_empty();
            sequence.at_start = true;
        }),
        HirKind::Look(Look::End) => mapped(before, |sequence| sequence.at_end = true),
        HirKind::Look(_) => return None,
        HirKind::Capture(capture) => expand(&capture.sub, before)?,
        HirKind::Concat(parts) => parts.iter().try_fold(before, |before, part| expand(part, before))?,
        HirKind::Alternation(branches) => {
            let mut all = Vec::new();
            for branch in branches {
                all.extend(expand(branch, before.clone())?);
                if !is_small(&all) {
                    return None;
                }
            }
            all
        }
        HirKind::Repetition(repetition) => repeated(repetition, before)?,
    };
    is_small(&after).then_some(after)
}

fn repeated(repetition: &Repetition, before: Vec<Sequence>) -> Option<Vec<Sequence>> {
    let max = repetition.max.filter(|max| usize::try_from(*max).is_ok_and(|max| max <= LONGEST_SEQUENCE))?;
    let mut once_more = before;
    let mut all = Vec::new();
    for times in 0..=max {
        if times >= repetition.min {
            all.extend(once_more.iter().cloned());
        }
        if times < max {
            once_more = expand(&repetition.sub, once_more)?;
        }
        if all.len() > MOST_SEQUENCES {
            return None;
        }
    }
    Some(all)
}

fn appended(before: Vec<Sequence>, places: impl Iterator<Item = Place> + Clone) -> Vec<Sequence> {
    mapped(before, |sequence| {
        sequence.is_impossible |= sequence.at_end;
        sequence.places.extend(places.clone());
    })
}

fn mapped(mut sequences: Vec<Sequence>, change: impl Fn(&mut Sequence)) -> Vec<Sequence> {
    sequences.iter_mut().for_each(change);
    sequences
}

fn set_of(class: &Class) -> ByteSet {
    match class {
        Class::Bytes(class) => {
            let mut set = ByteSet::EMPTY;
            class.ranges().iter().for_each(|range| set.extend(range.start()..=range.end()));
            set
        }
        // Nothing here makes one that is not of bytes; whatever it held would be a byte in ASCII only.
        Class::Unicode(class) => ByteSet::of(|byte| {
            class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&char::from(byte)))
        }),
    }
}

/// Literal bytes of which every subject that matches holds all.
pub(crate) fn required(hir: &Hir) -> Vec<&[u8]> {
    match hir.kind() {
        HirKind::Literal(literal) => vec![&literal.0],
        HirKind::Concat(parts) => parts.iter().flat_map(required).collect(),
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Repetition(Repetition { min: 1.., sub, .. }) => required(sub),
        _ => Vec::new(),
    }
}

const MOST_SEQUENCES: usize = 16;
const LONGEST_SEQUENCE: usize = 512;
