//! Which hooks a plugin has.

/// A set of hooks. Only the hooks in [`Plugin::PHASES`](crate::Plugin::PHASES) are ever called, so a request pays for
/// nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phases(u8);

impl Phases {
    /// No hook.
    pub const NONE: Self = Self(0);
    /// [`Plugin::request`](crate::Plugin::request).
    pub const REQUEST: Self = Self(1);
    /// [`Plugin::request_body`](crate::Plugin::request_body).
    pub const REQUEST_BODY: Self = Self(1 << 1);
    /// [`Plugin::upstream_request`](crate::Plugin::upstream_request).
    pub const UPSTREAM_REQUEST: Self = Self(1 << 2);
    /// [`Plugin::response`](crate::Plugin::response).
    pub const RESPONSE: Self = Self(1 << 3);
    /// [`Plugin::response_body`](crate::Plugin::response_body).
    pub const RESPONSE_BODY: Self = Self(1 << 4);
    /// [`Plugin::log`](crate::Plugin::log).
    pub const LOG: Self = Self(1 << 5);
    /// [`Plugin::page`](crate::Plugin::page).
    pub const PAGE: Self = Self(1 << 6);
    /// [`Plugin::client`](crate::Plugin::client).
    pub const CLIENT: Self = Self(1 << 7);

    /// The hooks of both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every hook of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}
