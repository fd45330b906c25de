//! The chain that leads to the root which the operator prefers (RFC 8555 §7.4.2).

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::attempt::Errand;

/// This chain, which was the last thing that the authority handed out, or the first alternate one whose root has the preferred
/// name. Without a match this one: a certificate with another root is better than none.
pub(super) async fn preferred(fullchain: String, errand: &Errand<'_>) -> String {
    let authority = errand.authority;
    let Some(root) = authority.preferred_chain.as_deref().filter(|root| !leads_to(&fullchain, root)) else {
        return fullchain;
    };
    for url in errand.peers.client.last_answer().alternates {
        match alternate(&url, errand).await {
            Ok(chain) if leads_to(&chain, root) => return chain,
            Ok(_) => {}
            Err(error) => {
                let error: &dyn std::error::Error = &*error;
                tracing::warn!(target: "lockgate::certificates", url, error, "an alternate chain cannot be fetched");
            }
        }
    }
    tracing::warn!(target: "lockgate::certificates", root, directory = authority.directory, "the authority offers no chain to the preferred root");
    fullchain
}

async fn alternate(url: &str, errand: &Errand<'_>) -> Result<String, super::BoxError> {
    let client = errand.peers.client.aside();
    let directory = client.get(&errand.authority.directory).await?;
    let chain = errand.account.signer().fetch(&client, &directory, url).await?;
    Ok(String::from_utf8(chain.into_body().to_vec())?)
}

/// Whether the last certificate of a chain, as PEM, was issued by this root.
fn leads_to(fullchain: &str, root: &str) -> bool {
    let last = CertificateDer::pem_slice_iter(fullchain.as_bytes()).filter_map(Result::ok).last();
    last.is_some_and(|der| {
        let parsed = X509Certificate::from_der(&der);
        parsed.is_ok_and(|(_, last)| last.issuer().iter_common_name().any(|name| name.as_str() == Ok(root)))
    })
}
