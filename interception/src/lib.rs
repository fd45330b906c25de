//! Redirects a live port to a listener of ours, without losing a connection.
//!
//! The application keeps its port. While the [`Gate`] is open, packets that *open* a TCP connection to that port are led
//! to our listener; everything that is established stays where it is.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use interception::{Gate, Plan};
//!
//! let mut gate = Gate::open(Plan::new(80, 9999)).await?; // listeners on [::]:9999 and 0.0.0.0:9999 exist already
//! tokio::select! {
//!     status = gate.died() => eprintln!("the gate has closed itself: {status:?}"),
//!     () = async { /* probe, then let the CA validate */ } => {}
//! }
//! gate.stop_intercepting().await?; // new connections reach the application again
//! // accept what is queued, close the listeners, drain
//! gate.close().await?;
//! # Ok(()) }
//! ```
//!
//! # Invariants
//!
//! - **The gate cannot outlive us.** The nftables table `inet lockgate` belongs to the netlink socket of one child, `nft
//!   -j -i` on a pipe (flag `owner`, Linux 5.12). `kill -9` closes the pipe, nft leaves, the kernel drops the table. Only
//!   this child can change the table, so no second run can, either.
//! - **Nothing happens by halves.** The rules are one transaction; each step is confirmed by what nft said *and* by a
//!   listing that a separate process makes. Every error of [`Gate::open`] leaves the host as it was.
//! - **Only what is for this host**: connections that it forwards, as for its containers, are none of ours (`fib daddr
//!   type local`).
//! - **Ctrl-C does not close the gate before the drain**: the child has its own process group and ignores INT, TERM and
//!   HUP. In a systemd unit that needs `KillMode=mixed`.
//! - **A method is never worse than refusing it**: with TPROXY a rule without a listener lets the connection go on to the
//!   application, and connections that came through outlive the table. With a redirect neither is so, hence its order
//!   of closing (rules, drain, table) and hence TPROXY comes first.
//!
//! # The methods
//!
//! TPROXY assigns the opening packet to our listener, which must be transparent (`IP_TRANSPARENT`, set before it is bound; it needs `CAP_NET_ADMIN`). Neither policy
//! routing nor a `socket transparent` rule is needed, as in set-ups for *forwarded* traffic: the destination is an address
//! of this host, so routing delivers the packets here anyway, and later packets find the accepted socket by its
//! addresses. The local port of an accepted connection is the intercepted one, so the host's firewall passes it as
//! before.
//!
//! A NAT redirect rewrites the destination, so the listener asks for it (`SO_ORIGINAL_DST`) and the host's own
//! firewall must pass the *listener's* port: an accept in our table does not override a drop in another. It stands just
//! before the priority at which container engines publish ports, where TPROXY cannot serve: there the destination is
//! rewritten after our rule.
//!
//! Connections of this host to itself do not pass the gate (so the listener can dial the application at the address the
//! visitor asked for) unless they carry [`PROBE_MARK`], which is how [`probe()`] tests the path. The mark needs no routing
//! rule: the `local` routing table comes first.

mod addresses;
mod gate;
mod nft;
mod privileges;
mod probe;
mod rules;
mod tail;

pub use addresses::own_addresses;
pub use gate::{Gate, OpenError, Plan, Preference};
pub use nft::TableError;
pub use privileges::{Capability, missing as missing_capabilities};
pub use probe::{ProbeError, ProbeFault, Question, probe};
pub use rules::{Method, PROBE_MARK, Protocol, RuleCount, TABLE, Traffic};
