//! Fields in the order in which they came.
//!
//! A map of fields fills the place of one that is removed with its last one. Order means nothing between fields of different
//! names (RFC 9110 §5.3), but people who compare what went in with what came out expect it, and so do some servers.

use std::collections::HashMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};

/// A head of pingora's, which keeps the spelling of names beside the fields.
pub(super) trait Head {
    fn fields(&self) -> &HeaderMap;
    /// Shows each value with its name and the spelling of that, in order; where names have none, the name itself.
    fn show(&self, to: impl FnMut(&HeaderName, &[u8], &HeaderValue));
    fn remove(&mut self, name: &HeaderName);
    fn append(&mut self, name: Bytes, value: HeaderValue);
}

/// Removes fields, and leaves all others in their order.
pub(super) fn remove(head: &mut impl Head, is_unwanted: impl Fn(&HeaderName) -> bool) {
    let Some(first) = head.fields().keys().position(&is_unwanted) else { return };
    arrange(head, first, |name| (!is_unwanted(name)).then_some(0));
}

/// Puts the fields into the order of those of `model`; what that does not have comes last.
pub(super) fn like(head: &mut impl Head, model: &HeaderMap) {
    let mut expected = model.keys();
    let mut names = head.fields().keys().skip_while(|name| expected.any(|other| other == name));
    if names.all(|name| !model.contains_key(name)) {
        return;
    }
    let places: HashMap<&HeaderName, usize> = model.keys().enumerate().map(|(place, name)| (name, place)).collect();
    arrange(head, 0, |name| Some(places.get(name).copied().unwrap_or(usize::MAX)));
}

/// Takes the names from the `first` on out, and puts them in again in the order of their places; those of one place keep
/// theirs, and those of none stay out.
fn arrange(head: &mut impl Head, first: usize, place: impl Fn(&HeaderName) -> Option<usize>) {
    let names: Vec<HeaderName> = head.fields().keys().skip(first).cloned().collect();
    let mut taken: Vec<(usize, Bytes, HeaderValue)> = Vec::with_capacity(names.len());
    // Values of one name follow each other.
    let mut begun = false;
    head.show(|name, spelling, value| {
        begun |= names.first() == Some(name);
        if let Some(place) = begun.then(|| place(name)).flatten() {
            taken.push((place, Bytes::copy_from_slice(spelling), value.clone()));
        }
    });
    // From the end on, so that nothing is moved that stays.
    for name in names.iter().rev() {
        head.remove(name);
    }
    taken.sort_by_key(|(place, ..)| *place);
    for (_, spelling, value) in taken {
        head.append(spelling, value);
    }
}

const KNOWN: &str = "what was in a head can be put there again";

/// Both kinds of head have the same methods, and no trait for them.
macro_rules! is_head {
    ($($head:ty),+) => {$(
        impl Head for $head {
            fn fields(&self) -> &HeaderMap {
                &self.headers
            }

            fn show(&self, mut to: impl FnMut(&HeaderName, &[u8], &HeaderValue)) {
                let mut spellings = self.case_header_iter();
                for (name, value) in &self.headers {
                    let spelling = spellings.next().map(|(spelling, _)| spelling.as_slice());
                    to(name, spelling.unwrap_or(name.as_str().as_bytes()), value);
                }
            }

            fn remove(&mut self, name: &HeaderName) {
                self.remove_header(name);
            }

            fn append(&mut self, name: Bytes, value: HeaderValue) {
                self.append_header(name, value).expect(KNOWN);
            }
        }
    )+};
}

is_head!(RequestHeader, ResponseHeader);

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &[(&str, &str)] = &[
        ("A", "1"),
        ("DROP-1", "x"),
        ("x-B", "2"),
        ("a", "3"),
        ("Drop-2", "x"),
        ("C", "4"),
        ("x-b", "5"),
        ("D", "6"),
        ("DROP-1", "y"),
    ];

    fn head() -> ResponseHeader {
        let mut head = ResponseHeader::build(200, None).unwrap();
        for (name, value) in SENT {
            head.append_header(*name, *value).unwrap();
        }
        head
    }

    fn wire(head: &ResponseHeader) -> String {
        let mut bytes = Vec::new();
        head.header_to_h1_wire(&mut bytes);
        String::from_utf8(bytes).unwrap().replace("\r\n", " ")
    }

    #[test]
    fn what_is_left_is_in_order() {
        let mut all = head();
        let before = wire(&all);
        remove(&mut all, |name| name == "none");
        assert_eq!(wire(&all), before);
        remove(&mut all, |name| name.as_str().starts_with("drop"));
        assert_eq!(wire(&all), "A: 1 a: 3 x-B: 2 x-b: 5 C: 4 D: 6 ");
        remove(&mut all, |name| name == "d");
        assert_eq!(wire(&all), "A: 1 a: 3 x-B: 2 x-b: 5 C: 4 ", "the last one");
        remove(&mut all, |_| true);
        assert_eq!(wire(&all), "");
    }

    #[test]
    fn what_was_moved_is_put_back() {
        let model = head();
        let mut moved = head();
        for name in ["drop-2", "drop-1"] {
            moved.remove_header(name);
        }
        moved.append_header("New", "7").unwrap();
        assert_ne!(wire(&moved), "A: 1 a: 3 x-B: 2 x-b: 5 C: 4 D: 6 New: 7 ", "otherwise there is nothing to do");
        like(&mut moved, &model.headers);
        assert_eq!(wire(&moved), "A: 1 a: 3 x-B: 2 x-b: 5 C: 4 D: 6 New: 7 ");
        let mut plain = ResponseHeader::build_no_case(200, None).unwrap();
        for (name, value) in SENT {
            plain.append_header(*name, *value).unwrap();
        }
        remove(&mut plain, |name| name.as_str().starts_with("drop"));
        assert_eq!(wire(&plain), "a: 1 a: 3 x-b: 2 x-b: 5 c: 4 d: 6 ", "names without a spelling");
    }
}
