//! A site, its visitors and the authority that its certificates are from, each on a host of its own.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tempfile::TempDir;
use test_support::{
    CaFront, HostsFile, Lockgate, Namespace, Network, Nginx, Pebble, PebbleFeatures, PebbleOptions, Place, Signal,
    Site, TlsVisitors, Trust, Visitors,
    ca_front::{Certificate, Endpoint, Spent},
    poll,
};

use super::swaps::are_all_seen;
use crate::support::LOCKGATE;

/// All of it. What is used last ends last.
pub(super) struct Scene {
    pub(super) front: CaFront,
    pub(super) nginx: Nginx,
    pub(super) storage: TempDir,
    pebble: Pebble,
    names: Vec<String>,
    _hosts: HostsFile,
    network: Network<3>,
}

/// What differs.
pub(super) struct Stage {
    /// Where the application is.
    pub(super) application_port: u16,
    /// Seconds for which certificates are valid.
    pub(super) validity: u32,
}

impl Scene {
    /// Every one of these names leads to the site.
    pub(super) fn new(names: &[String], stage: Stage) -> Self {
        let network = Network::new(["site", "visitors", "authority"]).unwrap();
        let [site, _, authority] = network.hosts();
        let addresses: [IpAddr; 2] = [site.ipv4().into(), site.ipv6().into()];
        let hosts: Vec<_> = names.iter().flat_map(|name| addresses.map(|address| (name.as_str(), address))).collect();
        let hosts = HostsFile::new(site, &hosts).unwrap();
        let nginx = Nginx::start_at(&site.into(), stage.application_port).unwrap();
        let (place, site) = (authority.into(), site.into());
        // The library tries three times with a nonce; of thousands of requests some would meet that many refusals.
        let refused_nonces = 0;
        let options = PebbleOptions { place, site, http_port: 80, ipv6: true, refused_nonces };
        let features = PebbleFeatures { tls_port: 443, validity: stage.validity, ..PebbleFeatures::default() };
        let pebble = Pebble::with_features(options, &features).unwrap();
        let front = CaFront::start(&pebble).unwrap();
        // Whatever is issued is to be renewed at once, says the authority: as soon as a tenth of its life is over.
        let past = SystemTime::now() - Duration::from_secs(600);
        front.set_window(past, past + Duration::from_secs(60));
        let storage = test_support::scratch_dir().unwrap();
        Self { front, nginx, storage, pebble, names: names.to_vec(), _hosts: hosts, network }
    }

    pub(super) fn site(&self) -> &Namespace {
        &self.network.hosts()[0]
    }

    /// `[acme]`.
    pub(super) fn acme(&self) -> String {
        format!(
            "[acme]\ndirectory = \"{}\"\nca = \"{}\"\nagree_to_terms = true\nstorage = \"{}\"\n",
            self.front.directory_url(),
            self.front.ca_file().display(),
            self.storage.path().join("certificates").display(),
        )
    }

    pub(super) fn run(&self, config: &str) -> Lockgate {
        self.run_as(Path::new(LOCKGATE), config)
    }

    /// Runs it by another program, which becomes it.
    pub(super) fn run_as(&self, program: &Path, config: &str) -> Lockgate {
        Lockgate::run_at(&self.site().into(), program, config).unwrap()
    }

    /// Waits until there is a certificate for every name, and it is shown.
    pub(super) fn wait_for_certificates(&self, lockgate: &Lockgate) {
        let issued = || lockgate.output().matches("there is a new certificate").count();
        let all = poll(Duration::from_secs(120), || (issued() >= self.names.len()).then_some(()));
        assert!(all.is_some(), "{}", lockgate.output());
    }

    /// Visitors of port 80, where they find this.
    pub(super) fn visitors(&self, site: &Site, workers: usize) -> Visitors {
        Visitors::with_pause(&self.outside(), site, workers, PAUSE)
    }

    /// Visitors of port 443, who believe the authority.
    pub(super) fn tls_visitors(&self, workers: usize) -> TlsVisitors {
        self.visitors_who_believe(Trust::Roots(&self.pebble.issuer_root().unwrap()), workers)
    }

    /// Visitors of port 443, who believe these.
    pub(super) fn visitors_who_believe(&self, trust: Trust<'_>, workers: usize) -> TlsVisitors {
        let site = self.nginx.site().behind(self.addresses(443));
        TlsVisitors::start(&self.outside(), &site, &self.names, trust, workers).unwrap()
    }

    /// Where Lockgate is reached at this port.
    pub(super) fn addresses(&self, port: u16) -> Vec<SocketAddr> {
        vec![(self.site().ipv4(), port).into(), (self.site().ipv6(), port).into()]
    }

    /// Waits until so many certificates have been handed out. Visitors look most at the name whose turn it is; `often` is
    /// called several times in a second.
    pub(super) fn follow(
        &self,
        wanted: usize,
        within: Duration,
        secure: &TlsVisitors,
        mut often: impl FnMut(),
    ) -> bool {
        let deadline = Instant::now() + within;
        let mut newest = None;
        let mut are_all_there = || {
            let are_all_there = self.front.wait_for(OFTEN, |journal| {
                newest = journal.orders().last().and_then(|order| order.names.first().cloned());
                journal.taken(Endpoint::Certificate) >= wanted
            });
            secure.watch(newest.as_deref().unwrap_or_default());
            often();
            are_all_there
        };
        while !are_all_there() {
            if Instant::now() > deadline {
                return false;
            }
        }
        true
    }

    /// The certificates that have been handed out, in order, each of which has been seen; at a moment when every order that was
    /// taken has led to one.
    pub(super) fn settle(&self, secure: &TlsVisitors) -> Vec<Certificate> {
        let between_orders = || Some(self.front.spent()).filter(|spent| spent.orders == spent.certificates);
        let spent = poll(Duration::from_secs(60), between_orders);
        let spent = spent.unwrap_or_else(|| panic!("{:?}\n{:#?}", self.front.spent(), self.front.journal()));
        let exactly = Spent { accounts: 1, orders: spent.orders, failed_authorizations: 0, certificates: spent.orders };
        assert_eq!(spent, exactly);
        self.wait_until_seen(secure)
    }

    /// The same, whatever is under way.
    pub(super) fn wait_until_seen(&self, secure: &TlsVisitors) -> Vec<Certificate> {
        let certificates = self.front.certificates();
        let seen = poll(SOON, || are_all_seen(&certificates, &secure.report().sightings).then_some(()));
        assert!(seen.is_some(), "{:?} for {:?}", secure.report(), self.front.spent());
        certificates
    }

    /// Every order but the first for each name said which certificate it replaces, and the last one is the one on disk.
    pub(super) fn assert_orderly(&self, certificates: &[Certificate]) {
        let journal = self.front.journal();
        let taken = journal.of(Endpoint::NewOrder).filter(|exchange| exchange.taken);
        let first = taken.filter(|exchange| exchange.order.as_ref().is_some_and(|order| order.replaces.is_none()));
        assert_eq!(first.count(), self.names.len(), "{:?}", journal.orders());
        // An order that was under way at the end may have brought another one.
        let later = self.front.certificates();
        for name in &self.names {
            let chain = self.storage.path().join("certificates/live").join(name).join("fullchain.pem");
            let stored = CertificateDer::from_pem_file(&chain).unwrap();
            let last = [certificates, &later].map(|all| all.iter().rfind(|one| one.names.contains(name)));
            assert!(last.into_iter().flatten().any(|last| last.der == *stored), "{name}: {stored:?}");
        }
    }

    /// Ends the program, which has nothing to complain about.
    pub(super) fn end(&self, lockgate: &mut Lockgate) {
        lockgate.signal(Signal::TERM);
        let status = lockgate.wait(Duration::from_secs(60)).unwrap();
        let output = lockgate.output();
        assert!(status.success(), "{output}");
        // This is how interception is announced.
        let is_usual = |line: &&str| line.contains("the application sees this machine's address");
        let is_complaint =
            |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ") || line.contains("panicked");
        let complaints: Vec<_> = output.lines().filter(|line| is_complaint(line) && !is_usual(line)).collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }

    fn outside(&self) -> Place {
        Place::from(&self.network.hosts()[1])
    }
}

/// Between two requests of a visitor of port 80.
const PAUSE: Duration = Duration::from_millis(10);
const OFTEN: Duration = Duration::from_millis(100);
/// Whether it was soon enough is judged later.
const SOON: Duration = Duration::from_secs(10);
