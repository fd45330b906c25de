//! What this process may do, see capabilities(7).

use std::fmt;

use rustix::thread::{CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities};

/// A capability that Lockgate may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// `CAP_NET_ADMIN`: to change the firewall and to listen transparently.
    NetAdmin,
    /// `CAP_NET_BIND_SERVICE`: to listen on ports below 1024.
    NetBindService,
}

impl Capability {
    const fn set(self) -> CapabilitySet {
        match self {
            Self::NetAdmin => CapabilitySet::NET_ADMIN,
            Self::NetBindService => CapabilitySet::NET_BIND_SERVICE,
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

/// Those of `needed` that the calling thread does not have.
pub fn missing(needed: &[Capability]) -> Vec<Capability> {
    let held = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    needed.iter().copied().filter(|capability| !held.contains(capability.set())).collect()
}

/// Passes `CAP_NET_ADMIN` on to programs that this process starts, as far as it has it: a program started by another user
/// than root would lose it. Threads inherit this when they are made, so it is called before there are any.
pub fn pass_on() {
    let Ok(mut sets) = capabilities(None) else { return };
    if !sets.permitted.contains(CapabilitySet::NET_ADMIN) || rustix::process::geteuid().is_root() {
        return;
    }
    sets.inheritable |= CapabilitySet::NET_ADMIN;
    // Where this is forbidden, opening the gate will say what is missing.
    if set_capabilities(None, sets).is_ok() {
        let _ = configure_capability_in_ambient_set(CapabilitySet::NET_ADMIN, true);
    }
}
