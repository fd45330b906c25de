//! A certificate authority with all that pebble 2.4.0 lacks, and with bad days: a server that stands before pebble.
//!
//! It adds renewal information, `replaces` and profiles, counts every request, and can be told to fail in whichever way a real
//! authority or the network before it does. What is signed passes untouched: pebble makes its URLs from the `Host` of a
//! request, so they lead here, and what a client signs is what pebble expects.
//!
//! It runs on threads of this process that have moved to pebble's place, so within a namespace it is started like anywhere
//! else, and can be told what to do while a program there talks to it:
//!
//! ```no_run
//! use std::time::Duration;
//! use test_support::{CaFront, Network, Pebble, ca_front::{Endpoint, Fault, Spent}};
//!
//! let network = Network::new(["site", "authority"])?;
//! let [site, authority] = network.hosts();
//! let pebble = Pebble::in_network(authority, site, true)?;
//! let front = CaFront::start(&pebble)?;
//! front.inject(Endpoint::NewOrder, 1, Fault::rate_limited(Duration::from_secs(30)));
//! // … `lockgate` with `front.directory_url()` and `front.ca_file()` …
//! assert!(front.wait_for(Duration::from_secs(60), |journal| journal.count(Endpoint::NewOrder) == 2));
//! assert_eq!(front.spent(), Spent { accounts: 1, orders: 1, ..Spent::default() });
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod alarm;
mod endpoint;
mod fault;
mod journal;
mod known;
mod message;
mod renewal;
mod rules;
mod visit;

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use crate::{Pebble, Place, StartError};
use alarm::{Alarm, Watch, Woken, wait};
use known::Known;
use message::{Answer, Request};
use rules::Rules;
use visit::Ends;

pub use endpoint::{Endpoint, Scope};
pub use fault::{Fault, Problem, RetryAfter, Times};
pub use journal::{Exchange, Journal, Ordered, Outcome, Spent};
pub use renewal::Certificate;

/// A running front. Dropping it ends it; pebble must live longer.
#[derive(Debug)]
pub struct CaFront {
    address: SocketAddr,
    ca_file: PathBuf,
    shared: Arc<Shared>,
    /// Both are taken by the end.
    running: Option<(Alarm, JoinHandle<()>)>,
}

#[derive(Debug)]
struct Shared {
    ends: Ends,
    state: Mutex<State>,
    /// The journal has changed.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    journal: Journal,
    faults: fault::Faults,
    rules: Rules,
    known: Known,
    /// Ends what hangs.
    cleared: Alarm,
}

impl CaFront {
    /// On a free port of pebble's place, with pebble's own TLS certificate.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(pebble: &Pebble) -> Result<Self, StartError> {
        Self::start_at(pebble, 0)
    }

    /// The same on this port; 0 takes a free one. An authority that was down comes back where it was, and knows nothing: its
    /// port can be kept by [`Place::reserve`], and whoever trusts `ca_file` trusts it again.
    ///
    /// # Errors
    /// What the system says.
    pub fn start_at(pebble: &Pebble, port: u16) -> Result<Self, StartError> {
        let prepare = || StartError::prepare("a front for pebble");
        let (place, ca_file) = (pebble.place().clone(), pebble.ca_file());
        let bound = place.enter(|| TcpListener::bind((place.ipv4(), port))).and_then(|bound| bound);
        let listener = bound.map_err(prepare())?;
        let address = listener.local_addr().map_err(prepare())?;
        let ends = ends(&ca_file, pebble.address()).map_err(prepare())?;
        let state = State {
            journal: Journal::default(),
            faults: fault::Faults::default(),
            rules: Rules::default(),
            known: Known::new(pebble.log()),
            cleared: Alarm::new().map_err(prepare())?,
        };
        let shared = Arc::new(Shared { ends, state: Mutex::new(state), changed: Condvar::new() });
        let stop = Alarm::new().map_err(prepare())?;
        let (serving, watch) = (Arc::clone(&shared), stop.watch());
        let thread = thread::spawn(move || accept(&listener, &place, &serving, &watch));
        Ok(Self { address, ca_file, shared, running: Some((stop, thread)) })
    }

    /// The URL that ACME clients start with.
    #[must_use]
    pub fn directory_url(&self) -> String {
        format!("https://{}/dir", self.address)
    }

    /// Host and port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate that its TLS certificate, which is pebble's, is signed with.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.ca_file.clone()
    }

    /// Lets requests meet a fault: those of an [`Endpoint`] or [`Scope::Any`], the next few (a number) or all of them
    /// ([`Times::Forever`]). Of several faults, a request meets the one that was told first.
    pub fn inject(&self, scope: impl Into<Scope>, times: impl Into<Times>, fault: impl Into<Fault>) {
        self.shared.lock().faults.add(scope.into(), times.into(), fault.into());
    }

    /// Forgets all faults. Requests that hang get their usual answers.
    ///
    /// # Panics
    /// There are no file descriptors left.
    pub fn clear_faults(&self) {
        let mut state = self.shared.lock();
        state.faults = fault::Faults::default();
        state.cleared = Alarm::new().expect("a process that could open connections has descriptors");
    }

    /// Refuses orders for a name from now on: 400 `rejectedIdentifier`, with a subproblem about it.
    pub fn refuse_name(&self, name: &str, detail: &str) {
        self.shared.lock().rules.refused.insert(name.to_owned(), detail.to_owned());
    }

    /// Lets every challenge for a name fail from now on, with this error. Nobody comes to look.
    pub fn fail_challenges(&self, name: &str, kind: &str, detail: &str) {
        self.shared.lock().rules.failing.insert(name.to_owned(), Problem::new(403, kind, detail));
    }

    /// Takes back [`Self::refuse_name`] and [`Self::fail_challenges`]; what has failed has failed.
    pub fn accept_name(&self, name: &str) {
        let rules = &mut self.shared.lock().rules;
        rules.refused.remove(name);
        rules.failing.remove(name);
    }

    /// Suggests this window for every certificate that has none of its own, known or not. Without, it is around two thirds of
    /// the life of those that a client fetched by the front.
    pub fn set_window(&self, start: SystemTime, end: SystemTime) {
        self.shared.lock().rules.suggestions.of_all = Some((start, end));
    }

    /// Suggests this window for one certificate, which is named as in RFC 9773 §4.1.
    pub fn set_window_of(&self, id: &str, start: SystemTime, end: SystemTime) {
        self.shared.lock().rules.suggestions.of_one.insert(id.to_owned(), (start, end));
    }

    /// Takes back [`Self::set_window`] and [`Self::set_window_of`].
    pub fn reset_windows(&self) {
        let suggestions = &mut self.shared.lock().rules.suggestions;
        suggestions.of_all = None;
        suggestions.of_one.clear();
    }

    /// Tells with every window a page that explains it, or none.
    pub fn set_explanation(&self, page: Option<&str>) {
        self.shared.lock().rules.suggestions.explanation = page.map(str::to_owned);
    }

    /// When to ask for renewal information again; at first after six hours.
    pub fn set_retry_after(&self, retry_after: impl Into<RetryAfter>) {
        self.shared.lock().rules.suggestions.retry_after = retry_after.into();
    }

    /// Whether the directory has renewal information; at first it does.
    pub fn offer_renewal_info(&self, is_offered: bool) {
        self.shared.lock().rules.suggestions.is_offered = is_offered;
    }

    /// Takes the next orders (a number, or [`Times::Forever`]) with `replaces` for ones that replace a certificate which is
    /// replaced already: 409 `alreadyReplaced`. It does so anyhow while there is an order for it that is not invalid.
    pub fn refuse_replaces(&self, times: impl Into<Times>) {
        self.shared.lock().rules.refused_replaces = times.into();
    }

    /// Offers these profiles, each with what it means; with none of them the directory says nothing about profiles. At first
    /// there are Let's Encrypt's: `classic`, `tlsserver`, `shortlived`. How long certificates are valid is pebble's alone.
    pub fn set_profiles(&self, profiles: &[(&str, &str)]) {
        let own = |(name, meaning): &(&str, &str)| ((*name).to_owned(), (*meaning).to_owned());
        self.shared.lock().rules.profiles = profiles.iter().map(own).collect();
    }

    /// When to ask again about orders, authorizations and challenges that are pending or processing; at first it is not said.
    pub fn set_polling_retry_after(&self, retry_after: impl Into<RetryAfter>) {
        self.shared.lock().rules.polling = retry_after.into();
    }

    /// Every request so far.
    #[must_use]
    pub fn journal(&self) -> Journal {
        self.shared.lock().journal.clone()
    }

    /// What was spent so far of what authorities limit.
    #[must_use]
    pub fn spent(&self) -> Spent {
        let state = self.shared.lock();
        state.journal.spent(&state.known.failed_authorizations())
    }

    /// The certificates that were fetched so far, each once.
    #[must_use]
    pub fn certificates(&self) -> Vec<Certificate> {
        self.shared.lock().known.certificates().to_vec()
    }

    /// Waits until something is true of the journal, and says whether it became so in time. It is looked at whenever it
    /// changes; `predicate` must not ask the front.
    #[must_use]
    pub fn wait_for(&self, within: Duration, mut predicate: impl FnMut(&Journal) -> bool) -> bool {
        let waiting = |state: &mut State| !predicate(&state.journal);
        let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), within, waiting);
        let (_state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        !timeout.timed_out()
    }
}

impl Drop for CaFront {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Notes a request; returns its number, and the fault that it meets with what ends one that hangs.
    fn begin(&self, request: &Request) -> (usize, Option<(Fault, Watch)>) {
        let mut state = self.lock();
        let number = state.journal.begin(request);
        let fault = state.faults.take(Endpoint::of(&request.path), &request.method);
        self.changed.notify_all();
        (number, fault.map(|fault| (fault, state.cleared.watch())))
    }

    /// The answer to a request that pebble is not asked about.
    fn rule(&self, request: &Request) -> Option<Answer> {
        let State { rules, known, .. } = &mut *self.lock();
        match Endpoint::of(&request.path) {
            Endpoint::RenewalInfo if rules.suggestions.is_offered => {
                let id = request.path.rsplit('/').next().unwrap_or_default();
                Some(rules.suggestions.answer(id, known.certificates()))
            }
            Endpoint::NewOrder => {
                let order = Ordered::read(&request.payload()?);
                let refusal = rules.refusal(&order, |certificate| known.is_replaced(certificate))?;
                Some(refusal.answer())
            }
            Endpoint::Challenge => known.fail(request, rules),
            _ => None,
        }
    }

    /// Takes in pebble's answer, and completes it.
    fn learn(&self, number: usize, request: &Request, answer: &mut Answer) {
        let State { rules, known, journal, .. } = &mut *self.lock();
        if (200..300).contains(&answer.status) {
            journal.take(number);
        }
        known.learn(request, answer, rules);
    }

    fn end(&self, number: usize, outcome: Outcome) {
        self.lock().journal.end(number, outcome);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves every connection on a thread of its own, until the alarm goes off; ends when all of them have ended.
fn accept(listener: &TcpListener, place: &Place, shared: &Arc<Shared>, stop: &Watch) {
    // The threads that this one starts are where it is, and so is what they connect to.
    if place.move_thread().is_err() {
        return;
    }
    let mut visits: Vec<JoinHandle<()>> = Vec::new();
    while wait(listener, &[stop]).is_ok_and(|woken| woken == Woken::Socket) {
        let Ok((stream, _)) = listener.accept() else { break };
        visits.retain(|visit| !visit.is_finished());
        let (shared, stop) = (Arc::clone(shared), stop.clone());
        visits.push(thread::spawn(move || {
            // What a client does to its connection is in the journal, as far as it matters.
            let _ = visit::serve(stream, &shared, &stop);
        }));
    }
    for visit in visits {
        let _ = visit.join();
    }
}

/// Both sides speak by the certificate that pebble has: one authority for clients to trust, whichever they talk to.
fn ends(ca_file: &Path, behind: SocketAddr) -> io::Result<Ends> {
    let provider: Arc<CryptoProvider> = ring::default_provider().into();
    let pem = |name: &str| fs::read(ca_file.with_file_name(name));
    let own = CertificateDer::from_pem_slice(&pem("server.pem")?).map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_slice(&pem("server.key")?).map_err(io::Error::other)?;
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let server = server.map_err(io::Error::other)?.with_no_client_auth().with_single_cert(vec![own], key);
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(&fs::read(ca_file)?).map_err(io::Error::other)?;
    roots.add(root).map_err(io::Error::other)?;
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let client = client.map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth();
    Ok(Ends { server: server.map_err(io::Error::other)?.into(), client: client.into(), behind })
}

#[cfg(test)]
mod tests;
