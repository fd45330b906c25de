//! The gate: leads new connections to a live port to a listener of ours, for a while, and loses none.
//!
//! Rules live in one nftables table that the kernel ties to a child process (`flags owner`): whatever kills us ends the
//! child's input, the child ends, and the kernel takes the table away. Only opening packets are matched, so connections
//! that exist when the gate opens or closes stay where they are.
//!
//! TPROXY is used where the kernel has it: the local port stays what it was, host firewalls and connection tracking see
//! nothing new. Otherwise packets are redirected by NAT; then the listener's own port must be open in the host's firewall,
//! because an accept in our table does not override a drop in another.

mod gate;
mod nft;
pub mod privileges;
mod probe;
mod rules;

pub use gate::{Gate, GateError, OpenError};
pub use probe::{ProbeError, own_addresses, probe};
pub use rules::{Method, Plan};
