//! Changes to the fields of a head, the same for requests and responses.

use plugin_api::{
    RequestHead, ResponseHead, Spelled,
    http::{HeaderMap, HeaderName, HeaderValue, header},
};

use crate::field::Field;

/// What is removed, replaced and added, in this order.
#[derive(Debug)]
pub(crate) struct Edits {
    pub(crate) remove: Vec<HeaderName>,
    pub(crate) set: Vec<Field>,
    pub(crate) add: Vec<Field>,
}

/// The fields of either kind of head.
pub(crate) trait Fields {
    fn headers(&self) -> &HeaderMap;
    fn set(&mut self, name: HeaderName, value: HeaderValue);
    fn set_spelled(&mut self, name: &Spelled, value: HeaderValue);
    fn append_spelled(&mut self, name: &Spelled, value: HeaderValue);
    fn remove(&mut self, name: &HeaderName);
}

impl Edits {
    pub(crate) fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    pub(crate) fn apply(&self, head: &mut (impl Fields + ?Sized)) {
        for name in &self.remove {
            head.remove(name);
        }
        for field in &self.set {
            head.set_spelled(&field.name, field.value.clone());
        }
        for field in &self.add {
            head.append_spelled(&field.name, field.value.clone());
        }
    }
}

/// Adds an entry to the list in `Via` ([RFC 9110 §7.6.3](https://www.rfc-editor.org/rfc/rfc9110#section-7.6.3)): one
/// field, in which what was there comes first.
pub(crate) fn append_via(head: &mut (impl Fields + ?Sized), entry: &HeaderValue) {
    let before: Vec<&[u8]> = head.headers().get_all(header::VIA).iter().map(HeaderValue::as_bytes).collect();
    let list = match before.is_empty() {
        true => entry.clone(),
        false => {
            let list = [before.as_slice(), &[entry.as_bytes()]].concat().join(&b", "[..]);
            HeaderValue::from_bytes(&list).expect("values of header fields joined by commas are one")
        }
    };
    head.set(header::VIA, list);
}

impl Fields for dyn RequestHead + '_ {
    fn headers(&self) -> &HeaderMap {
        RequestHead::headers(self)
    }

    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        RequestHead::set(self, name, value);
    }

    fn set_spelled(&mut self, name: &Spelled, value: HeaderValue) {
        RequestHead::set_spelled(self, name, value);
    }

    fn append_spelled(&mut self, name: &Spelled, value: HeaderValue) {
        RequestHead::append_spelled(self, name, value);
    }

    fn remove(&mut self, name: &HeaderName) {
        RequestHead::remove(self, name);
    }
}

impl Fields for dyn ResponseHead + '_ {
    fn headers(&self) -> &HeaderMap {
        ResponseHead::headers(self)
    }

    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        ResponseHead::set(self, name, value);
    }

    fn set_spelled(&mut self, name: &Spelled, value: HeaderValue) {
        ResponseHead::set_spelled(self, name, value);
    }

    fn append_spelled(&mut self, name: &Spelled, value: HeaderValue) {
        ResponseHead::append_spelled(self, name, value);
    }

    fn remove(&mut self, name: &HeaderName) {
        ResponseHead::remove(self, name);
    }
}
