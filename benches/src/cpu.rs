//! CPU time of a process and all that it started.

use std::{collections::HashMap, fs, time::Duration};

/// User and system time of the process and its descendants that live, see proc(5).
pub(crate) fn used_by_tree(root: u32) -> Duration {
    let mut parents = HashMap::new();
    let mut ticks = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name may hold blanks and ends at the last parenthesis; what follows starts with the third field.
        let Some((_, rest)) = stat.rsplit_once(')') else { continue };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        parents.insert(pid, u32::try_from(number(1)).unwrap_or(0));
        // With what children used that have ended.
        ticks.insert(pid, number(11) + number(12) + number(13) + number(14));
    }
    let belongs = |mut pid: u32| {
        while pid > 1 {
            if pid == root {
                return true;
            }
            pid = parents.get(&pid).copied().unwrap_or(0);
        }
        false
    };
    let sum: u64 = ticks.iter().filter(|(pid, _)| belongs(**pid)).map(|(_, ticks)| ticks).sum();
    // USER_HZ is 100 on every Linux that Debian builds.
    Duration::from_millis(sum * 10)
}
