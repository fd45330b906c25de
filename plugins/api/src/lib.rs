//! The waist between Lockgate and its route plugins.
//!
//! A plugin is one small crate that implements [`Plugin`]. Nothing here knows a socket, a runtime or the engine below, so
//! a plugin compiles in seconds and is tested in memory with the `Harness` (feature `test`).

pub mod chain;
pub mod config;
pub mod template;

#[cfg(feature = "test")]
pub mod harness;

mod body;
mod build;
mod cidr;
mod client;
mod cx;
mod erased;
mod guard;
mod head;
mod health;
mod key;
mod meter;
mod outcome;
mod page;
mod parent;
mod peer;
mod phases;
mod plugin;
mod response;
mod rotation;
mod step;
mod tls;
pub mod way_out;

pub use body::Body;
pub use build::{BuildCx, Named, SharedStore, StartCx};
pub use bytes;
pub use chain::Chain;
pub use cidr::{Cidr, CidrError};
pub use client::Client;
pub use config::ConfigError;
pub use cx::{Connection, Cx, Form, Request, Scheme};
pub use erased::{Kind, Link};
pub use head::{RequestHead, ResponseHead, Spelled};
pub use health::Health;
pub use http;
pub use key::{Bag, Key};
pub use meter::{Meter, Reading};
pub use outcome::{Ending, Outcome};
pub use page::{Page, Rendered};
pub use parent::{Parent, ParentKind};
pub use peer::{Address, Bind, FallThrough, Peer, PeerBuilder, Protocol, Target, Timeouts};
pub use phases::Phases;
pub use plugin::{Plugin, Terminal};
pub use response::{Content, Fault, Response};
pub use rotation::Rotation;
pub use schemars;
pub use serde;
pub use step::{BoxFuture, PluginError, Step, Verdict};
pub use tls::{Identity, Roots, Tls, TlsError, TlsKeys};
