//! In which order several servers are tried.

use plugin_api::Health;

/// Every server once, from one of them on; those that could not be connected lately come last.
#[derive(Debug)]
pub(crate) struct Order {
    first: usize,
    number: usize,
    seen: usize,
    /// Those to be tried when no other is left, and how many of them were.
    postponed: Vec<usize>,
    taken: usize,
}

impl Order {
    pub(crate) fn new(first: usize, number: usize) -> Self {
        Self { first, number, seen: 0, postponed: Vec::new(), taken: 0 }
    }

    /// The index of the next one.
    pub(crate) fn next(&mut self, health: Option<&Health>) -> Option<usize> {
        while self.seen < self.number {
            let index = (self.first + self.seen) % self.number;
            self.seen += 1;
            if health.is_none_or(|health| health.may_try(index)) {
                return Some(index);
            }
            self.postponed.push(index);
        }
        let index = self.postponed.get(self.taken).copied();
        self.taken += 1;
        index
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use plugin_api::{Address, BuildCx, Named, SharedStore};

    use super::*;

    #[test]
    fn whoever_failed_lately_comes_last_and_is_tried_all_the_same() {
        let (named, store) = (Named::default(), SharedStore::default());
        let addresses: Vec<_> = (1..=4).map(|port| Address::Socket(([192, 0, 2, 1], port).into())).collect();
        let cx = BuildCx::new(&named, &store);
        let health = Health::new(&addresses, 0, Duration::from_secs(60), &cx).unwrap();
        let order = || {
            let mut order = Order::new(1, 4);
            std::iter::from_fn(|| order.next(Some(&health))).collect::<Vec<_>>()
        };
        assert_eq!(order(), [1, 2, 3, 0]);
        health.failed(1);
        health.failed(3);
        assert_eq!(order(), [2, 0, 1, 3]);
        for index in 0..4 {
            health.failed(index);
        }
        assert_eq!(order(), [1, 2, 3, 0]);
        let mut without = Order::new(3, 4);
        assert_eq!(std::iter::from_fn(|| without.next(None)).collect::<Vec<_>>(), [3, 0, 1, 2]);
    }
}
