//! The HTTP client for ACME: what instant-acme's own lacks (deadlines, readable errors, a name).

use std::{
    error::Error as StdError,
    future::Future,
    io,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
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

use crate::retry_after;

/// An HTTPS client with deadlines. A clone shares connections.
#[derive(Clone)]
pub struct Client {
    hyper: Hyper<HttpsConnector<HttpConnector>, Full<Bytes>>,
    last: Arc<Mutex<LastAnswer>>,
}

/// What the headers of an answer say and the ACME library does not hand on.
#[derive(Clone, Debug, Default)]
struct LastAnswer {
    retry_after: Option<SystemTime>,
    /// `Link: <…>;rel="alternate"` (RFC 8555 §7.4.2).
    alternates: Vec<String>,
}

/// Why a request to a certificate authority has no answer.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The file with certificates to trust cannot be read.
    #[error("cannot read the certificates in {path}")]
    CaFile {
        /// The file.
        path: String,
        /// Why not.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The system's trusted certificates cannot be used.
    #[error("cannot use the system's trusted certificates")]
    Roots {
        /// Why not.
        source: rustls::Error,
    },
    /// No answer in time.
    #[error("{host} did not answer within {DEADLINE:?}")]
    TimedOut {
        /// The server.
        host: String,
    },
    /// The name of the server does not resolve.
    #[error("the name {host} does not resolve")]
    Name {
        /// The server.
        host: String,
        /// What the system said.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// No connection.
    #[error("cannot connect to {host}")]
    Connect {
        /// The server.
        host: String,
        /// What happened.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The connection broke, or HTTP was not spoken.
    #[error("the exchange with {host} failed")]
    Exchange {
        /// The server.
        host: String,
        /// What happened.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The server does not hand out its directory.
    #[error("{host} answered {status}: {detail}")]
    Unavailable {
        /// The server.
        host: String,
        /// The status.
        status: StatusCode,
        /// What it says.
        detail: String,
        /// When it wants to be asked again.
        retry_after: Option<SystemTime>,
    },
    /// The server speaks HTTP, but not ACME.
    #[error("{host} is no ACME server: it answered {status} with {kind}, beginning {beginning:?}")]
    NotAcme {
        /// The server.
        host: String,
        /// The status.
        status: StatusCode,
        /// The content type.
        kind: String,
        /// The first characters.
        beginning: String,
        /// When it wants to be asked again.
        retry_after: Option<SystemTime>,
    },
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
        Ok(Self { hyper: Hyper::builder(TokioExecutor::new()).build(https), last: Arc::default() })
    }

    /// The same connections, with a [`retry_after`](Self::retry_after) of its own, for use beside others.
    #[must_use]
    pub fn aside(&self) -> Self {
        Self { hyper: self.hyper.clone(), last: Arc::default() }
    }

    /// When the server wants to be asked again, as its last answer to this client or a clone of it said.
    pub fn retry_after(&self) -> Option<SystemTime> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).retry_after
    }

    /// Where the last answer's document can be had in other versions.
    pub(crate) fn alternates(&self) -> Vec<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).alternates.clone()
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
    pub(crate) async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Bytes>, TransportError> {
        let host = host_of(&request.uri().to_string());
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        let method = request.method().clone();
        let exchange = async {
            let response = self.hyper.request(request).await.map_err(|error| explain(&host, error))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, MOST_BYTES).collect().await;
            let body = body.map_err(|source| TransportError::Exchange { host: host.clone(), source })?;
            Ok(Response::from_parts(parts, body.to_bytes()))
        };
        let response = tokio::time::timeout(DEADLINE, exchange)
            .await
            .unwrap_or_else(|_| Err(TransportError::TimedOut { host: host.clone() }))?;
        let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|value| retry_after::header(value, SystemTime::now()));
        let alternates = links(response.headers(), "alternate");
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = LastAnswer { retry_after, alternates };
        judge(&host, &method, response).map_err(|error| error.asked_again(retry_after))
    }
}

impl TransportError {
    /// When the server wants to be asked again.
    pub fn retry_after(&self) -> Option<SystemTime> {
        match self {
            Self::Unavailable { retry_after, .. } | Self::NotAcme { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    fn asked_again(mut self, at: Option<SystemTime>) -> Self {
        if let Self::Unavailable { retry_after, .. } | Self::NotAcme { retry_after, .. } = &mut self {
            *retry_after = at;
        }
        self
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
            let response = client.send(Request::from_parts(parts, Full::new(body))).await;
            response
                .map(|response| response.map(Full::new).into())
                .map_err(|error| instant_acme::Error::Other(Box::new(error)))
        })
    }
}

/// The targets of links with this relation ([RFC 8288 §3](https://www.rfc-editor.org/rfc/rfc8288#section-3)).
fn links(headers: &HeaderMap, relation: &str) -> Vec<String> {
    let values = headers.get_all(header::LINK).into_iter().filter_map(|value| value.to_str().ok());
    // A comma within the target is no separator; those of ACME servers hold none, and one that did would not be fetched.
    let links = values.flat_map(|value| value.split(','));
    let target = |link: &str| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let mut parameters = parameters.split(';').filter_map(|parameter| parameter.trim().split_once('='));
        let matches = parameters.any(|(name, value)| {
            name.eq_ignore_ascii_case("rel") && value.trim_matches('"').split(' ').any(|one| one == relation)
        });
        matches.then(|| target.to_owned())
    };
    links.filter_map(target).collect()
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

/// Finds out what an error of the HTTP library is about; its own text says only "client error (Connect)".
fn explain(host: &str, error: hyper_util::client::legacy::Error) -> TransportError {
    let host = host.to_owned();
    let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
    let mut names_the_resolver = false;
    let mut timed_out = false;
    while let Some(inner) = cause {
        names_the_resolver |= inner.to_string().starts_with("dns error");
        timed_out |= inner.downcast_ref::<io::Error>().is_some_and(|inner| inner.kind() == io::ErrorKind::TimedOut);
        cause = inner.source();
    }
    let is_connect = error.is_connect();
    let source = Box::new(error);
    if timed_out {
        TransportError::TimedOut { host }
    } else if names_the_resolver {
        TransportError::Name { host, source }
    } else if is_connect {
        TransportError::Connect { host, source }
    } else {
        TransportError::Exchange { host, source }
    }
}

/// Lets through what instant-acme understands.
fn judge(host: &str, method: &Method, response: Response<Bytes>) -> Result<Response<Bytes>, TransportError> {
    let status = response.status();
    let failed = status.is_client_error() || status.is_server_error();
    // Only the directory is fetched by GET; a certificate, which is not JSON, by POST.
    let json_expected = *method == Method::GET || (failed && *method != Method::HEAD);
    if !json_expected {
        return Ok(response);
    }
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(response.body()) else {
        // A proxy on the way answered, with a page for people.
        return Err(not_acme(host, &response));
    };
    // instant-acme does not look at the status of a directory.
    if failed && *method == Method::GET {
        let detail = value["detail"].as_str().unwrap_or("it does not say why").to_owned();
        return Err(TransportError::Unavailable { host: host.to_owned(), status, detail, retry_after: None });
    }
    Ok(response)
}

fn not_acme(host: &str, response: &Response<Bytes>) -> TransportError {
    let kind =
        response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("no content type");
    let text = String::from_utf8_lossy(response.body());
    TransportError::NotAcme {
        host: host.to_owned(),
        status: response.status(),
        kind: kind.to_owned(),
        beginning: text.trim().chars().take(60).collect(),
        retry_after: None,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_by_their_relation() {
        let mut headers = HeaderMap::new();
        for value in [
            r#"<https://ca.example/dir>;rel="index""#,
            r#"<https://ca.example/1>;rel="alternate", <https://ca.example/2> ; title=x; REL="up alternate""#,
            "nonsense",
            "<https://ca.example/3>;rel=up",
        ] {
            headers.append(header::LINK, value.parse().unwrap());
        }
        assert_eq!(links(&headers, "alternate"), ["https://ca.example/1", "https://ca.example/2"]);
    }

    fn judged(method: Method, status: u16, body: &'static str) -> Result<StatusCode, String> {
        let response = Response::builder().status(status).body(Bytes::from_static(body.as_bytes())).unwrap();
        judge("ca.example", &method, response).map(|response| response.status()).map_err(|error| error.to_string())
    }

    #[test]
    fn answers_that_are_not_acme_are_told_apart() {
        let problem = r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"Service busy; retry later."}"#;
        assert_eq!(judged(Method::GET, 200, "{}"), Ok(StatusCode::OK));
        assert_eq!(judged(Method::POST, 200, "-----BEGIN CERTIFICATE-----"), Ok(StatusCode::OK));
        assert_eq!(judged(Method::HEAD, 503, ""), Ok(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(judged(Method::POST, 429, problem), Ok(StatusCode::TOO_MANY_REQUESTS), "the ACME library tells it");
        let busy = judged(Method::GET, 503, problem).unwrap_err();
        assert!(busy.contains("ca.example") && busy.contains("503") && busy.contains("Service busy"), "{busy}");
        for (method, status) in [(Method::GET, 200), (Method::GET, 404), (Method::POST, 502)] {
            let page = judged(method, status, "<html>Hello").unwrap_err();
            assert!(page.contains("no ACME server") && page.contains("<html>Hello"), "{page}");
        }
    }
}
