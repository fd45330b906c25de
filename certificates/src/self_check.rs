//! A look from here at what a certificate authority would find, before it counts a failure.
//!
//! A token is presented and fetched by name over IPv4 and IPv6, as HTTP-01 would. It can be wrong in one direction: where a
//! network does not lead its own public address back inside, nothing is reached from here and everything from outside. So
//! only an answer that is wrong, or a name without any address, counts against a name; no answer does not.

use std::sync::Arc;

use authenticator_api::{Authenticator, BoxFuture, Challenge, ChallengeKind, DomainName, KeyAuthorization, Token};

use crate::{BoxError, ChallengeFailure, Presented, ledger};

/// Fetches by HTTP, as a certificate authority does.
pub trait Fetcher: Send + Sync {
    /// Asks the `name`'s port 80 for `path` over one family, following redirects. Needs a deadline of its own.
    fn fetch<'a>(&'a self, name: &'a DomainName, family: Family, path: &'a str) -> BoxFuture<'a, Fetched>;
}

/// One kind of address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6, which authorities try first ([Let's Encrypt](https://letsencrypt.org/docs/ipv6-support/)).
    V6,
}

/// What came of a request.
#[derive(Debug)]
pub enum Fetched {
    /// The name has no address of this family.
    NoAddress,
    /// An answer with this status and body.
    Answer {
        /// The status code.
        status: u16,
        /// The beginning of the body.
        body: Vec<u8>,
    },
    /// No answer.
    Failed(BoxError),
}

/// What was found about one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The token was found.
    Good,
    /// The name has no address of this family.
    NoAddress,
    /// Something else answers.
    Wrong(String),
    /// Nothing was learnt: there was no answer.
    Unknown(String),
}

/// What was found about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfCheck {
    /// The name.
    pub domain: DomainName,
    /// Over IPv4.
    pub v4: Finding,
    /// Over IPv6.
    pub v6: Finding,
}

impl SelfCheck {
    /// Why an order for this name would fail, where that is certain; in the form of the failure that it saves.
    pub fn failure(&self) -> Option<ChallengeFailure> {
        let (kind, detail) = match (&self.v6, &self.v4) {
            (Finding::NoAddress, Finding::NoAddress) => ("dns", "the name has no address".to_owned()),
            // Authorities fall back to IPv4 when there is no connection, not when there is a wrong answer.
            (Finding::Wrong(what), _) => ("unauthorized", format!("over IPv6 {what}")),
            (Finding::NoAddress | Finding::Unknown(_), Finding::Wrong(what)) => {
                ("unauthorized", format!("over IPv4 {what}"))
            }
            _ => return None,
        };
        let (domain, kind) = (self.domain.to_string(), kind.to_owned());
        Some(ChallengeFailure { domain, challenge: "self-check", kind, detail })
    }
}

/// Presents a token of our own for a name, fetches it over both families at once, and takes it back.
///
/// `None` when the authenticator answers no HTTP-01 challenges: there is nothing to fetch then.
///
/// When its future is dropped the token stays; the caller then awaits [`Presented::cleanup`].
///
/// # Errors
///
/// The authenticator cannot present it.
pub async fn self_check(
    domain: &DomainName,
    authenticator: &Arc<dyn Authenticator>,
    presented: &Presented,
    fetcher: &dyn Fetcher,
) -> Result<Option<SelfCheck>, authenticator_api::Error> {
    if authenticator.kind() != ChallengeKind::Http01 {
        return Ok(None);
    }
    let challenge = probe(domain);
    let path = format!("/.well-known/acme-challenge/{}", challenge.token);
    presented.add(challenge.clone(), Arc::clone(authenticator));
    let shown = authenticator.present(&challenge).await;
    let fetched = match shown {
        Ok(()) => Ok(tokio::join!(fetcher.fetch(domain, Family::V4, &path), fetcher.fetch(domain, Family::V6, &path))),
        Err(error) => Err(error),
    };
    presented.take_back(&challenge).await;
    let (v4, v6) = fetched?;
    let found = |fetched| find(fetched, &challenge.key_authorization);
    Ok(Some(SelfCheck { domain: domain.clone(), v4: found(v4), v6: found(v6) }))
}

/// A challenge that no authority has thought of.
fn probe(domain: &DomainName) -> Challenge {
    let token = format!("lockgate-self-check-{:016x}{:016x}", ledger::random(), ledger::random());
    let answer = format!("{token}.{:016x}", ledger::random());
    Challenge {
        domain: domain.clone(),
        token: Token::parse(&token).expect("letters, digits and hyphens are a token"),
        key_authorization: KeyAuthorization::parse(&answer).expect("two tokens are a key authorization"),
    }
}

fn find(fetched: Fetched, expected: &KeyAuthorization) -> Finding {
    match fetched {
        Fetched::NoAddress => Finding::NoAddress,
        // White space at the end is allowed (RFC 8555 §8.3).
        Fetched::Answer { status: 200, body } if body.trim_ascii_end() == expected.as_str().as_bytes() => Finding::Good,
        Fetched::Answer { status, body } => {
            let beginning: String = String::from_utf8_lossy(&body).trim().chars().take(60).collect();
            Finding::Wrong(format!("something else answers: {status} with {beginning:?}"))
        }
        Fetched::Failed(error) => Finding::Unknown(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use authenticator_api::{Error, Lookup};

    use super::*;

    /// Keeps one token, which the fetcher reads.
    #[derive(Default)]
    struct Site {
        shown: Mutex<Option<Challenge>>,
        kind: ChallengeKind,
    }

    impl Authenticator for Site {
        fn kind(&self) -> ChallengeKind {
            self.kind
        }

        fn present<'a>(&'a self, challenge: &'a Challenge) -> BoxFuture<'a, Result<(), Error>> {
            *self.shown.lock().unwrap() = Some(challenge.clone());
            Box::pin(std::future::ready(Ok(())))
        }

        fn lookup<'a>(&'a self, _host: Option<&'a DomainName>, _token: &'a Token) -> Lookup<'a> {
            Lookup::Ready(None)
        }

        fn cleanup<'a>(&'a self, _challenge: &'a Challenge) -> BoxFuture<'a, Result<(), Error>> {
            *self.shown.lock().unwrap() = None;
            Box::pin(std::future::ready(Ok(())))
        }
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Leads {
        Here,
        Elsewhere,
        Nowhere,
        Refused,
    }

    struct Network {
        site: Arc<Site>,
        v4: Leads,
        v6: Leads,
    }

    impl Fetcher for Network {
        fn fetch<'a>(&'a self, _name: &'a DomainName, family: Family, path: &'a str) -> BoxFuture<'a, Fetched> {
            let fetched = match if family == Family::V4 { self.v4 } else { self.v6 } {
                Leads::Here => {
                    let shown = self.site.shown.lock().unwrap().clone().unwrap();
                    assert!(path.ends_with(shown.token.as_str()));
                    let body = format!("{}\r\n", shown.key_authorization.as_str()).into_bytes();
                    Fetched::Answer { status: 200, body }
                }
                Leads::Elsewhere => Fetched::Answer { status: 404, body: b"<html>no such page".to_vec() },
                Leads::Nowhere => Fetched::NoAddress,
                Leads::Refused => Fetched::Failed("connection refused".into()),
            };
            Box::pin(std::future::ready(fetched))
        }
    }

    #[tokio::test]
    async fn only_what_is_certain_counts_against_a_name() {
        use Leads::{Elsewhere, Here, Nowhere, Refused};
        for (v6, v4, expected) in [
            (Here, Here, None),
            (Nowhere, Here, None),
            (Here, Nowhere, None),
            (Refused, Here, None),
            (Refused, Refused, None),
            (Nowhere, Refused, None),
            (Here, Elsewhere, None),
            (Nowhere, Nowhere, Some("dns")),
            (Nowhere, Elsewhere, Some("unauthorized")),
            (Refused, Elsewhere, Some("unauthorized")),
            (Elsewhere, Here, Some("unauthorized")),
        ] {
            let site = Arc::new(Site::default());
            let name = DomainName::parse("a.example").unwrap();
            let network = Network { site: Arc::clone(&site), v4, v6 };
            let authenticator: Arc<dyn Authenticator> = site.clone();
            let checked = self_check(&name, &authenticator, &Presented::default(), &network).await.unwrap().unwrap();
            assert_eq!(checked.failure().map(|failure| failure.kind), expected.map(str::to_owned), "{checked:?}");
            assert!(site.shown.lock().unwrap().is_none(), "it is taken back");
        }
    }

    #[tokio::test]
    async fn there_is_nothing_to_fetch_for_handshakes() {
        let site = Arc::new(Site { kind: ChallengeKind::TlsAlpn01, ..Site::default() });
        let name = DomainName::parse("a.example").unwrap();
        let network = Network { site: Arc::clone(&site), v4: Leads::Here, v6: Leads::Here };
        let authenticator: Arc<dyn Authenticator> = site;
        assert_eq!(self_check(&name, &authenticator, &Presented::default(), &network).await.unwrap(), None);
    }
}
