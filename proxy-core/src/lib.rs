//! The proxy engine: listeners, shards, routes and chains on pingora.
//!
//! It knows pingora and the waist [`plugin_api`], and no plugin. [`Engine`] is the way in; the path of one request is
//! told in ARCHITECTURE.md.

mod access_log;
mod admission;
mod answer;
mod client_stream;
mod config;
mod conn;
mod connect;
mod dial;
mod edge;
mod engine;
mod flight;
mod forwarded;
mod generation;
mod head;
mod listener;
mod listeners;
mod metrics;
mod narrative;
mod proxy_protocol;
mod relay;
mod resolver;
mod route;
mod shard;
mod source;
mod start_error;
mod tls;
mod tunnel;
mod upstream;
mod wording;

pub use access_log::{Format, LogConfig, Sink};
pub use config::{ClientTimeouts, Config, HeadLimits, Listener, SocketAccess};
pub use engine::{Bound, Drained, Engine};
pub use listener::ListenAddress;
pub use listeners::Entrance;
pub use metrics::{Counters, Metric, Snapshot};
pub use plugin_api::{Cidr, CidrError};
pub use route::{HostPattern, HostPatternError, Route};
pub use source::Source;
pub use start_error::StartError;
pub use tls::{
    CertificateError, ClientAuth, ListenerTls, Proofs, ServerCertificate, ServerCertificates, Sessions, TlsOptions,
    TlsVersion,
};
pub use wording::Wording;
