//! The HTTP client for ACME: what instant-acme's own lacks (deadlines, readable errors, a name, a little persistence).

mod answer;
mod error;
mod identity;

use std::{
    future::Future,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as Hyper, connect::HttpConnector},
    rt::TokioExecutor,
};
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};

use crate::persistence::Persistence;
use answer::{judge, not_acme};

pub(crate) use answer::{Answer, links};
pub use error::TransportError;
pub(crate) use identity::Identity;

/// An HTTPS client with deadlines. A clone shares connections.
#[derive(Clone)]
pub struct Client {
    hyper: Hyper<HttpsConnector<HttpConnector>, Full<Bytes>>,
    last: Arc<Mutex<Answer>>,
    /// For how long requests without a signature are repeated that fail for reasons that pass.
    patience: Duration,
    /// Who signs what the ACME library sends.
    identity: Option<Identity>,
}

impl Client {
    /// Trusts the certificates in `ca_file`, or the system's when there is none. Needs a process-wide rustls crypto
    /// provider.
    ///
    /// # Errors
    ///
    /// The file cannot be used, or the system has no certificates.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, TransportError> {
        let config = ClientConfig::builder();
        let config = match ca_file {
            Some(path) => config.with_root_certificates(roots(path)?),
            None => config.try_with_platform_verifier().map_err(|source| TransportError::Roots { source })?,
        };
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT_TIME));
        http.set_nodelay(true);
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(config.with_no_client_auth())
            .https_only()
            .enable_http1()
            .wrap_connector(http);
        let hyper = Hyper::builder(TokioExecutor::new()).build(https);
        Ok(Self { hyper, last: Arc::default(), patience: Duration::ZERO, identity: None })
    }

    /// The same connections, with a [`retry_after`](Self::retry_after) of its own, for use beside others.
    #[must_use]
    pub fn aside(&self) -> Self {
        Self { last: Arc::default(), ..self.clone() }
    }

    /// The same, which asks for directories and nonces a few times for so long. What is signed it cannot repeat: a nonce is good
    /// for once.
    #[must_use]
    pub(crate) fn patient(&self, patience: Duration) -> Self {
        Self { patience, ..self.aside() }
    }

    /// The same, for the ACME library: what that sends is signed by this account.
    pub(crate) fn signing_as(&self, identity: Identity) -> Self {
        Self { identity: Some(identity), ..self.clone() }
    }

    /// When the server wants to be asked again, as its last answer to this client or a clone of it said.
    pub fn retry_after(&self) -> Option<SystemTime> {
        self.last().retry_after
    }

    /// The last answer to this client or a clone of it, or as much of it as came.
    pub(crate) fn last_answer(&self) -> Answer {
        self.last().clone()
    }

    /// Fetches a resource without signing, such as the directory.
    ///
    /// # Errors
    ///
    /// See [`TransportError`]; an answer that is not JSON is [`TransportError::NotAcme`].
    pub async fn get(&self, url: &str) -> Result<serde_json::Value, TransportError> {
        let host = host_of(url);
        let request = Request::get(url).body(Full::default());
        let request = request.map_err(|error| TransportError::Exchange { host: host.clone(), source: error.into() })?;
        let response = self.send(request).await?;
        serde_json::from_slice(response.body()).map_err(|_error: serde_json::Error| not_acme(&host, &response))
    }

    /// Sends a request, whose answer may be a problem document but nothing that is not ACME.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, TransportError> {
        let method = request.method().clone();
        if method == Method::POST {
            return self.exchange(request).await;
        }
        let mut persistence = Persistence::new(self.patience);
        loop {
            match self.exchange(request.clone()).await {
                Err(error) if error.is_passing() && persistence.wait(error.retry_after()).await => {}
                // The ACME library asks for nonces in the middle of other things, which are not to be repeated for want of one.
                Err(error) if method == Method::HEAD => {
                    let host = host_of(&request.uri().to_string());
                    return Err(TransportError::NoNonce { host, source: Box::new(error) });
                }
                done => return done,
            }
        }
    }

    async fn exchange(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Bytes>, TransportError> {
        let host = host_of(&request.uri().to_string());
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        let method = request.method().clone();
        // What an earlier answer said is not to be taken for this one's.
        *self.last() = Answer::default();
        let exchange = async {
            let response = self.hyper.request(request).await.map_err(|error| TransportError::of(&host, error))?;
            let (parts, body) = response.into_parts();
            // Before the body, which may never come: the head says where a new order is.
            *self.last() = Answer::new(&parts);
            let body = Limited::new(body, MOST_BYTES).collect().await;
            let body = body.map_err(|source| TransportError::Exchange { host: host.clone(), source })?.to_bytes();
            self.last().body = body.clone();
            Ok(Response::from_parts(parts, body))
        };
        let response = tokio::time::timeout(DEADLINE, exchange)
            .await
            .unwrap_or_else(|_| Err(TransportError::TimedOut { host: host.clone() }))?;
        judge(&host, &method, response)
    }

    fn last(&self) -> MutexGuard<'_, Answer> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let client = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_or_else(|never| match never {}, |body| body.to_bytes());
            let signer = client.identity.as_ref().filter(|_| parts.method == Method::POST);
            let body = signer.and_then(|identity| identity.sign_anew(&body)).unwrap_or(body);
            let response = client.send(Request::from_parts(parts, Full::new(body))).await;
            response
                .map(|response| response.map(Full::new).into())
                .map_err(|error| instant_acme::Error::Other(Box::new(error)))
        })
    }
}

fn roots(path: &Path) -> Result<RootCertStore, TransportError> {
    let failed = |source| TransportError::CaFile { path: path.display().to_string(), source };
    let pem = std::fs::read(path).map_err(|error| failed(error.into()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| failed(error.to_string().into()))?;
        roots.add(certificate).map_err(|error| failed(error.into()))?;
    }
    if roots.is_empty() { Err(failed("there is no certificate in it".into())) } else { Ok(roots) }
}

fn host_of(url: &str) -> String {
    let uri = url.parse::<http::Uri>().ok();
    uri.and_then(|uri| uri.authority().map(ToString::to_string)).unwrap_or_else(|| url.to_owned())
}

const USER_AGENT: &str = concat!("lockgate/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// For a whole request and its answer.
const DEADLINE: Duration = Duration::from_secs(20);
const MOST_BYTES: usize = 1024 * 1024;
