//! `[server]`: what holds for the whole proxy.

use std::{num::NonZeroUsize, path::PathBuf};

use plugin_api::{
    config::{ByteSize, Duration, Problem, Problems, Table},
    schemars::{self, JsonSchema},
};
use proxy_core::{ClientTimeouts, HeadLimits, Source, Wording};
use serde::Deserialize;

use crate::octet;

/// The resolved section.
pub(super) struct Server {
    pub(super) trusted_proxies: Vec<Source>,
    pub(super) timeouts: ClientTimeouts,
    pub(super) limits: HeadLimits,
    pub(super) wording: Wording,
    pub(super) half_closed_clients: bool,
    pub(super) shards: NonZeroUsize,
    pub(super) max_clients: Option<usize>,
    pub(super) drain: std::time::Duration,
    pub(super) process: Process,
}

/// How the program runs. None of it can change while it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    /// Whom to become once everything is open: a name or a number.
    pub(crate) user: Option<String>,
    /// Its group: a name or a number.
    pub(crate) group: Option<String>,
    /// Where the process id is written, as the file says.
    pub(crate) pid_file: Option<PathBuf>,
    /// Whether to go to the background.
    pub(crate) daemon: bool,
}

#[derive(Default, Deserialize, JsonSchema)]
struct Raw {
    /// Threads that serve; one per CPU when absent.
    shards: Option<NonZeroUsize>,
    /// Connections that are served at once; further ones wait. Without it, any number.
    max_clients: Option<usize>,
    /// Peers whose forwarding headers are believed.
    #[serde(default)]
    trusted_proxies: Vec<String>,
    /// For a whole request head.
    head_timeout: Option<Duration>,
    /// For the next request on a connection.
    keep_alive_timeout: Option<Duration>,
    /// For each read of a request body.
    read_timeout: Option<Duration>,
    /// For each write of a response.
    write_timeout: Option<Duration>,
    /// How long requests may take to finish after SIGTERM.
    drain_timeout: Option<Duration>,
    /// The size of a request head.
    head_limit: Option<ByteSize>,
    /// Whose words answers of the proxy itself have. `"tinyproxy"` for status phrases and sentences like tinyproxy's, signed with
    /// its name in `Server` and `Proxy-agent`.
    wording: Option<RawWording>,
    /// The size of a request target; at most 64 KB can be passed on.
    target_limit: Option<ByteSize>,
    /// Whether lines of a request head may end without CR, as some scripts write them.
    bare_lf: Option<bool>,
    /// Whether a client that ends its direction behind its request gets its answer, as a script may that pipes it into `nc`. Such a
    /// client may be gone, too, and then the server's work is for nobody.
    half_closed_clients: Option<bool>,
    /// The user, name or number, to run as once listeners and logs are open; for a start as root.
    user: Option<Account>,
    /// The group to run as; the user's own when absent.
    group: Option<Account>,
    /// A file that holds the process id while the proxy runs.
    pid_file: Option<String>,
    /// Whether to go to the background as soon as it serves.
    daemon: Option<bool>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum RawWording {
    Plain,
    Tinyproxy,
}

/// A name, or a number that may be written as one.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Account {
    Number(u32),
    Name(String),
}

impl Account {
    pub(super) fn text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Name(name) => name,
        }
    }
}

pub(super) fn build(table: Option<Table<'_>>, problems: &mut Problems) -> Option<Server> {
    let spans = table.as_ref().map(Table::spans);
    let raw = match table {
        Some(table) => table.decode::<Raw>(problems)?,
        None => Raw::default(),
    };
    let mut trusted_proxies = Vec::new();
    for (index, text) in raw.trusted_proxies.iter().enumerate() {
        match text.parse() {
            Ok(range) => trusted_proxies.push(range),
            Err(error) => {
                let span = spans.as_ref().map(|spans| spans.of_index("trusted_proxies", index)).unwrap_or_default();
                let hint = "write an address, a range such as \"10.0.0.0/8\", or \"unix\" for all that come through a unix socket";
                problems.push(Problem::new(span, format!("`{text}`: {error}")).with_hint(hint));
            }
        }
    }
    let defaults = ClientTimeouts::default();
    let or = |given: Option<Duration>, default| given.map_or(default, |given: Duration| given.0);
    let limits = HeadLimits::default();
    let head_limit = raw.head_limit.map(|size| usize::try_from(size.0).unwrap_or(usize::MAX));
    let target_limit = raw.target_limit.map(|size| usize::try_from(size.0).unwrap_or(usize::MAX));
    Some(Server {
        trusted_proxies,
        timeouts: ClientTimeouts {
            head: or(raw.head_timeout, defaults.head),
            keep_alive: or(raw.keep_alive_timeout, defaults.keep_alive),
            read: or(raw.read_timeout, defaults.read),
            write: or(raw.write_timeout, defaults.write),
        },
        limits: HeadLimits {
            head: head_limit.unwrap_or(limits.head),
            target: target_limit.unwrap_or(limits.target).min(LONGEST_TARGET),
            bare_lf: raw.bare_lf.unwrap_or(limits.bare_lf),
        },
        half_closed_clients: raw.half_closed_clients.unwrap_or(false),
        wording: match raw.wording {
            None | Some(RawWording::Plain) => Wording::Plain,
            Some(RawWording::Tinyproxy) => Wording::Tinyproxy,
        },
        shards: raw.shards.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN),
        max_clients: raw.max_clients,
        drain: or(raw.drain_timeout, std::time::Duration::from_secs(30)),
        process: Process {
            user: raw.user.map(Account::text),
            group: raw.group.map(Account::text),
            pid_file: raw.pid_file.as_deref().map(octet::path),
            daemon: raw.daemon.unwrap_or(false),
        },
    })
}

/// What a URI of the `http` crate holds, without its scheme and authority.
const LONGEST_TARGET: usize = 64_000;
