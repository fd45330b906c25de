//! Proof that names are ours (RFC 8555 §7.5): challenges are presented, the authority comes, and judges.
//!
//! Once it was told to come, challenges are answered until it has judged, or for a little longer than it could be asked: what is
//! taken back while it is on its way is a failed validation, which it counts.

use std::time::Duration;

use authenticator_api::{Challenge, ChallengeKind, DomainName, KeyAuthorization, Token};
use instant_acme::{
    AuthorizationState, AuthorizationStatus, AuthorizedIdentifier, ChallengeStatus, ChallengeType, Identifier, Order,
    OrderStatus,
};
use tokio::time::Instant;

use super::{
    ChallengeFailure, ObtainError, Progress,
    attempt::{Errand, Peers},
    error::told,
    pause::Pause,
};
use crate::persistence::Persistence;

/// Proves every name of an order that is not proven yet.
pub(super) async fn run(errand: &Errand<'_>, order: &mut Order) -> Result<(), ObtainError> {
    let peers = errand.peers;
    // One that was taken up again may be beyond this.
    if order.state().status != OrderStatus::Pending {
        peers.observer.progress(Progress::OrderPlaced { to_prove: 0 });
        return Ok(());
    }
    let wanted = challenges(errand, order).await?;
    peers.observer.progress(Progress::OrderPlaced { to_prove: wanted.len() });
    if wanted.is_empty() {
        return Ok(());
    }
    for challenge in &wanted {
        let domain = &challenge.domain;
        let authenticator = peers.authenticators.of(domain);
        peers.presented.add(challenge.clone(), authenticator.clone());
        let failed = |source| ObtainError::Present { domain: domain.clone(), source };
        authenticator.present(challenge).await.map_err(failed)?;
    }
    peers.observer.progress(Progress::ChallengesPresented);
    let prepared = peers.observer.before_validation(&wanted).await.map_err(|source| ObtainError::Prepare { source });
    let judged = match prepared {
        Ok(()) => judged(order, peers).await,
        Err(error) => Err(error),
    };
    let after = peers.observer.after_validation().await.map_err(|source| ObtainError::Prepare { source });
    judged.and(after)
}

/// Takes back what proofs the authority still remembers of the names of an order. Returns whether there were any.
pub(super) async fn withdrawn(errand: &Errand<'_>, order: &mut Order) -> Result<bool, ObtainError> {
    let peers = errand.peers;
    let mut any = false;
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(|error| peers.explain(SHOW, error))?;
        if authorization.status == AuthorizationStatus::Valid {
            authorization.deactivate().await.map_err(|error| peers.explain("forget a proof", error))?;
            any = true;
        }
    }
    Ok(any)
}

/// The challenges of every name that is not proven yet, each of the kind that its authenticator answers.
async fn challenges(errand: &Errand<'_>, order: &mut Order) -> Result<Vec<Challenge>, ObtainError> {
    let peers = errand.peers;
    let mut persistence = peers.persistence();
    while let Err(error) = fetch(order).await {
        persistence.after(peers.explain(SHOW, error)).await?;
    }
    let mut wanted = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(|error| peers.explain(SHOW, error))?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let domain = domain_of(&authorization.identifier())?;
        let kind = peers.authenticators.of(&domain).kind();
        let Some(challenge) = authorization.challenge(type_of(kind)) else {
            return Err(ObtainError::NoChallenge { domain, kind });
        };
        // The token becomes a file name and a URL: what the authority sends is not taken on trust.
        let token = Token::parse(&challenge.token).map_err(|_error| nonsense())?;
        let key_authorization = errand.account.key_authorization(&challenge.token);
        let key_authorization = KeyAuthorization::parse(&key_authorization).map_err(|_error| nonsense())?;
        wanted.push(Challenge { domain, token, key_authorization });
    }
    Ok(wanted)
}

/// Asks about every name that nothing is known about yet.
async fn fetch(order: &mut Order) -> Result<(), instant_acme::Error> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        authorization?;
    }
    Ok(())
}

/// Tells the authority to come for each name, and waits until it has judged every one: what fails with one name is known of
/// all, so that an order for the others does not fail again.
async fn judged(order: &mut Order, peers: &Peers<'_>) -> Result<(), ObtainError> {
    let mut judging = Judging { peers, expected: Vec::new(), failures: Vec::new(), fault: None };
    let is_everybody_told = judging.start(order).await?;
    peers.observer.progress(Progress::ValidationStarted);
    let silence = judging.wait(order).await;
    let Judging { expected, failures, fault, .. } = judging;
    if !failures.is_empty() {
        return Err(ObtainError::Validation { failures });
    }
    match fault.or(silence) {
        // An answer that was missed is none when the judgement has come.
        Some(fault) if !expected.is_empty() || !is_everybody_told => Err(fault),
        _ => Ok(()),
    }
}

/// What is known while an authority judges.
struct Judging<'j> {
    peers: &'j Peers<'j>,
    /// Names that it comes for, or may come for.
    expected: Vec<DomainName>,
    failures: Vec<ChallengeFailure>,
    /// What it did wrong, or did not want to do.
    fault: Option<ObtainError>,
}

/// What became of telling the authority to come.
enum Called {
    /// It comes.
    Coming,
    /// It does not need to come any more to know that the name is not ours.
    Failed(ChallengeFailure),
    /// It may come, or not.
    Perhaps(ObtainError),
    /// It does not come.
    Refused(ObtainError),
}

impl Judging<'_> {
    /// Tells the authority to come for every name; returns whether it did so, or may have done so, for all.
    async fn start(&mut self, order: &mut Order) -> Result<bool, ObtainError> {
        let mut names = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let authorization = authorization.map_err(|error| self.peers.explain(SHOW, error))?;
            let name = domain_of(&authorization.identifier())?;
            match authorization.status {
                AuthorizationStatus::Pending => names.push(name),
                AuthorizationStatus::Valid => self.peers.observer.progress(Progress::Validated { domain: name }),
                _ => self.failures.push(failure(&name, &authorization)),
            }
        }
        let mut persistence = self.peers.persistence();
        let mut is_everybody_told = true;
        for name in names {
            let error = match self.call(order, &name, &mut persistence).await {
                Called::Coming => {
                    self.expected.push(name);
                    continue;
                }
                Called::Failed(failure) => {
                    self.failures.push(failure);
                    continue;
                }
                Called::Perhaps(error) => {
                    self.expected.push(name);
                    error
                }
                Called::Refused(error) => {
                    is_everybody_told = false;
                    error
                }
            };
            let is_a_limit = error.is_a_limit();
            self.fault.get_or_insert(error);
            if is_a_limit {
                return Ok(false);
            }
        }
        Ok(is_everybody_told)
    }

    /// Tells the authority to come for one name. Where it is not clear whether it heard, it is asked.
    async fn call(&self, order: &mut Order, name: &DomainName, persistence: &mut Persistence) -> Called {
        let peers = self.peers;
        let kind = peers.authenticators.of(name).kind();
        // By an earlier attempt.
        if is_coming(order, name, kind).await {
            return Called::Coming;
        }
        let mut is_perhaps = false;
        loop {
            let error = match set_ready(order, name, kind).await {
                Ok(()) => return Called::Coming,
                Err(instant_acme::Error::Api(problem)) if is_a_success(peers) => {
                    let (reason, detail) = told(&problem);
                    let (domain, challenge) = (name.to_string(), kind.as_str());
                    return Called::Failed(ChallengeFailure { domain, challenge, kind: reason, detail });
                }
                Err(error) => peers.explain("start validation", error),
            };
            is_perhaps |= error.is_undecided();
            let may_be_repeated = error.is_passing() || error.is_undecided();
            let is_repeated = may_be_repeated && persistence.wait(error.retry_after()).await;
            // It may refuse because it was told before.
            if !error.asks_for_rest() && look(order, name).await.is_ok() && is_coming(order, name, kind).await {
                return Called::Coming;
            }
            if !is_repeated {
                return if is_perhaps { Called::Perhaps(error) } else { Called::Refused(error) };
            }
        }
    }

    /// Waits until everything that is expected was judged, or there is no more to hope for. Returns why the authority cannot
    /// be asked, where that is so.
    async fn wait(&mut self, order: &mut Order) -> Option<ObtainError> {
        let mut pause = Pause::new(self.peers.client, self.peers.patience);
        let mut silence: Option<(Instant, ObtainError)> = None;
        while !self.expected.is_empty() {
            match self.ask(order).await {
                Ok(()) => silence = None,
                Err(error) => {
                    let since = silence.map_or_else(Instant::now, |(since, _)| since);
                    silence = Some((since, error));
                }
            }
            if self.expected.is_empty() {
                break;
            }
            if !self.failures.is_empty() || self.fault.is_some() {
                // The order is lost, or has to wait. Some authorities do not go on with the names that are left.
                pause.deadline = pause.deadline.min(Instant::now() + A_LITTLE);
            }
            let mut deadline = pause.deadline;
            if let Some((since, error)) = &silence {
                deadline = deadline.min(*since + A_LITTLE);
                if is_to_be_left_alone(error) {
                    tokio::time::sleep_until(deadline).await;
                    break;
                }
            }
            if let Err(error) = pause.take_until(deadline, "validate").await {
                return Some(silence.map_or(error, |(_, error)| error));
            }
        }
        silence.map(|(_, error)| error)
    }

    /// Asks about every name that is expected to be judged.
    async fn ask(&mut self, order: &mut Order) -> Result<(), ObtainError> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(|error| self.peers.explain(SHOW, error))?;
            let name = domain_of(&authorization.identifier())?;
            if !self.expected.contains(&name) {
                continue;
            }
            let state = authorization.refresh().await.map_err(|error| self.peers.explain(SHOW, error))?;
            match state.status {
                AuthorizationStatus::Pending => continue,
                AuthorizationStatus::Valid => {
                    self.peers.observer.progress(Progress::Validated { domain: name.clone() });
                }
                _ => self.failures.push(failure(&name, state)),
            }
            self.expected.retain(|expected| *expected != name);
        }
        Ok(())
    }
}

/// Whether the last answer was no refusal: an error in it is one that the authority found at the name.
fn is_a_success(peers: &Peers<'_>) -> bool {
    peers.client.last_answer().status.is_some_and(|status| status.is_success())
}

/// Whether asking on would be of no use, or is not wanted.
fn is_to_be_left_alone(error: &ObtainError) -> bool {
    let is_refusal = matches!(error, ObtainError::Refused { .. }) && !error.is_passing();
    is_refusal || error.asks_for_rest()
}

/// Tells the authority to come for a name.
async fn set_ready(order: &mut Order, name: &DomainName, kind: ChallengeKind) -> Result<(), instant_acme::Error> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if is_about(&authorization.identifier(), name)
            && let Some(mut challenge) = authorization.challenge(type_of(kind))
        {
            return challenge.set_ready().await;
        }
    }
    Err(instant_acme::Error::Str("the challenge is not there any more"))
}

/// Whether the authority was told to come for a name, or has judged it, as far as is known.
async fn is_coming(order: &mut Order, name: &DomainName, kind: ChallengeKind) -> bool {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if is_about(&authorization.identifier(), name) {
            let is_judged = authorization.status != AuthorizationStatus::Pending;
            let challenge = authorization.challenge(type_of(kind));
            return is_judged || challenge.is_some_and(|challenge| challenge.status != ChallengeStatus::Pending);
        }
    }
    false
}

/// Asks about a name.
async fn look(order: &mut Order, name: &DomainName) -> Result<(), instant_acme::Error> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if is_about(&authorization.identifier(), name) {
            authorization.refresh().await?;
        }
    }
    Ok(())
}

fn is_about(identifier: &AuthorizedIdentifier<'_>, name: &DomainName) -> bool {
    domain_of(identifier).is_ok_and(|domain| domain == *name)
}

fn failure(domain: &DomainName, state: &AuthorizationState) -> ChallengeFailure {
    let tried = state.challenges.iter().find(|challenge| challenge.error.is_some());
    let (kind, detail) = tried
        .and_then(|challenge| challenge.error.as_ref())
        .map_or_else(|| ("no type".to_owned(), format!("the authorization is {:?}", state.status)), told);
    let challenge = match tried.map(|challenge| &challenge.r#type) {
        Some(ChallengeType::TlsAlpn01) => ChallengeKind::TlsAlpn01,
        _ => ChallengeKind::Http01,
    };
    ChallengeFailure { domain: domain.to_string(), challenge: challenge.as_str(), kind, detail }
}

fn type_of(kind: ChallengeKind) -> ChallengeType {
    match kind {
        ChallengeKind::Http01 => ChallengeType::Http01,
        ChallengeKind::TlsAlpn01 => ChallengeType::TlsAlpn01,
    }
}

fn domain_of(identifier: &AuthorizedIdentifier<'_>) -> Result<DomainName, ObtainError> {
    match identifier.identifier {
        Identifier::Dns(name) if !identifier.wildcard => DomainName::parse(name).map_err(|_error| nonsense()),
        Identifier::Ip(address) => Ok(DomainName::from_address(*address)),
        _ => Err(nonsense()),
    }
}

fn nonsense() -> ObtainError {
    ObtainError::Protocol {
        action: "understand a challenge",
        source: instant_acme::Error::Str("a name, token or key authorization that RFC 8555 does not allow"),
    }
}

const SHOW: &str = "show an authorization";
/// How long challenges are answered when the authority may be on its way and does not tell.
const A_LITTLE: Duration = Duration::from_secs(10);
