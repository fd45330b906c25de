//! The proxy engine: listeners, shards, routes and chains on pingora.
//!
//! It knows pingora and the waist [`plugin_api`], and no plugin. [`Engine`] is the way in; the path of one request is
//! told in ARCHITECTURE.md.

mod access_log;
mod answer;
mod cidr;
mod config;
mod conn;
mod edge;
mod engine;
mod flight;
mod forwarded;
mod head;
mod listener;
mod metrics;
mod relay;
mod resolver;
mod route;
mod shard;
mod upstream;

pub use access_log::{Format, LogConfig, Sink};
pub use cidr::{Cidr, CidrError};
pub use config::{ClientTimeouts, Config, HeadLimits, Listener};
pub use engine::{Drained, Engine, StartError};
pub use metrics::{Metric, Snapshot};
pub use route::{HostPattern, HostPatternError, Route};
