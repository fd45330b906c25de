//! Names of upstream servers to addresses: off the shard, cached, one look-up at a time for each name.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::OnceCell, time::Instant};

/// Resolves through getaddrinfo(3), on tokio's threads for blocking calls. Each shard has its own.
#[derive(Default)]
pub(crate) struct Resolver {
    names: Mutex<HashMap<Arc<str>, Arc<Entry>>>,
}

struct Entry {
    made: Instant,
    addresses: OnceCell<Arc<[IpAddr]>>,
}

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    #[error("the name service did not answer within {DEADLINE:?}")]
    TimedOut,
    #[error("the name does not resolve")]
    Failed {
        #[source]
        source: io::Error,
    },
    #[error("the name has no address")]
    Empty,
}

impl Resolver {
    /// The addresses of `name`: IPv6 and IPv4 in turn, in the order of the system's preference.
    pub(crate) async fn resolve(&self, name: &Arc<str>) -> Result<Arc<[IpAddr]>, ResolveError> {
        let entry = self.entry(name);
        let look_up = entry.addresses.get_or_try_init(|| async { look_up(name).await });
        match tokio::time::timeout(DEADLINE, look_up).await {
            Ok(addresses) => addresses.cloned(),
            Err(_) => Err(ResolveError::TimedOut),
        }
    }

    fn entry(&self, name: &Arc<str>) -> Arc<Entry> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= MOST_NAMES {
            names.retain(|_, entry| entry.made.elapsed() < LIFETIME);
        }
        let fresh = || Arc::new(Entry { made: Instant::now(), addresses: OnceCell::new() });
        let entry = names.entry(Arc::clone(name)).or_insert_with(fresh);
        if entry.made.elapsed() >= LIFETIME {
            *entry = fresh();
        }
        Arc::clone(entry)
    }
}

async fn look_up(name: &str) -> Result<Arc<[IpAddr]>, ResolveError> {
    let found = tokio::net::lookup_host((name, 0)).await.map_err(|source| ResolveError::Failed { source })?;
    let addresses = take_turns(found.map(|address: SocketAddr| address.ip()));
    if addresses.is_empty() { Err(ResolveError::Empty) } else { Ok(addresses.into()) }
}

/// Address families take turns, so that one broken family costs one failed attempt (RFC 8305 §4).
fn take_turns(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut seen = Vec::new();
    for address in addresses {
        if !seen.contains(&address) {
            seen.push(address);
        }
    }
    let Some(first) = seen.first().copied() else { return seen };
    let (preferred, others): (Vec<_>, Vec<_>) = seen.into_iter().partition(|a| a.is_ipv4() == first.is_ipv4());
    let mut mixed = Vec::with_capacity(preferred.len() + others.len());
    let (mut preferred, mut others) = (preferred.into_iter(), others.into_iter());
    loop {
        let pair = [preferred.next(), others.next()];
        if pair == [None, None] {
            return mixed;
        }
        mixed.extend(pair.into_iter().flatten());
    }
}

/// How long an answer is used. getaddrinfo does not tell the record's own lifetime.
const LIFETIME: Duration = Duration::from_secs(30);
/// How long one request waits.
const DEADLINE: Duration = Duration::from_secs(5);
/// Above this many names, old ones are dropped.
const MOST_NAMES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let addresses = ["2001:db8::1", "2001:db8::2", "2001:db8::1", "192.0.2.1"].map(|a| a.parse().unwrap());
        let expected = ["2001:db8::1", "192.0.2.1", "2001:db8::2"].map(|a| a.parse::<IpAddr>().unwrap());
        assert_eq!(take_turns(addresses.into_iter()), expected);
    }

    #[tokio::test]
    async fn an_answer_is_kept_and_a_failure_is_not() {
        let resolver = Resolver::default();
        let name: Arc<str> = "localhost".into();
        let first = resolver.resolve(&name).await.unwrap();
        assert!(first.iter().all(IpAddr::is_loopback));
        assert!(Arc::ptr_eq(&first, &resolver.resolve(&name).await.unwrap()));
        let wrong: Arc<str> = "no such name".into();
        assert!(resolver.resolve(&wrong).await.is_err());
        assert!(resolver.entry(&wrong).addresses.get().is_none());
    }
}
