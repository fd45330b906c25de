//! What a request is for.

/// A resource of an ACME server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// The directory.
    Directory,
    /// A fresh nonce.
    NewNonce,
    /// A new account, or the question for one that there is.
    NewAccount,
    /// A new order.
    NewOrder,
    /// The state of an authorization.
    Authorization,
    /// A challenge: that it can be validated.
    Challenge,
    /// The certificate request of an order.
    Finalize,
    /// The state of an order.
    Order,
    /// A certificate, by whichever chain.
    Certificate,
    /// Renewal information about a certificate.
    RenewalInfo,
    /// Anything else: accounts, revocation, a new key.
    Other,
}

/// The requests that something is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every one.
    Any,
    /// Those to one endpoint.
    Only(Endpoint),
}

impl Endpoint {
    /// Of a path; pebble's are not those of any other server, on purpose.
    pub(super) fn of(path: &str) -> Self {
        let first = path.trim_start_matches('/').split(['/', '?']).next().unwrap_or_default();
        match first {
            "dir" => Self::Directory,
            "nonce-plz" => Self::NewNonce,
            "sign-me-up" => Self::NewAccount,
            "order-plz" => Self::NewOrder,
            "authZ" => Self::Authorization,
            "chalZ" => Self::Challenge,
            "finalize-order" => Self::Finalize,
            "my-order" => Self::Order,
            "certZ" => Self::Certificate,
            "renewal-info" => Self::RenewalInfo,
            _ => Self::Other,
        }
    }
}

impl Scope {
    pub(super) fn holds(self, endpoint: Endpoint) -> bool {
        match self {
            Self::Any => true,
            Self::Only(only) => only == endpoint,
        }
    }
}

impl From<Endpoint> for Scope {
    fn from(endpoint: Endpoint) -> Self {
        Self::Only(endpoint)
    }
}
