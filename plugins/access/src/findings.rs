//! What was found about clients, for a short time.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use tokio::time::Instant;

use crate::{inquiry::Finding, rules::Action};

/// One inquiry for each client, for everybody who asks while it goes on or is fresh.
#[derive(Default)]
pub(crate) struct Findings(Mutex<HashMap<IpAddr, Entry>>);

struct Entry {
    made: Instant,
    inquiry: Pending,
}

type Pending = Shared<BoxFuture<'static, Finding>>;

impl Findings {
    /// What is found about a client; `inquire` is run when nothing fresh is known.
    ///
    /// Must be called within a runtime: the inquiry goes on when those who asked are gone, and the next one finds its result.
    pub(crate) fn about<F>(&self, client: IpAddr, inquire: impl FnOnce() -> F) -> Pending
    where
        F: Future<Output = Finding> + Send + 'static,
    {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(&client).filter(|entry| entry.is_fresh()) {
            return entry.inquiry.clone();
        }
        if entries.len() >= MOST_CLIENTS {
            entries.retain(|_, entry| entry.is_fresh());
            // Whoever comes from many addresses must not make us look through them all each time.
            if entries.len() >= MOST_CLIENTS {
                entries.clear();
            }
        }
        let inquiry = tokio::spawn(inquire()).map(|found| found.unwrap_or(Finding::NONE)).boxed().shared();
        entries.insert(client, Entry { made: Instant::now(), inquiry: inquiry.clone() });
        inquiry
    }
}

impl Entry {
    fn is_fresh(&self) -> bool {
        let lifetime = match self.inquiry.peek() {
            Some(Finding { is_sure: false, .. }) => LIFETIME_OF_DOUBT,
            Some(_) | None => LIFETIME,
        };
        self.made.elapsed() < lifetime
    }
}

impl Finding {
    /// An inquiry that broke off lets nobody in.
    const NONE: Self = Self { action: Action::Deny, is_sure: false };
}

/// How long a name is taken to stay with an address.
const LIFETIME: Duration = Duration::from_secs(30);
/// How long a client waits until the name service is asked again that did not answer.
const LIFETIME_OF_DOUBT: Duration = Duration::from_secs(5);
/// Above this many clients, old findings are dropped.
const MOST_CLIENTS: usize = 4096;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    async fn ask(findings: &Findings, client: u8, finding: Finding, asked: &'static AtomicUsize) -> Finding {
        let inquire = || {
            asked.fetch_add(1, Ordering::Relaxed);
            std::future::ready(finding)
        };
        findings.about(IpAddr::from([192, 0, 2, client]), inquire).await
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_sure_is_known_for_longer() {
        static ASKED: AtomicUsize = AtomicUsize::new(0);
        let findings = Findings::default();
        for (client, is_sure, lifetime) in [(1, true, LIFETIME), (2, false, LIFETIME_OF_DOUBT)] {
            let finding = Finding { action: Action::Allow, is_sure };
            let before = ASKED.load(Ordering::Relaxed);
            for _ in 0..3 {
                assert_eq!(ask(&findings, client, finding, &ASKED).await, finding);
            }
            assert_eq!(ASKED.load(Ordering::Relaxed), before + 1);
            tokio::time::advance(lifetime).await;
            ask(&findings, client, finding, &ASKED).await;
            assert_eq!(ASKED.load(Ordering::Relaxed), before + 2);
        }
    }

    #[tokio::test]
    async fn clients_do_not_pile_up_and_a_broken_inquiry_lets_nobody_in() {
        let findings = Findings::default();
        for number in 0..u32::try_from(3 * MOST_CLIENTS).unwrap() {
            drop(findings.about(IpAddr::from(number.to_be_bytes()), std::future::pending));
            assert!(findings.0.lock().unwrap().len() <= MOST_CLIENTS);
        }
        let broken = findings.about(IpAddr::from([192, 0, 2, 1]), || async { panic!("it breaks off") });
        assert_eq!(broken.await, Finding { action: Action::Deny, is_sure: false });
    }
}
