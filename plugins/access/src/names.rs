//! The name service: asked on threads for blocking calls, by so many at once and no longer than until a deadline.

use std::{net::IpAddr, sync::Arc};

use dns_lookup::{LookupError, LookupErrorKind};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

/// What is asked; the calls block.
pub(crate) trait NameService: Send + Sync {
    /// The addresses of a host, none if there is no such name.
    fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Unanswered>;
    /// The name that somebody gave to an address: whoever the address belongs to, without having to prove it.
    fn name(&self, address: IpAddr) -> Result<Option<String>, Unanswered>;
}

/// The name service did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name service did not answer")]
pub(crate) struct Unanswered;

/// The name service, behind a limit that all instances of the plugin share.
#[derive(Clone)]
pub(crate) struct Names {
    service: Arc<dyn NameService>,
    slots: Arc<Semaphore>,
}

impl Names {
    /// That of the system: `/etc/hosts` and whatever else nsswitch.conf(5) names.
    pub(crate) fn system() -> Self {
        Self::of(Arc::new(System))
    }

    pub(crate) fn of(service: Arc<dyn NameService>) -> Self {
        Self { service, slots: Arc::new(Semaphore::new(MOST_LOOKUPS)) }
    }

    /// Asks, and gives up at the deadline. The slot is held until the call has really ended: calls that nobody waits for any
    /// more do not pile up.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        deadline: Instant,
        question: impl FnOnce(&dyn NameService) -> Result<T, Unanswered> + Send + 'static,
    ) -> Result<T, Unanswered> {
        let answer = async {
            let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_closed| Unanswered)?;
            let service = Arc::clone(&self.service);
            let call = tokio::task::spawn_blocking(move || {
                let _slot = slot;
                question(&*service)
            });
            call.await.map_err(|_panicked| Unanswered)?
        };
        timeout_at(deadline, answer).await.map_err(|_elapsed| Unanswered)?
    }
}

/// getaddrinfo(3) and getnameinfo(3).
struct System;

impl NameService for System {
    fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Unanswered> {
        match dns_lookup::lookup_host(host) {
            Ok(addresses) => Ok(addresses.map(|address| address.to_canonical()).collect()),
            Err(error) => none(&error).map(|()| Vec::new()),
        }
    }

    fn name(&self, address: IpAddr) -> Result<Option<String>, Unanswered> {
        match dns_lookup::lookup_addr(&address) {
            // An address instead of a name would be one that somebody wrote into the zone of his addresses.
            Ok(name) => Ok(Some(name).filter(|name| name.parse::<IpAddr>().is_err())),
            Err(error) => none(&error).map(|()| None),
        }
    }
}

/// "There is none" is an answer; everything else is not.
fn none(error: &LookupError) -> Result<(), Unanswered> {
    match error.kind() {
        LookupErrorKind::NoName | LookupErrorKind::NoData => Ok(()),
        _ => Err(Unanswered),
    }
}

/// So many calls at once, each of which may take a thread for ten seconds.
const MOST_LOOKUPS: usize = 32;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn the_system_knows_this_machine() {
        let names = Names::system();
        let deadline = Instant::now() + Duration::from_secs(20);
        let addresses = names.ask(deadline, |service| service.addresses("localhost")).await.unwrap();
        assert!(!addresses.is_empty() && addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
        let name = names.ask(deadline, |service| service.name(IpAddr::from([127, 0, 0, 1]))).await.unwrap();
        assert!(name.is_some());
        let none = names.ask(deadline, |service| service.addresses("no such name")).await;
        assert!(none != Ok(vec![IpAddr::from([127, 0, 0, 1])]) && none.is_ok_and(|found| found.is_empty()));
    }
}
