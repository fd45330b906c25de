//! The authenticator.

use std::sync::Arc;

use authenticator_api::{
    Authenticator, BoxFuture, BuildError, Challenge, ChallengeCertificate, ChallengeKind, DomainName, Error, Kind,
    Lookup, Token,
};

use crate::{Config, present::Present};

/// Answers challenges in TLS handshakes, from memory.
///
/// `lookup` and `certificate` never wait. Challenges outlive `stop`: only `cleanup` removes them.
#[derive(Debug, Default)]
pub struct TlsAlpn {
    present: Present,
}

impl TlsAlpn {
    /// An authenticator without challenges.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Authenticator for TlsAlpn {
    fn kind(&self) -> ChallengeKind {
        ChallengeKind::TlsAlpn01
    }

    fn present<'a>(&'a self, challenge: &'a Challenge) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move { self.present.insert(challenge) })
    }

    fn lookup<'a>(&'a self, _host: Option<&'a DomainName>, token: &'a Token) -> Lookup<'a> {
        Lookup::Ready(self.present.get(token))
    }

    fn certificate(&self, server_name: &str) -> Option<Arc<ChallengeCertificate>> {
        self.present.certificate(server_name)
    }

    fn cleanup<'a>(&'a self, challenge: &'a Challenge) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.present.remove(challenge);
            Ok(())
        })
    }
}

impl Kind for TlsAlpn {
    const NAME: &'static str = "tls-alpn";

    type Config = Config;

    fn build(_config: Config) -> Result<Self, BuildError> {
        Ok(Self::new())
    }
}
