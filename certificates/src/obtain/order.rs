//! The steps of an order (RFC 8555 §7.4).

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use authenticator_api::{Authenticator, Challenge, DomainName, KeyAuthorization, Token};
use instant_acme::{Account, AuthorizationStatus, ChallengeType, Identifier, NewOrder, Order, OrderStatus};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use tokio::time::Instant;

use super::{ChallengeFailure, Observer, ObtainError, Presented, Progress, Request, error::told};
use crate::{Client, issued::Issued};

/// Runs an order to its certificate; returns it with its private key (PEM).
pub(super) async fn run(
    request: &Request,
    client: &Client,
    account: &Account,
    authenticator: &Arc<dyn Authenticator>,
    presented: &Presented,
    observer: &dyn Observer,
) -> Result<(Issued, String), ObtainError> {
    let identifiers: Vec<_> = request.domains.iter().map(|name| Identifier::Dns(name.as_str().to_owned())).collect();
    let mut order =
        account.new_order(&NewOrder::new(&identifiers)).await.map_err(ObtainError::acme("take the order"))?;
    let wanted = challenges(&mut order).await?;
    observer.progress(Progress::OrderPlaced { to_prove: wanted.len() });
    let validated = prove(request, client, &mut order, &wanted, authenticator, presented, observer).await;
    presented.cleanup(&**authenticator).await;
    validated?;
    finish(request, client, &mut order, observer).await
}

/// Presents every challenge, lets the authority come, and waits for its judgement.
async fn prove(
    request: &Request,
    client: &Client,
    order: &mut Order,
    wanted: &[Challenge],
    authenticator: &Arc<dyn Authenticator>,
    presented: &Presented,
    observer: &dyn Observer,
) -> Result<(), ObtainError> {
    if wanted.is_empty() {
        return Ok(());
    }
    for challenge in wanted {
        presented.add(challenge.clone());
        let domain = &challenge.domain;
        let failed = |source| ObtainError::Present { domain: domain.clone(), source };
        authenticator.present(challenge).await.map_err(failed)?;
    }
    observer.progress(Progress::ChallengesPresented);
    let prepared = observer.before_validation(wanted).await.map_err(|source| ObtainError::Prepare { source });
    let judged = match prepared {
        Ok(()) => judge(request, client, order, observer).await,
        Err(error) => Err(error),
    };
    let after = observer.after_validation().await.map_err(|source| ObtainError::Prepare { source });
    judged.and(after)
}

async fn judge(
    request: &Request,
    client: &Client,
    order: &mut Order,
    observer: &dyn Observer,
) -> Result<(), ObtainError> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(ObtainError::acme("show an authorization"))?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let domain = authorization.identifier().to_string();
        if let Some(mut challenge) = authorization.challenge(ChallengeType::Http01) {
            challenge.set_ready().await.map_err(|error| not_started(domain, error))?;
        }
    }
    observer.progress(Progress::ValidationStarted);
    let deadline = Instant::now() + request.patience;
    let mut pause = Pause::new(client);
    let mut proven: Vec<String> = Vec::new();
    loop {
        let mut waiting = false;
        let mut failures = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(ObtainError::acme("show an authorization"))?;
            let state = authorization.refresh().await.map_err(ObtainError::acme("show an authorization"))?;
            let name = state.identifier().to_string();
            match state.status {
                AuthorizationStatus::Pending => waiting = true,
                AuthorizationStatus::Valid if proven.contains(&name) => {}
                AuthorizationStatus::Valid => {
                    if let Ok(domain) = DomainName::parse(&name) {
                        observer.progress(Progress::Validated { domain });
                    }
                    proven.push(name);
                }
                _ => failures.push(failure(name, state)),
            }
        }
        if !failures.is_empty() {
            return Err(ObtainError::Validation { failures });
        }
        if !waiting {
            return Ok(());
        }
        pause.take(deadline, "validate", request).await?;
    }
}

/// A challenge that the authority does not take up has failed like one that it judged.
fn not_started(domain: String, error: instant_acme::Error) -> ObtainError {
    match error {
        instant_acme::Error::Api(problem) => {
            let (kind, detail) = told(&problem);
            ObtainError::Validation { failures: vec![ChallengeFailure { domain, challenge: "http-01", kind, detail }] }
        }
        error => ObtainError::acme("start validation")(error),
    }
}

fn failure(domain: String, state: &instant_acme::AuthorizationState) -> ChallengeFailure {
    let tried = state.challenges.iter().find(|challenge| challenge.error.is_some());
    let (kind, detail) = tried
        .and_then(|challenge| challenge.error.as_ref())
        .map_or_else(|| ("no type".to_owned(), format!("the authorization is {:?}", state.status)), told);
    ChallengeFailure { domain, challenge: "http-01", kind, detail }
}

/// The challenges of every name that is not proven yet.
async fn challenges(order: &mut Order) -> Result<Vec<Challenge>, ObtainError> {
    let mut wanted = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(ObtainError::acme("show an authorization"))?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let name = authorization.identifier().to_string();
        let nonsense = || ObtainError::Protocol {
            action: "understand a challenge",
            source: instant_acme::Error::Str("a name, token or key authorization that RFC 8555 does not allow"),
        };
        let domain = DomainName::parse(&name).map_err(|_error| nonsense())?;
        let Some(challenge) = authorization.challenge(ChallengeType::Http01) else {
            return Err(ObtainError::NoChallenge { domain });
        };
        // The token becomes a file name and a URL: what the authority sends is not taken on trust.
        let token = Token::parse(&challenge.token).map_err(|_error| nonsense())?;
        let key_authorization =
            KeyAuthorization::parse(challenge.key_authorization().as_str()).map_err(|_error| nonsense())?;
        wanted.push(Challenge { domain, token, key_authorization });
    }
    Ok(wanted)
}

/// Asks for the certificate, waits for it, and checks it.
async fn finish(
    request: &Request,
    client: &Client,
    order: &mut Order,
    observer: &dyn Observer,
) -> Result<(Issued, String), ObtainError> {
    let deadline = Instant::now() + request.patience;
    let mut pause = Pause::new(client);
    while order.refresh().await.map_err(ObtainError::acme("show the order"))?.status != OrderStatus::Ready {
        check_alive(order)?;
        pause.take(deadline, "accept the proofs", request).await?;
    }
    let failed = |source| ObtainError::Key { source };
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let names: Vec<_> = request.domains.iter().map(|name| name.as_str().to_owned()).collect();
    let mut params = CertificateParams::new(names).map_err(failed)?;
    params.distinguished_name = DistinguishedName::new();
    let csr = params.serialize_request(&key).map_err(failed)?;
    order.finalize_csr(csr.der()).await.map_err(ObtainError::acme("issue the certificate"))?;
    observer.progress(Progress::Finalized);
    let fullchain = loop {
        if let Some(fullchain) = order.certificate().await.map_err(ObtainError::acme("hand out the certificate"))? {
            break fullchain;
        }
        check_alive(order)?;
        pause.take(deadline, "issue the certificate", request).await?;
    };
    let key = key.serialize_pem();
    let issued = Issued::read(&fullchain, &key)?;
    issued.covers(&request.domains)?;
    Ok((issued, key))
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

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);
