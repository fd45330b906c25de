//! Heads on their way through the proxy, which hooks may change.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

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
    /// Removes every value of a field.
    fn remove(&mut self, name: &HeaderName);
}
