//! Source addresses that take turns.

use std::{
    hash::{Hash, Hasher},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Addresses of this machine, each used in its turn. Clones share the turns.
#[derive(Clone, Debug)]
pub struct Rotation {
    addresses: Arc<[IpAddr]>,
    turns: Arc<Turns>,
}

/// One count for each family, so that a mixture of servers does not favour anybody.
#[derive(Debug, Default)]
struct Turns {
    v4: AtomicUsize,
    v6: AtomicUsize,
}

impl Rotation {
    /// These addresses, the first one first.
    pub fn new(addresses: impl Into<Arc<[IpAddr]>>) -> Self {
        Self { addresses: addresses.into(), turns: Arc::default() }
    }

    /// The next one of IPv4, or of IPv6; `None` where there is none of that family.
    pub fn next(&self, is_ipv4: bool) -> Option<IpAddr> {
        let family = || self.addresses.iter().filter(|address| address.is_ipv4() == is_ipv4);
        let turns = if is_ipv4 { &self.turns.v4 } else { &self.turns.v6 };
        let turn = turns.fetch_add(1, Ordering::Relaxed).checked_rem(family().count())?;
        family().nth(turn).copied()
    }
}

impl PartialEq for Rotation {
    /// Whether they are the same addresses, whoever's turn it is.
    fn eq(&self, other: &Self) -> bool {
        self.addresses == other.addresses
    }
}

impl Eq for Rotation {}

impl Hash for Rotation {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.addresses.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_takes_its_own_turns() {
        let [a, b, c]: [IpAddr; 3] = ["192.0.2.1", "2001:db8::1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let rotation = Rotation::new(vec![a, b, c]);
        let shared = rotation.clone();
        let seen: Vec<_> =
            [true, false, true, true, false].iter().map(|is_ipv4| shared.next(*is_ipv4).unwrap()).collect();
        assert_eq!(seen, [a, b, c, a, b]);
        assert_eq!(rotation.next(true), Some(c), "clones share the turns");
        assert_eq!(Rotation::new(vec![a]).next(false), None);
    }
}
