//! What the program uses, again and again.

use std::fmt;

use test_support::Usage;

/// Everything that was measured.
pub(super) struct Pulse {
    process: u32,
    taken: Vec<Usage>,
}

impl Pulse {
    pub(super) fn of(process: u32) -> Self {
        Self { process, taken: Vec::new() }
    }

    pub(super) fn take(&mut self) {
        self.taken.push(Usage::of(self.process));
    }

    /// The first third is for pools and caches to fill; what is used in the second is used in the last. The allocator's heaps,
    /// one for each thread, grow by up to a sixth for two minutes or three and then for ten no more: half a megabyte that was lost
    /// in each renewal would be noticed.
    pub(super) fn assert_flat(&self) {
        assert!(self.taken.len() > 100, "{self}");
        let [_, middle, last] = self.thirds();
        assert!(last.resident < middle.resident + middle.resident / 4, "{self}");
        assert!(last.descriptors < middle.descriptors + 10, "{self}");
        // Threads for work on files come when they are needed, and go.
        assert!(last.threads <= middle.threads + 2, "{self}");
    }

    /// What nine of ten looks in each third saw or exceeded: without what is there only while a gate is open.
    fn thirds(&self) -> [Usage; 3] {
        let third = self.taken.len() / 3;
        [0, 1, 2].map(|number| {
            let part = &self.taken[number * third..(number + 1) * third];
            let tenth = |of: fn(&Usage) -> u64| {
                let mut all: Vec<_> = part.iter().map(of).collect();
                all.sort_unstable();
                all.get(all.len() / 10).copied().unwrap_or_default()
            };
            Usage {
                resident: tenth(|usage| usage.resident),
                descriptors: usize::try_from(tenth(|usage| usage.descriptors as u64)).unwrap_or_default(),
                threads: tenth(|usage| usage.threads),
                ..Usage::default()
            }
        })
    }
}

impl fmt::Display for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let thirds = self.thirds();
        let mebibytes = thirds.map(|usage| usage.resident >> 20);
        let (descriptors, threads) = (thirds.map(|usage| usage.descriptors), thirds.map(|usage| usage.threads));
        write!(f, "in the thirds: {mebibytes:?} MiB, {descriptors:?} descriptors, {threads:?} threads")
    }
}
