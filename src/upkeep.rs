//! Certificates of a running proxy: what clients are shown, and how it stays valid without anyone thinking about it.
//!
//! The proxy serves first. What is missing is obtained, what is due is renewed, and what is new is shown, all beside the threads
//! that serve; whatever goes wrong here, the last good certificate goes on being shown.

mod attendant;
mod bulletin;
mod complaint;
mod fetch;
mod notify;
mod placeholder;
mod rounds;
mod shelf;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use authenticator_api::Authenticator;
use certificates::{Presented, Store};
use proxy_core::{Engine, Proofs, ServerCertificate};
use tokio::{runtime::Handle, sync::watch, task::JoinHandle};

pub(crate) use self::bulletin::Bulletin;
use self::{
    attendant::Attendant,
    rounds::Rounds,
    shelf::{Shelf, Source},
};
use crate::{
    config::{Certificates, FromFiles},
    intercept::{Front, Intercept},
    lasting::Lasting,
};

/// Looks after the certificates of one configuration.
pub(crate) struct Upkeep {
    shelf: Arc<Mutex<Shelf>>,
    configured: Arc<Certificates>,
    presented: Arc<Presented>,
    /// Once there is an engine.
    attendant: Option<Arc<Attendant>>,
    rounds: Option<(JoinHandle<()>, watch::Sender<bool>)>,
}

impl Upkeep {
    /// Reads what there is; nothing is shown yet. Blocks on files.
    pub(crate) fn prepare(configured: Certificates, lasting: &Lasting) -> Self {
        let mut shelf = Shelf::new(Arc::clone(&lasting.certificates), Arc::clone(&lasting.bulletin));
        for managed in &configured.managed {
            let root = configured.storage.as_deref().unwrap_or(Path::new(""));
            let wanted = managed.request.domains.iter().map(ToString::to_string).collect();
            shelf.add(managed.name().to_owned(), wanted, Source::Lineage(Store::at(root)));
        }
        for FromFiles { name, certificate, key, .. } in &configured.files {
            let (certificate, key) = (certificate.clone(), key.clone());
            shelf.add(name.clone(), Vec::new(), Source::Files { certificate, key });
        }
        shelf.put_first(configured.default.as_deref());
        Self {
            shelf: Arc::new(Mutex::new(shelf)),
            configured: Arc::new(configured),
            presented: Arc::default(),
            attendant: None,
            rounds: None,
        }
    }

    /// Goes on showing what `before` shows where nothing can be read.
    pub(crate) fn inherit(&self, before: &Self) {
        let before = before.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner).inherit(&before);
    }

    /// Shows it, and lets these authenticators prove names in handshakes. What `before` shows goes on being shown behind it.
    pub(crate) fn show(&self, authenticators: &[Arc<dyn Authenticator>], before: Option<&Self>, lasting: &Lasting) {
        lasting.certificates.prove_by(proofs(authenticators));
        let before = before.map(|before| before.shelf.lock().unwrap_or_else(PoisonError::into_inner));
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner).show(before.as_deref());
    }

    /// Begins to look after it, in the background, unless it has begun.
    pub(crate) fn start(&mut self, engine: &Engine, lasting: &Lasting, runtime: &Handle) {
        if self.rounds.is_some() {
            return;
        }
        let stopping = watch::Sender::new(false);
        let attendant = Arc::new(Attendant::new(intercept(&self.configured, engine)));
        let rounds = Rounds::new(self, &attendant, lasting, stopping.subscribe());
        self.attendant = Some(attendant);
        self.rounds = Some((runtime.spawn(rounds.run()), stopping));
    }

    /// Ends it. An order that is under way may end within the time that `patience` has for it; then it is given up, and what was
    /// presented or opened for it is taken back.
    pub(crate) fn stop(&mut self, patience: Patience, runtime: &Handle) {
        let Some((mut rounds, stopping)) = self.rounds.take() else { return };
        stopping.send_replace(true);
        runtime.block_on(async {
            if tokio::time::timeout(patience.order, &mut rounds).await.is_ok() {
                return;
            }
            rounds.abort();
            let undone = tokio::time::timeout(patience.undoing, async {
                let _ = rounds.await;
                self.presented.cleanup().await;
                if let Some(attendant) = &self.attendant {
                    attendant.leave().await;
                }
            });
            if undone.await.is_err() {
                tracing::error!(target: "lockgate::certificates", "what was prepared for an order could not be undone in time");
            }
        });
    }
}

/// How to step in front of the application for those that need it.
fn intercept(configured: &Certificates, engine: &Engine) -> Option<Intercept> {
    let plan = configured.interception.as_ref()?;
    let mut authenticators: Vec<Arc<dyn Authenticator>> = Vec::new();
    for managed in configured.managed.iter().filter(|managed| managed.intercept) {
        for domain in &managed.request.domains {
            let authenticator = managed.authenticators.of(domain);
            if !authenticators.iter().any(|known| Arc::ptr_eq(known, authenticator)) {
                authenticators.push(Arc::clone(authenticator));
            }
        }
    }
    Some(Intercept {
        port: plan.port,
        method: plan.method,
        front: match &plan.listener {
            Some(listener) => Front::Listener(engine.entrance(listener)),
            None => Front::Own { upstream: plan.upstream.clone() },
        },
        drain: plan.drain,
        authenticators,
    })
}

/// Asks one authenticator after the other.
fn proofs(authenticators: &[Arc<dyn Authenticator>]) -> Proofs {
    let authenticators = authenticators.to_vec();
    Proofs::new(move |name| {
        let proof = authenticators.iter().find_map(|authenticator| authenticator.certificate(name))?;
        match ServerCertificate::proof(&proof.certificate, &proof.private_key) {
            Ok(certificate) => Some(certificate),
            Err(error) => {
                tracing::error!(target: "lockgate::certificates", name, error = &error as &dyn std::error::Error, "a proof cannot be shown");
                None
            }
        }
    })
}

/// How long an end may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For an order that is under way.
    order: Duration,
    /// For taking back what was presented, and for visitors who came through a gate to finish.
    undoing: Duration,
}

impl Patience {
    /// When another configuration is taken.
    pub(crate) const RELOAD: Self = Self { order: Duration::from_secs(30), undoing: Duration::from_secs(70) };
    /// When the process ends and lets requests finish.
    pub(crate) const DRAIN: Self = Self { order: Duration::from_secs(3), undoing: Duration::from_secs(70) };
    /// When it ends.
    pub(crate) const STOP: Self = Self { order: Duration::ZERO, undoing: Duration::from_secs(2) };
}
