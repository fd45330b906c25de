//! What a process uses, see proc(5), and may use.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a process and its descendants that live use, or have used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// CPU time, user and system, with that of children that have ended.
    pub cpu: Duration,
    /// Resident memory in bytes; what several processes share counts for each.
    pub resident: u64,
    /// Resident memory in bytes; what several processes share is divided among them. This one can be summed.
    pub proportional: u64,
    /// Open file descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: u64,
    /// Processes.
    pub processes: usize,
}

impl Usage {
    /// Of the process with this id alone.
    #[must_use]
    pub fn of(process: u32) -> Self {
        Self::default().with(process)
    }

    /// Of the process with this id and its descendants.
    #[must_use]
    pub fn of_tree(root: u32) -> Self {
        let parents: HashMap<u32, u32> = pids().filter_map(|pid| Some((pid, parent(pid)?))).collect();
        let belongs = |mut pid: u32| {
            while pid > 1 {
                if pid == root {
                    return true;
                }
                pid = parents.get(&pid).copied().unwrap_or(0);
            }
            false
        };
        parents.keys().filter(|pid| belongs(**pid)).fold(Self::default(), |sum, pid| sum.with(*pid))
    }

    fn with(self, pid: u32) -> Self {
        let status = read(pid, "status");
        let number = |text: &str, name: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        Self {
            cpu: self.cpu + cpu(pid),
            resident: self.resident + number(&status, "VmRSS:") * 1024,
            proportional: self.proportional + number(&read(pid, "smaps_rollup"), "Pss:") * 1024,
            descriptors: self.descriptors + fs::read_dir(directory(pid).join("fd")).map_or(0, Iterator::count),
            threads: self.threads + number(&status, "Threads:"),
            processes: self.processes + 1,
        }
    }
}

/// Lets this process and those that it starts from now on have as many file descriptors as the system allows them, and says how
/// many that are.
///
/// # Errors
/// What the system says.
pub fn raise_descriptor_limit() -> io::Result<usize> {
    let limit = getrlimit(Resource::Nofile);
    // Some programs reserve memory for each that they may have.
    let current = limit.maximum.map_or(MOST, |maximum| maximum.min(MOST));
    setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum: limit.maximum })?;
    Ok(usize::try_from(current).unwrap_or(usize::MAX))
}

const MOST: u64 = 65_536;

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn directory(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

/// Empty when the process is gone.
fn read(pid: u32, file: &str) -> String {
    fs::read(directory(pid).join(file)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid).get(1)?.parse().ok()
}

fn cpu(pid: u32) -> Duration {
    let ended: u64 = stat(pid).iter().skip(13).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    // USER_HZ is 100 on every Linux that Debian builds.
    let ended = Duration::from_millis(ended * 10);
    // Nanoseconds, where the ticks of `stat` would make a short run a guess; of the threads that live.
    let tasks = fs::read_dir(directory(pid).join("task")).into_iter().flatten().flatten();
    let schedule = tasks.filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok());
    let living: u64 = schedule.filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok()).sum();
    let ticks: u64 = stat(pid).iter().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    // Threads that have ended count in `stat` only.
    ended + Duration::from_nanos(living).max(Duration::from_millis(ticks * 10))
}

/// The fields of `stat` from the third on; the name before them may hold blanks and ends at the last parenthesis.
fn stat(pid: u32) -> Vec<String> {
    let stat = read(pid, "stat");
    let rest = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    rest.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Process;
    use std::process::Command;

    #[test]
    fn a_tree_is_measured() {
        let script = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; sleep 60 & exec 7</dev/null; echo up; wait";
        let mut process = Process::spawn(Command::new("sh").args(["-c", script])).unwrap();
        process.wait_for_line("up", Duration::from_secs(20), |line| line == "up").unwrap();
        let usage = Usage::of_tree(process.id());
        assert_eq!((usage.processes, usage.threads), (2, 2));
        assert!(usage.descriptors >= 7, "{usage:?}");
        assert!(usage.cpu > Duration::from_millis(20), "{usage:?}");
        assert!(usage.resident > usage.proportional && usage.proportional > 100_000, "{usage:?}");
        let alone = Usage::of(process.id());
        assert!(alone.processes == 1 && alone.resident < usage.resident, "{alone:?}");
    }
}
