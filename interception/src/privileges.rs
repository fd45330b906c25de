//! The two capabilities that Lockgate may need, and how `nft` gets the one it needs.

use std::fmt;
use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets};

/// A Linux capability (capabilities(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// `CAP_NET_ADMIN`: opening the gate, transparent listeners, the probe's mark.
    NetAdmin,
    /// `CAP_NET_BIND_SERVICE`: listening on a port below 1024.
    NetBindService,
}

impl Capability {
    fn set(self) -> CapabilitySet {
        match self {
            Self::NetAdmin => CapabilitySet::NET_ADMIN,
            Self::NetBindService => CapabilitySet::NET_BIND_SERVICE,
        }
    }

    /// How an operator grants it.
    pub fn hint(self) -> &'static str {
        match self {
            Self::NetAdmin => {
                "run as root, set AmbientCapabilities=CAP_NET_ADMIN in the unit file, \
                 or run: setcap cap_net_admin,cap_net_bind_service+ep /path/to/lockgate"
            }
            Self::NetBindService => {
                "run as root, set AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit file, \
                 or run: setcap cap_net_bind_service+ep /path/to/lockgate"
            }
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::NetBindService => "CAP_NET_BIND_SERVICE",
        })
    }
}

/// Those of `wanted` that the calling thread does not have in effect. Where the kernel does not tell, none is missing:
/// the call that needs it will say so.
pub fn missing(wanted: &[Capability]) -> Vec<Capability> {
    let Ok(held) = rustix::thread::capabilities(None) else { return Vec::new() };
    wanted.iter().copied().filter(|capability| !held.effective.contains(capability.set())).collect()
}

/// Runs `spawn` so that a child it starts keeps `CAP_NET_ADMIN` across exec, as a user other than root would lose it
/// when the capability came with the program file (`setcap`). Afterwards the thread is as it was.
///
/// Capabilities belong to the thread, so `spawn` must fork on this one: it must not wait for anything.
pub(crate) fn with_net_admin_for_children<T>(spawn: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let net_admin = Capability::NetAdmin.set();
    if rustix::thread::capability_is_in_ambient_set(net_admin)? || rustix::process::geteuid().is_root() {
        return spawn();
    }
    let before = rustix::thread::capabilities(None)?;
    let raised = CapabilitySets { inheritable: before.inheritable | net_admin, ..before };
    rustix::thread::set_capabilities(None, raised)?;
    let raised = rustix::thread::configure_capability_in_ambient_set(net_admin, true);
    let outcome = raised.map_err(io::Error::from).and_then(|()| spawn());
    // Taking it out of the inheritable set takes it out of the ambient set as well (capabilities(7)).
    rustix::thread::set_capabilities(None, before)?;
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_thread_gave_up_is_missing() {
        let missing = std::thread::spawn(|| {
            let held = rustix::thread::capabilities(None).unwrap();
            let less = CapabilitySets { effective: held.effective - CapabilitySet::NET_ADMIN, ..held };
            rustix::thread::set_capabilities(None, less).unwrap();
            missing(&[Capability::NetAdmin, Capability::NetBindService])
        });
        assert_eq!(missing.join().unwrap().first(), Some(&Capability::NetAdmin));
    }
}
