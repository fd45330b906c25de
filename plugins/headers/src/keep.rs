//! Which request fields pass when only some may.

use plugin_api::{
    RequestHead,
    http::{HeaderMap, HeaderName, header},
};

/// The fields that pass by the operator's wish.
#[derive(Debug)]
pub(crate) struct Keep {
    names: Vec<HeaderName>,
    /// `Via` passes too, because an entry of ours is added to it.
    via: bool,
}

impl Keep {
    pub(crate) fn new(names: Vec<HeaderName>, via: bool) -> Self {
        Self { names, via }
    }

    /// Whether this field passes in every request.
    pub(crate) fn passes(&self, name: &HeaderName) -> bool {
        ALWAYS.contains(name) || (self.via && *name == header::VIA) || self.names.contains(name)
    }

    /// Removes the others.
    pub(crate) fn apply(&self, head: &mut dyn RequestHead) {
        for name in self.others(head.headers()) {
            head.remove(&name);
        }
    }

    fn others(&self, headers: &HeaderMap) -> Vec<HeaderName> {
        // Without these an upgrade fails; in any other request they are fields like others.
        let upgrades = headers.contains_key(header::UPGRADE);
        let passes = |name: &HeaderName| self.passes(name) || (upgrades && WEB_SOCKET.contains(name));
        headers.keys().filter(|name| !passes(name)).cloned().collect()
    }
}

/// What says how to read the message, and what belongs to the connection: the engine looks after these.
const ALWAYS: [HeaderName; 9] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::EXPECT,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
];

/// The handshake of [RFC 6455 §4.1](https://www.rfc-editor.org/rfc/rfc6455#section-4.1).
const WEB_SOCKET: [HeaderName; 4] = [
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    header::SEC_WEBSOCKET_PROTOCOL,
    header::SEC_WEBSOCKET_EXTENSIONS,
];
