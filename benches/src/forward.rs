//! As forward proxies: requests, tunnels, and what tunnels weigh, compared with tinyproxy.

mod proxy;
mod requests;
mod table;
mod tunnels;

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use test_support::{StartError, Usage, raise_descriptor_limit, scratch_dir};
use tokio::runtime::{Builder, Runtime};

use crate::{
    contender::{origin, prepare},
    count::Count,
    effort::Effort,
    table::Memory,
};
use proxy::{ALL, Proxy, Started};
use table::Cells;

/// What there is to load.
struct Course<'a> {
    root: &'a Path,
    lockgate: &'a str,
    effort: Effort,
    /// nginx with a small file.
    site: SocketAddr,
    /// Writes as fast as it can.
    source: SocketAddr,
    /// Takes connections and waits for their end.
    sink: SocketAddr,
    runtime: Runtime,
}

/// Connections at once where requests are counted.
const CONNECTIONS: usize = 32;

/// Prints the tables.
pub(crate) fn compare(lockgate: &str, effort: Effort) -> Result<(), StartError> {
    // A proxy needs two descriptors for each.
    let limit = raise_descriptor_limit().map_err(prepare("room for descriptors"))?;
    let possible = limit.saturating_sub(OTHERS) / 2;
    if effort.tunnels.iter().any(|wanted| *wanted > possible) {
        println!("the limit of {limit} open files leaves room for {possible} tunnels");
    }
    let effort = Effort { tunnels: effort.tunnels.map(|wanted| wanted.min(possible)), ..effort };
    let directory = scratch_dir().map_err(prepare("a directory"))?;
    fs::write(directory.path().join("small"), "Somebody is always at home.\n").map_err(prepare("the site"))?;
    let (site, _nginx) = origin(directory.path())?;
    let course = Course {
        root: directory.path(),
        lockgate,
        effort,
        site,
        source: tunnels::source().map_err(prepare("a source"))?,
        sink: tunnels::sink().map_err(prepare("a sink"))?,
        runtime: Builder::new_current_thread().enable_all().build().map_err(prepare("a runtime"))?,
    };
    let mut all: Vec<(&Proxy, Started, Cells)> = Vec::new();
    for proxy in &ALL {
        match proxy.start(course.root, lockgate, &[course.source], CONNECTIONS) {
            Ok(started) => {
                println!("{}: {}", proxy.name, proxy.version(lockgate));
                all.push((proxy, started, Cells::default()));
            }
            Err(error) => println!("left out: {error}"),
        }
    }
    for round in 1..=effort.rounds {
        for (proxy, started, cells) in &mut all {
            eprintln!("round {round} of {}: {}", effort.rounds, proxy.name);
            course.run(proxy, started, cells);
        }
    }
    let mut rows: Vec<(&Proxy, Cells)> = all.into_iter().map(|(proxy, _, cells)| (proxy, cells)).collect();
    for (proxy, cells) in &mut rows {
        for tunnels in effort.tunnels {
            eprintln!("{}: {tunnels} idle tunnels", proxy.name);
            cells.memory.push(course.weigh(proxy, tunnels).map_err(|error| error.to_string()));
        }
    }
    table::print(&rows, effort);
    Ok(())
}

impl Course<'_> {
    /// One round of everything but memory.
    fn run(&self, proxy: &Proxy, started: &Started, cells: &mut Cells) {
        let time = Duration::from_secs(self.effort.seconds.into());
        let cpu = || Usage::of_tree(started.process.id()).cpu;
        let measured = |work: &dyn Fn() -> Count| {
            let before = cpu();
            work().with_cpu(cpu().saturating_sub(before))
        };
        for (kept, cell) in [(true, &mut cells.kept), (false, &mut cells.closed)] {
            let request = requests::Request { proxy: started.address, site: self.site, kept };
            cell.push(measured(&|| self.runtime.block_on(requests::run(request, CONNECTIONS, time))));
        }
        if proxy.connects {
            cells.connects.push(measured(&|| {
                self.runtime.block_on(requests::connects(started.address, self.sink, CONNECTIONS, time))
            }));
        }
        for (streams, cell) in [(1, &mut cells.one_stream), (4, &mut cells.four_streams)] {
            let way = started.way(self.source);
            cell.push(measured(&|| tunnels::download(way, streams, time)));
        }
    }

    /// Starts it anew, and holds so many tunnels.
    fn weigh(&self, proxy: &Proxy, number: usize) -> Result<Memory, StartError> {
        let quiet = tunnels::Quiet::new(&self.runtime).map_err(prepare("quiet listeners"))?;
        let started = proxy.start(self.root, self.lockgate, quiet.addresses(), number)?;
        let before = Usage::of_tree(started.process.id());
        let ways: Vec<_> = quiet.addresses().iter().map(|address| started.way(*address)).collect();
        let held = self.runtime.block_on(tunnels::hold(&ways, number));
        let after = Usage::of_tree(started.process.id());
        // One that is asked for nothing answers nothing either, and may leave connections in its queue.
        let open = after.descriptors.saturating_sub(before.descriptors) / 2;
        let held = if proxy.connects { held.len() } else { held.len().min(open) };
        Ok(Memory { held, wanted: number, before, after })
    }
}

/// Descriptors for everything else; squid keeps a hundred aside.
const OTHERS: usize = 400;
