//! Heads on their way through the proxy, which hooks may change.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::InvalidHeaderName};

/// The name of a field in a spelling of its own. Case means nothing in a name
/// ([RFC 9110 §5.1](https://www.rfc-editor.org/rfc/rfc9110#section-5.1)), but there are readers to whom it does.
#[derive(Clone, Debug)]
pub struct Spelled {
    name: HeaderName,
    spelling: Bytes,
}

impl Spelled {
    /// A name that is written so.
    ///
    /// # Errors
    /// When no field can have the name.
    pub fn new(spelling: &str) -> Result<Self, InvalidHeaderName> {
        let name = HeaderName::from_bytes(spelling.as_bytes())?;
        Ok(Self { name, spelling: Bytes::copy_from_slice(spelling.as_bytes()) })
    }

    /// The name, which has no case.
    pub fn name(&self) -> &HeaderName {
        &self.name
    }

    /// How HTTP/1 writes it; in HTTP/2 all names are in small letters.
    pub fn spelling(&self) -> &Bytes {
        &self.spelling
    }
}

/// The request head that goes to the upstream server.
///
/// Framing fields and hop-by-hop fields are the engine's: a change to them has no effect on how the body is sent.
pub trait RequestHead: Send {
    /// The request target, as it will be written.
    fn target(&self) -> &[u8];
    /// Replaces the request target. Bytes that cannot stand in a request line are refused and leave it as it was.
    fn set_target(&mut self, target: &[u8]);
    /// The header fields.
    fn headers(&self) -> &HeaderMap;
    /// Sets a field, replacing all values of that name.
    fn set(&mut self, name: HeaderName, value: HeaderValue);
    /// Adds a value to a field.
    fn append(&mut self, name: HeaderName, value: HeaderValue);
    /// Like [`set`](Self::set), with the spelling of the name where the head has one.
    fn set_spelled(&mut self, name: &Spelled, value: HeaderValue) {
        self.set(name.name.clone(), value);
    }
    /// Like [`append`](Self::append), with the spelling of the name where the head has one.
    fn append_spelled(&mut self, name: &Spelled, value: HeaderValue) {
        self.append(name.name.clone(), value);
    }
    /// Removes every value of a field.
    fn remove(&mut self, name: &HeaderName);
}

/// The response head that goes to the client.
pub trait ResponseHead: Send {
    /// The status code.
    fn status(&self) -> StatusCode;
    /// Replaces the status code. A change to or from 1xx has no effect.
    fn set_status(&mut self, status: StatusCode);
    /// The header fields.
    fn headers(&self) -> &HeaderMap;
    /// Sets a field, replacing all values of that name.
    fn set(&mut self, name: HeaderName, value: HeaderValue);
    /// Adds a value to a field.
    fn append(&mut self, name: HeaderName, value: HeaderValue);
    /// Like [`set`](Self::set), with the spelling of the name where the head has one.
    fn set_spelled(&mut self, name: &Spelled, value: HeaderValue) {
        self.set(name.name.clone(), value);
    }
    /// Like [`append`](Self::append), with the spelling of the name where the head has one.
    fn append_spelled(&mut self, name: &Spelled, value: HeaderValue) {
        self.append(name.name.clone(), value);
    }
    /// Removes every value of a field.
    fn remove(&mut self, name: &HeaderName);
}
