//! The steps of an order (RFC 8555 §7.4).

use std::time::{Duration, SystemTime};

use authenticator_api::{Challenge, ChallengeKind, DomainName, KeyAuthorization, Token};
use instant_acme::{AuthorizationStatus, AuthorizedIdentifier, ChallengeType, Identifier, Order, OrderStatus};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use tokio::time::Instant;

use super::{Authority, ChallengeFailure, ObtainError, Progress, Request, attempt::Peers, chain, error::told};
use crate::{Client, account::Opened, issued::Issued};

/// Runs an order that the authority took to its certificate; returns it with its private key (PEM).
pub(super) async fn run(
    request: &Request,
    authority: &Authority,
    account: &Opened,
    names: &[DomainName],
    mut order: Order,
    peers: &Peers<'_>,
) -> Result<(Issued, String), ObtainError> {
    let wanted = challenges(&mut order, peers).await?;
    peers.observer.progress(Progress::OrderPlaced { to_prove: wanted.len() });
    let validated = prove(request, &mut order, &wanted, peers).await;
    peers.presented.cleanup().await;
    validated?;
    let (fullchain, key) = finish(request, names, &mut order, peers).await?;
    let fullchain = chain::preferred(fullchain, authority, account, peers).await;
    let issued = Issued::read(&fullchain, &key)?;
    issued.covers(names)?;
    Ok((issued, key))
}

/// Presents every challenge, lets the authority come, and waits for its judgement.
async fn prove(
    request: &Request,
    order: &mut Order,
    wanted: &[Challenge],
    peers: &Peers<'_>,
) -> Result<(), ObtainError> {
    if wanted.is_empty() {
        return Ok(());
    }
    for challenge in wanted {
        let domain = &challenge.domain;
        let authenticator = peers.authenticators.of(domain);
        peers.presented.add(challenge.clone(), authenticator.clone());
        let failed = |source| ObtainError::Present { domain: domain.clone(), source };
        authenticator.present(challenge).await.map_err(failed)?;
    }
    peers.observer.progress(Progress::ChallengesPresented);
    let prepared = peers.observer.before_validation(wanted).await.map_err(|source| ObtainError::Prepare { source });
    let judged = match prepared {
        Ok(()) => judge(request, order, peers).await,
        Err(error) => Err(error),
    };
    let after = peers.observer.after_validation().await.map_err(|source| ObtainError::Prepare { source });
    judged.and(after)
}

/// Tells the authority to come for each name, and waits until it has judged every one: what fails with one name is known of
/// all, so that an order for the others does not fail again.
async fn judge(request: &Request, order: &mut Order, peers: &Peers<'_>) -> Result<(), ObtainError> {
    let mut failures = start(order, peers).await?;
    peers.observer.progress(Progress::ValidationStarted);
    let mut deadline = Instant::now() + request.patience;
    let mut pause = Pause::new(peers.client);
    let mut judged: Vec<String> = failures.iter().map(|failure| failure.domain.clone()).collect();
    loop {
        let mut waiting = false;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(ObtainError::acme(SHOW))?;
            if judged.contains(&authorization.identifier().to_string()) {
                continue;
            }
            let state = authorization.refresh().await.map_err(ObtainError::acme(SHOW))?;
            let name = state.identifier().to_string();
            match state.status {
                AuthorizationStatus::Pending => {
                    waiting = true;
                    continue;
                }
                AuthorizationStatus::Valid => {
                    if let Ok(domain) = domain_of(&state.identifier()) {
                        peers.observer.progress(Progress::Validated { domain });
                    }
                }
                _ => failures.push(failure(name.clone(), state)),
            }
            judged.push(name);
        }
        if !waiting {
            return if failures.is_empty() { Ok(()) } else { Err(ObtainError::Validation { failures }) };
        }
        if !failures.is_empty() {
            // The order is lost. Some authorities do not go on with the names that are left.
            deadline = deadline.min(Instant::now() + AFTER_A_FAILURE);
        }
        match pause.take(deadline, "validate", request).await {
            Err(ObtainError::TimedOut { .. }) if !failures.is_empty() => {
                return Err(ObtainError::Validation { failures });
            }
            taken => taken?,
        }
    }
}

/// Tells the authority that it can come. A challenge that it does not take up has failed like one that it judged.
async fn start(order: &mut Order, peers: &Peers<'_>) -> Result<Vec<ChallengeFailure>, ObtainError> {
    let mut failures = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(ObtainError::acme(SHOW))?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let name = domain_of(&authorization.identifier())?;
        let kind = peers.authenticators.of(&name).kind();
        let Some(mut challenge) = authorization.challenge(type_of(kind)) else { continue };
        match challenge.set_ready().await {
            Ok(()) => {}
            Err(instant_acme::Error::Api(problem)) => {
                let (reason, detail) = told(&problem);
                let domain = name.to_string();
                failures.push(ChallengeFailure { domain, challenge: kind.as_str(), kind: reason, detail });
            }
            Err(error) => return Err(ObtainError::acme("start validation")(error)),
        }
    }
    Ok(failures)
}

fn failure(domain: String, state: &instant_acme::AuthorizationState) -> ChallengeFailure {
    let tried = state.challenges.iter().find(|challenge| challenge.error.is_some());
    let (kind, detail) = tried
        .and_then(|challenge| challenge.error.as_ref())
        .map_or_else(|| ("no type".to_owned(), format!("the authorization is {:?}", state.status)), told);
    let challenge = match tried.map(|challenge| &challenge.r#type) {
        Some(ChallengeType::TlsAlpn01) => ChallengeKind::TlsAlpn01,
        _ => ChallengeKind::Http01,
    };
    ChallengeFailure { domain, challenge: challenge.as_str(), kind, detail }
}

/// The challenges of every name that is not proven yet, each of the kind that its authenticator answers.
async fn challenges(order: &mut Order, peers: &Peers<'_>) -> Result<Vec<Challenge>, ObtainError> {
    let mut wanted = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(ObtainError::acme(SHOW))?;
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
        let key_authorization =
            KeyAuthorization::parse(challenge.key_authorization().as_str()).map_err(|_error| nonsense())?;
        wanted.push(Challenge { domain, token, key_authorization });
    }
    Ok(wanted)
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

/// Asks for the certificate and waits for it; returns its chain and its private key (PEM).
async fn finish(
    request: &Request,
    names: &[DomainName],
    order: &mut Order,
    peers: &Peers<'_>,
) -> Result<(String, String), ObtainError> {
    let deadline = Instant::now() + request.patience;
    let mut pause = Pause::new(peers.client);
    while order.refresh().await.map_err(ObtainError::acme("show the order"))?.status != OrderStatus::Ready {
        check_alive(order)?;
        pause.take(deadline, "accept the proofs", request).await?;
    }
    let failed = |source| ObtainError::Key { source };
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    // An address becomes an address in the request.
    let names: Vec<_> = names.iter().map(|name| name.as_str().to_owned()).collect();
    let mut params = CertificateParams::new(names).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    let csr = params.serialize_request(&key).map_err(failed)?;
    order.finalize_csr(csr.der()).await.map_err(ObtainError::acme("issue the certificate"))?;
    peers.observer.progress(Progress::Finalized);
    loop {
        if let Some(fullchain) = order.certificate().await.map_err(ObtainError::acme("hand out the certificate"))? {
            return Ok((fullchain, key.serialize_pem()));
        }
        check_alive(order)?;
        pause.take(deadline, "issue the certificate", request).await?;
    }
}

fn check_alive(order: &mut Order) -> Result<(), ObtainError> {
    let state = order.state();
    if state.status != OrderStatus::Invalid {
        return Ok(());
    }
    let (kind, detail) =
        state.error.as_ref().map_or_else(|| ("no type".to_owned(), "the order became invalid".to_owned()), told);
    Err(ObtainError::Refused { action: "fulfil the order", kind, detail, names: Vec::new(), retry_after: None })
}

/// Pauses between questions: as long as the authority says, within reason, else longer and longer.
struct Pause<'c> {
    client: &'c Client,
    next: Duration,
}

impl<'c> Pause<'c> {
    fn new(client: &'c Client) -> Self {
        Self { client, next: SHORTEST }
    }

    async fn take(&mut self, deadline: Instant, action: &'static str, request: &Request) -> Result<(), ObtainError> {
        let asked = self.client.retry_after().and_then(|at| at.duration_since(SystemTime::now()).ok());
        let pause = asked.map_or(self.next, |asked| asked.clamp(SHORTEST, LONGEST));
        self.next = (self.next * 2).min(LONGEST);
        let now = Instant::now();
        if now >= deadline {
            return Err(ObtainError::TimedOut { action, seconds: request.patience.as_secs() });
        }
        // A last look comes at the end, however long the pauses have become.
        tokio::time::sleep_until(deadline.min(now + pause)).await;
        Ok(())
    }
}

const SHOW: &str = "show an authorization";
/// How long the judgement on other names is waited for when one has failed.
const AFTER_A_FAILURE: Duration = Duration::from_secs(10);
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);
