//! An order that the authority has, to its certificate (RFC 8555 §7.1.6).

use authenticator_api::DomainName;
use instant_acme::{Order, OrderStatus};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::{
    ObtainError, Progress,
    attempt::{Errand, Peers},
    chain,
    error::told,
    pause::Pause,
    placement::Placed,
    validation,
};
use crate::{issued::Issued, persistence::Persistence};

/// Goes on with an order from wherever it is.
pub(super) async fn run(errand: &Errand<'_>, names: &[DomainName], placed: &mut Placed) -> Result<Issued, ObtainError> {
    let fulfilled = match validation::run(errand, &mut placed.order).await {
        Ok(()) => fulfil(errand, names, placed).await,
        Err(error) => Err(error),
    };
    // Not before: an authority looks from several places, and is convinced before the last of them has come.
    errand.peers.presented.cleanup().await;
    let fullchain = chain::preferred(fulfilled?, errand).await;
    let issued = Issued::read(&fullchain, &placed.kept.key)?;
    issued.covers(names)?;
    Ok(issued)
}

/// Asks for the certificate, unless that was done before, and waits for it; returns its chain.
async fn fulfil(errand: &Errand<'_>, names: &[DomainName], placed: &mut Placed) -> Result<String, ObtainError> {
    let peers = errand.peers;
    let order = &mut placed.order;
    let (mut is_asked_for, mut is_told) = (false, false);
    let mut persistence = peers.persistence();
    let mut pause = Pause::new(peers.client, peers.patience);
    if order.state().status == OrderStatus::Pending {
        // What became of it by the proofs is not known yet.
        refresh(order, peers).await?;
    }
    loop {
        let status = order.state().status;
        if matches!(status, OrderStatus::Processing | OrderStatus::Valid) && !is_told {
            peers.observer.progress(Progress::Finalized);
            is_told = true;
        }
        match status {
            OrderStatus::Pending => pause.take("accept the proofs").await?,
            OrderStatus::Ready if !is_asked_for => {
                let request = request(names, &placed.kept.key).map_err(|source| ObtainError::Key { source })?;
                is_asked_for = finalize(order, &request, &mut persistence, peers).await?;
                if is_asked_for {
                    continue;
                }
            }
            // Some are slow to say what they do.
            OrderStatus::Ready | OrderStatus::Processing => pause.take(ISSUE).await?,
            OrderStatus::Valid => return download(order, peers).await,
            OrderStatus::Invalid => return Err(lost(order.state())),
        }
        refresh(order, peers).await?;
    }
}

/// Asks what became of an order.
async fn refresh(order: &mut Order, peers: &Peers<'_>) -> Result<(), ObtainError> {
    let mut persistence = peers.persistence();
    while let Err(error) = order.refresh().await {
        persistence.after(peers.explain("show the order", error)).await?;
    }
    Ok(())
}

/// Asks for the certificate. `false` when it is not clear whether that was heard: the order says so, a moment later.
async fn finalize(
    order: &mut Order,
    request: &[u8],
    persistence: &mut Persistence,
    peers: &Peers<'_>,
) -> Result<bool, ObtainError> {
    let Err(error) = order.finalize_csr(request).await else { return Ok(true) };
    let error = peers.explain(ISSUE, error);
    // RFC 8555 §7.4: an order that is not ready any more, because it was heard before, or not yet.
    let is_early = matches!(&error, ObtainError::Refused { kind, .. } if kind == "orderNotReady");
    let is_to_be_seen = error.is_passing() || error.is_undecided() || is_early;
    if is_to_be_seen && persistence.wait(error.retry_after()).await { Ok(false) } else { Err(error) }
}

/// Fetches the chain of an order that is valid.
async fn download(order: &mut Order, peers: &Peers<'_>) -> Result<String, ObtainError> {
    let mut persistence = peers.persistence();
    loop {
        let chain =
            order.certificate().await.and_then(|chain| chain.ok_or("a valid order without a certificate".into()));
        let error = match chain {
            Ok(chain) => return Ok(chain),
            Err(error) => peers.explain("hand out the certificate", error),
        };
        // A certificate that there is may not be everywhere yet.
        if !error.is_not_found() {
            persistence.after(error).await?;
        } else if !persistence.wait(error.retry_after()).await {
            return Err(error);
        }
    }
}

/// A certificate request (PKCS #10, DER) for these names; an address becomes an address in it.
fn request(names: &[DomainName], key: &str) -> Result<Vec<u8>, rcgen::Error> {
    let names: Vec<_> = names.iter().map(|name| name.as_str().to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(&KeyPair::from_pem(key)?)?.der().to_vec())
}

fn lost(state: &instant_acme::OrderState) -> ObtainError {
    let (kind, detail) =
        state.error.as_ref().map_or_else(|| ("no type".to_owned(), "the order became invalid".to_owned()), told);
    let status = state.error.as_ref().and_then(|problem| problem.status);
    ObtainError::Refused { action: "fulfil the order", kind, status, detail, names: Vec::new(), retry_after: None }
}

const ISSUE: &str = "issue the certificate";
