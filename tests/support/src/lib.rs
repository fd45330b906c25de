//! Real peers, network namespaces and a checking client for the integration tests and the demo.
//!
//! Every peer is a guard: started when its constructor returns, killed *and* waited for when it is dropped. Peers listen on
//! free ports of the loopback addresses or inside a [`Network`] of namespaces, and none of them outlives the process that
//! started it. A peer that does not start hands its own output back in the error.

mod authority;
mod binary;
pub mod ca_front;
mod clock;
pub mod grpc;
mod hosts_file;
pub mod http2;
mod netns;
mod nginx;
mod origin;
mod pebble;
mod place;
mod process;
mod raw;
mod scratch;
mod site;
mod small_disk;
mod squid;
mod tinyproxy;
mod tls_client;
mod tls_front;
mod tls_site;
mod tls_visitors;
mod usage;
mod visitors;
mod web_socket;

pub use authority::{Authority, Credentials};
pub use binary::Lockgate;
pub use ca_front::CaFront;
pub use clock::Clock;
pub use grpc::GrpcServer;
pub use hosts_file::HostsFile;
pub use http2::Http2;
pub use netns::{Namespace, Network, NetworkError, collect_leftovers};
pub use nginx::Nginx;
pub use origin::Origin;
pub use pebble::{EXTERNAL_ACCOUNT, Features as PebbleFeatures, Options as PebbleOptions, Pebble};
pub use place::{Place, Reservation};
pub use process::{Process, StartError, poll, require};
pub use raw::{Connection, Response};
pub use rustix::process::Signal;
pub use scratch::scratch_dir;
pub use site::Site;
pub use small_disk::SmallDisk;
pub use squid::Squid;
pub use tinyproxy::Tinyproxy;
pub use tls_client::TlsClient;
pub use tls_front::TlsFront;
pub use tls_site::TlsSite;
pub use tls_visitors::{Sighting, TlsReport, TlsVisitors, Trust, anyone};
pub use usage::{Usage, raise_descriptor_limit};
pub use visitors::{Phase, Report, Visitors};
pub use web_socket::WebSocketEcho;
