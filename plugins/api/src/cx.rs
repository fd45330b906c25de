//! What a hook sees of the request in flight.

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderMap, Method, Uri, Version};

use crate::{Bag, Client, Key};

/// The context of one hook call.
pub struct Cx<'a> {
    request: Request<'a>,
    connection: &'a Connection,
    bag: &'a mut Bag,
}

impl<'a> Cx<'a> {
    /// Puts a context together; the engine and the harness do this.
    pub fn new(request: Request<'a>, connection: &'a Connection, bag: &'a mut Bag) -> Self {
        Self { request, connection, bag }
    }

    /// The request, as the client sent it.
    pub fn request(&self) -> &Request<'a> {
        &self.request
    }

    /// The connection that it came on.
    pub fn connection(&self) -> &'a Connection {
        self.connection
    }

    /// A value that an earlier plugin shared.
    pub fn get<T: Send + Sync + 'static>(&self, key: &Key<T>) -> Option<&T> {
        self.bag.get(key)
    }

    /// Shares a value with later plugins and later hooks of this request.
    pub fn set<T: Send + Sync + 'static>(&mut self, key: &Key<T>, value: T) {
        self.bag.set(key, value);
    }
}

/// A request head, as the client sent it. Hooks read it; only
/// [`upstream_request`](crate::Plugin::upstream_request) changes what goes on to the upstream server.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query, as sent: nothing is decoded and no dot segment is removed.
    pub uri: &'a Uri,
    /// The protocol version.
    pub version: Version,
    /// The header fields.
    pub headers: &'a HeaderMap,
    /// The host that the request is for: lower case, without the port, from the target or the `Host` field
    /// ([RFC 9112 §3.2.2](https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2)). `None` when an HTTP/1.0 client named none.
    pub host: Option<&'a str>,
    /// How the client wrote the target.
    pub form: Form,
}

impl<'a> Request<'a> {
    /// The path, without the query.
    pub fn path(&self) -> &'a str {
        self.uri.path()
    }

    /// Whether this asks for a host of the proxy's own: the `Host` field is that name, letter by letter, with any port or none, and
    /// nobody wants a tunnel.
    ///
    /// Such a name is none of the world's, and so it has one spelling. Every plugin that knows one asks here: were two of them of
    /// different opinions, one would take the credentials for a site as those for the proxy, and the other would relay the request.
    pub fn is_for_own(&self, host: &str) -> bool {
        let written = self.header(&http::header::HOST).unwrap_or_default();
        let named = written.rsplit_once(':').map_or(written, |(name, _port)| name);
        self.form != Form::Authority && named == host
    }

    /// A header field's first value as text; `None` when it is absent or is not visible ASCII.
    pub fn header(&self, name: &http::HeaderName) -> Option<&'a str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// How a client wrote a request target ([RFC 9112 §3.2](https://www.rfc-editor.org/rfc/rfc9112#section-3.2)). A client
/// that uses a proxy knowingly writes the absolute form. The engine takes it apart before plugins see the request: `uri` is
/// path and query, and the `Host` field is the authority of the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A path, or `*` for `OPTIONS`.
    Origin,
    /// A URL of this scheme.
    Absolute(Scheme),
    /// Host and port, for `CONNECT`.
    Authority,
}

/// The client's side of a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Connection {
    /// The client.
    pub client: Client,
    /// The name of the listener in the configuration.
    pub listener: Arc<str>,
    /// Our end of the connection; `0.0.0.0:0`, which is nowhere, on a unix socket.
    pub local: SocketAddr,
    /// Where the client wanted to go before a firewall rule brought it here; equal to `local` otherwise.
    pub original_destination: SocketAddr,
    /// Whether the connection is encrypted.
    pub scheme: Scheme,
    /// The host that the client asked for when it shook hands (SNI, [RFC 6066 §3](https://www.rfc-editor.org/rfc/rfc6066#section-3)).
    /// It need not be the host of a request on the connection.
    pub server_name: Option<Arc<str>>,
    /// The certificate that the client has shown, in DER. It is from an authority that the listener believes.
    pub client_certificate: Option<Arc<[u8]>>,
}

impl Connection {
    /// A plain connection that nobody redirected.
    pub fn new(client: Client, listener: Arc<str>, local: SocketAddr) -> Self {
        Self {
            client,
            listener,
            local,
            original_destination: local,
            scheme: Scheme::Http,
            server_name: None,
            client_certificate: None,
        }
    }
}

/// The scheme of a request on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// The scheme's name in a URL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_the_proxys_own_has_one_spelling() {
        let is_own = |written: &str, form| {
            let headers = HeaderMap::from_iter([(http::header::HOST, written.parse().unwrap())]);
            let (method, uri, host) = (&Method::GET, &Uri::from_static("/"), written.to_ascii_lowercase());
            let version = Version::HTTP_11;
            Request { method, uri, version, headers: &headers, host: Some(&host), form }.is_for_own("Stats.test")
        };
        for (written, expected) in [
            ("Stats.test", true),
            ("Stats.test:80", true),
            ("stats.test", false),
            ("Stats.test.", false),
            ("Stats.test.example", false),
            ("", false),
        ] {
            assert_eq!(is_own(written, Form::Origin), expected, "{written}");
            assert_eq!(is_own(written, Form::Absolute(Scheme::Http)), expected, "{written}");
            assert!(!is_own(written, Form::Authority), "{written}");
        }
    }
}
