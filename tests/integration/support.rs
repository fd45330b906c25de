//! What several tests need: the program, its stages, and ways to look at a site.

use std::{
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use test_support::{Connection, Namespace, Pebble, Place, Site, poll};

/// The program under test.
pub(crate) const LOCKGATE: &str = env!("CARGO_BIN_EXE_lockgate");

/// Moments in the life of an order, as `cert obtain` tells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    OrderPlaced,
    Presented,
    GateOpen,
    ValidationStarted,
    Validated,
    Finalized,
}

impl Stage {
    pub(crate) const ALL: [Self; 6] =
        [Self::OrderPlaced, Self::Presented, Self::GateOpen, Self::ValidationStarted, Self::Validated, Self::Finalized];

    /// What the program says then.
    pub(crate) fn line(self) -> &'static str {
        match self {
            Self::OrderPlaced => "order placed",
            Self::Presented => "challenges can be answered",
            Self::GateOpen => "a probe came through",
            Self::ValidationStarted => "was told to come",
            Self::Validated => "is proven",
            Self::Finalized => "is being issued",
        }
    }
}

/// `lockgate cert obtain` for these names, in a place.
pub(crate) fn obtain(place: &Place, pebble: &Pebble, storage: &Path, domains: &[&str]) -> Command {
    let mut command = place.command(LOCKGATE);
    command.args(["cert", "obtain", "--agree-tos", "--server", &pebble.directory_url()]);
    command.arg("--ca-file").arg(pebble.ca_file()).arg("--storage").arg(storage);
    for domain in domains {
        command.args(["-d", domain]);
    }
    command
}

/// The page comes from the application itself within this time.
pub(crate) fn site_answers(from: &Namespace, site: Site, within: Duration) {
    for address in &site.addresses {
        let answer = poll(within, || {
            let stream = Place::from(from).connect(*address).ok()?;
            let mut connection = Connection::over(stream).ok()?;
            let response = connection.exchange(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", site.host)).ok()?;
            (response.body == *site.page.1 && response.header("connection") != Some("close")).then_some(())
        });
        assert!(answer.is_some(), "{address} does not answer within {within:?}");
    }
}

fn has_table(namespace: &Namespace) -> bool {
    let listed = namespace.command("nft").args(["list", "table", "inet", "lockgate"]).output().unwrap();
    listed.status.success()
}

pub(crate) fn assert_no_table(namespace: &Namespace) {
    assert!(!has_table(namespace), "a table is left");
}

pub(crate) fn wait_for_no_table(namespace: &Namespace, within: Duration) {
    poll(within, || (!has_table(namespace)).then_some(())).expect("the table outlives the program");
}

/// Connections that say nothing.
pub(crate) fn silent_connections(from: &Namespace, to: &[SocketAddr], number: usize) -> Vec<TcpStream> {
    (0..number).map(|index| Place::from(from).connect(to[index % to.len()]).unwrap()).collect()
}

/// The program in a place, killed by the kernel at the `number`th of these system calls in one of its threads.
pub(crate) fn killed_at(place: &Place, calls: &str, number: usize) -> Command {
    let mut traced = place.command("strace");
    traced.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={calls}")]);
    traced.args(["-e", &format!("inject={calls}:signal=KILL:when={number}"), LOCKGATE]);
    traced
}

/// Does work for each lane from 1 on, all at a time: it is mostly waiting. Returns the largest result.
pub(crate) fn in_lanes(lanes: usize, work: impl Fn(usize) -> usize + Sync) -> usize {
    thread::scope(|scope| {
        let lanes: Vec<_> = (1..=lanes).map(|lane| (lane, &work)).collect();
        let all: Vec<_> = lanes.into_iter().map(|(lane, work)| scope.spawn(move || work(lane))).collect();
        all.into_iter().map(|lane| lane.join().unwrap()).max().unwrap_or_default()
    })
}
