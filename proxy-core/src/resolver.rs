//! Names of upstream servers to addresses: off the shard, cached, one look-up at a time for each name.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use tokio::time::Instant;

/// Resolves through getaddrinfo(3), on tokio's threads for blocking calls. Each shard has its own.
#[derive(Default)]
pub(crate) struct Resolver {
    names: Mutex<HashMap<Arc<str>, Arc<Entry>>>,
}

/// One look-up, for everybody who asks while it is under way or its answer is good.
struct Entry {
    made: Instant,
    look_up: Shared<BoxFuture<'static, Answer>>,
    /// What the look-up before this one found.
    before: Option<Arc<[IpAddr]>>,
}

type Answer = Result<Arc<[IpAddr]>, ResolveError>;

/// Why a name has no address.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    #[error("the name service did not answer within {DEADLINE:?}")]
    TimedOut,
    #[error("the name does not resolve")]
    Failed {
        #[source]
        source: Arc<io::Error>,
    },
    #[error("the name has no address")]
    Empty,
}

impl Resolver {
    /// The addresses of `name`: IPv6 and IPv4 in turn, in the order of the system's preference. While the name service does
    /// not answer, those that it gave last are still good.
    pub(crate) async fn resolve(&self, name: &Arc<str>) -> Answer {
        // Case means nothing in a name (RFC 4343): however it is written, it is one look-up.
        let lower: Arc<str>;
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            lower = name.to_ascii_lowercase().into();
            &lower
        } else {
            name
        };
        let entry = self.entry(name);
        let patience = if entry.before.is_some() { PATIENCE } else { DEADLINE };
        match tokio::time::timeout(patience, entry.look_up.clone()).await {
            Ok(answer) => answer,
            Err(_) => entry.before.clone().ok_or(ResolveError::TimedOut),
        }
    }

    fn entry(&self, name: &Arc<str>) -> Arc<Entry> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let known = names.get(name);
        if let Some(entry) = known.filter(|entry| entry.is_good()) {
            return Arc::clone(entry);
        }
        let before = known.and_then(|entry| entry.addresses().or_else(|| entry.before.clone()));
        if names.len() >= MOST_NAMES {
            names.retain(|_, entry| entry.is_good() && entry.addresses().is_some());
            // Clients choose the names: whoever asks for many must not make us look through them all each time.
            if names.len() >= MOST_NAMES {
                names.clear();
            }
        }
        let entry = Arc::new(Entry::new(name, before));
        names.insert(Arc::clone(name), Arc::clone(&entry));
        entry
    }
}

impl Entry {
    fn new(name: &Arc<str>, before: Option<Arc<[IpAddr]>>) -> Self {
        let name = Arc::clone(name);
        let look_up = async move { look_up(&name).await }.boxed().shared();
        // It goes on when those who asked have given up: the next one finds its answer, not a new beginning.
        tokio::spawn(look_up.clone());
        Self { made: Instant::now(), look_up, before }
    }

    /// Whether nobody needs to look again.
    fn is_good(&self) -> bool {
        let lifetime = match self.look_up.peek() {
            Some(Err(_)) => LIFETIME_OF_FAILURE,
            Some(Ok(_)) | None => LIFETIME,
        };
        self.made.elapsed() < lifetime
    }

    fn addresses(&self) -> Option<Arc<[IpAddr]>> {
        self.look_up.peek().and_then(|answer| answer.as_ref().ok()).cloned()
    }
}

async fn look_up(name: &str) -> Answer {
    let failed = |source| ResolveError::Failed { source: Arc::new(source) };
    let found = tokio::net::lookup_host((name, 0)).await.map_err(failed)?;
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
/// How long a failure is: clients that try again at once do not find out more.
const LIFETIME_OF_FAILURE: Duration = Duration::from_secs(1);
/// How long one request waits.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long it waits when there is an older answer.
const PATIENCE: Duration = Duration::from_millis(500);
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
        let failed = resolver.entry(&wrong);
        assert!(Arc::ptr_eq(&failed, &resolver.entry(&wrong)), "for a moment");
        tokio::time::pause();
        tokio::time::advance(LIFETIME_OF_FAILURE).await;
        assert!(!Arc::ptr_eq(&failed, &resolver.entry(&wrong)));
    }

    fn silent(before: Option<Arc<[IpAddr]>>) -> Arc<Entry> {
        Arc::new(Entry { made: Instant::now(), look_up: std::future::pending().boxed().shared(), before })
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_answer_is_better_than_none() {
        let resolver = Resolver::default();
        let address: Arc<[IpAddr]> = [IpAddr::from([192, 0, 2, 1])].into();
        let (known, unknown): (Arc<str>, Arc<str>) = ("known".into(), "unknown".into());
        resolver.names.lock().unwrap().insert(Arc::clone(&known), silent(Some(Arc::clone(&address))));
        resolver.names.lock().unwrap().insert(Arc::clone(&unknown), silent(None));
        let started = Instant::now();
        assert_eq!(resolver.resolve(&known).await.unwrap(), address);
        assert!(started.elapsed() < Duration::from_secs(1));
        assert!(matches!(resolver.resolve(&unknown).await, Err(ResolveError::TimedOut)));
        tokio::time::advance(LIFETIME).await;
        assert_eq!(resolver.entry(&known).before, Some(address), "it is handed on");
    }

    #[tokio::test(start_paused = true)]
    async fn names_do_not_pile_up() {
        let resolver = Resolver::default();
        for number in 0..3 * MOST_NAMES {
            resolver.names.lock().unwrap().insert(format!("{number}").into(), silent(None));
            if number % 100 == 0 {
                resolver.entry(&format!("new-{number}").into());
            }
            assert!(resolver.names.lock().unwrap().len() <= MOST_NAMES + 101);
        }
    }
}
