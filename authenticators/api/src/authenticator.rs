//! The trait that authenticators implement; its documentation is the contract.

use std::{future::Future, io, path::PathBuf, pin::Pin, sync::Arc};

use crate::{Challenge, ChallengeCertificate, ChallengeKind, DomainName, KeyAuthorization, Token};

/// A future that an authenticator returns: boxed, and free to move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Makes key authorizations retrievable for as long as a certificate authority may ask for them.
///
/// # Order of calls
///
/// [`start`](Self::start) once before the first `present`, then for each challenge `present`, any number of `lookup`s
/// and `cleanup`; [`stop`](Self::stop) at the end. `lookup` may come at any time, also before `start` and for tokens
/// that were never presented. `start` and `stop` may be repeated.
///
/// # Concurrency
///
/// Every method may be called from many tasks on many threads at once, for equal and for different challenges.
/// No method may block the thread that polls it: file and name-service work belongs on another thread.
///
/// # Cancellation
///
/// A returned future may be dropped at any point. After a dropped `present`, the challenge is either retrievable or not,
/// and `cleanup` of it removes every trace either way. A dropped `cleanup` may be called again.
///
/// # Repetition
///
/// `present` of what is present and `cleanup` of what is absent succeed and change nothing. Challenges of two names may
/// share a token and its key authorization: the answer stays until both are cleaned up.
///
/// # Failure
///
/// An error concerns that challenge only; others stay as they are. `lookup` has no error: what cannot be read is
/// unknown, and is logged by the authenticator.
pub trait Authenticator: Send + Sync + 'static {
    /// The kind of challenge that it answers, always the same one. It is presented challenges of this kind only.
    fn kind(&self) -> ChallengeKind {
        ChallengeKind::Http01
    }

    /// Binds sockets, opens directories, collects what a killed predecessor left behind.
    ///
    /// Needs a tokio runtime. What it starts in the background lives until [`stop`](Self::stop), not longer.
    fn start(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Makes the challenge's key authorization retrievable. When the future is ready, it is.
    fn present<'a>(&'a self, challenge: &'a Challenge) -> BoxFuture<'a, Result<(), Error>>;

    /// The key authorization for `token`, as a visitor who names `host` shall see it.
    ///
    /// `host` is `None` when the visitor named none, or named something that is not a domain name (an address); an
    /// authenticator that keeps one set of tokens for all names ignores it.
    fn lookup<'a>(&'a self, host: Option<&'a DomainName>, token: &'a Token) -> Lookup<'a>;

    /// The certificate to show to a TLS client that offers [`ChallengeCertificate::PROTOCOL`] alone and names
    /// `server_name`, in whatever case it came. For authenticators of [`ChallengeKind::TlsAlpn01`]; called in the middle of
    /// a handshake, so it must not wait.
    fn certificate(&self, server_name: &str) -> Option<Arc<ChallengeCertificate>> {
        let _ = server_name;
        None
    }

    /// Removes every trace of the challenge, and nothing else.
    fn cleanup<'a>(&'a self, challenge: &'a Challenge) -> BoxFuture<'a, Result<(), Error>>;

    /// Ends background work and closes listeners once the answers in flight are out.
    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// What [`Authenticator::lookup`] returns.
pub enum Lookup<'a> {
    /// The answer is known at once.
    Ready(Option<KeyAuthorization>),
    /// The answer needs waiting, for a file for example.
    Wait(BoxFuture<'a, Option<KeyAuthorization>>),
}

impl Lookup<'_> {
    /// The answer, waiting for it where that is needed.
    pub async fn wait(self) -> Option<KeyAuthorization> {
        match self {
            Self::Ready(answer) => answer,
            Self::Wait(answer) => answer.await,
        }
    }
}

/// Why an authenticator could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A listener could not be opened.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address, as configured.
        address: std::net::SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A file or directory could not be used.
    #[error("cannot {action} {path}", path = path.display())]
    File {
        /// What was tried: `create`, `write`, `remove` and the like.
        action: &'static str,
        /// The path it concerns.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A certificate for the challenge could not be made.
    #[error("cannot make a challenge certificate for {domain}")]
    Certificate {
        /// The name.
        domain: DomainName,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No place is configured for the name.
    #[error("no webroot is configured for {domain}")]
    UnknownDomain {
        /// The name that was asked for.
        domain: DomainName,
    },
    /// Another challenge with the same token but another answer is present.
    #[error("token {token} is already present with another key authorization")]
    Conflict {
        /// The token both want.
        token: Token,
    },
}
