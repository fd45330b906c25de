//! A piece of a body on its way through the proxy.

use bytes::Bytes;

/// One chunk of a request or response body, which a hook may read, replace or drop.
#[derive(Debug)]
pub struct Body<'a> {
    chunk: &'a mut Option<Bytes>,
    last: bool,
}

impl<'a> Body<'a> {
    /// Wraps a chunk; the engine and the harness do this.
    pub fn new(chunk: &'a mut Option<Bytes>, last: bool) -> Self {
        Self { chunk, last }
    }

    /// The bytes; may be empty, also when the body goes on.
    pub fn bytes(&self) -> &[u8] {
        self.chunk.as_deref().unwrap_or_default()
    }

    /// Whether the body ends here.
    pub fn is_last(&self) -> bool {
        self.last
    }

    /// Replaces the bytes. A plugin that changes the length must also remove `Content-Length` in its head hook.
    pub fn replace(&mut self, bytes: Bytes) {
        *self.chunk = Some(bytes);
    }

    /// The same chunk for another hook.
    pub fn reborrow(&mut self) -> Body<'_> {
        Body { chunk: self.chunk, last: self.last }
    }
}
