//! Three balancers, the application behind them, their visitors, and an authority that comes to any of them.

use std::{
    net::IpAddr,
    time::{Duration, Instant, SystemTime},
};

use tempfile::TempDir;
use test_support::{
    CaFront, HostsFile, Namespace, Network, Nginx, Pebble, PebbleFeatures, PebbleOptions, Place,
    ca_front::{Certificate, Endpoint, Fault, Journal, Outcome, Spent, Times},
    poll,
};

use super::{
    balancer::{Balancer, Role},
    watch::Watch,
};

/// All of it. What is used last ends last.
pub(super) struct Scene {
    front: CaFront,
    pub(super) nginx: Nginx,
    /// What the balancers share, and their logs.
    shared: TempDir,
    pebble: Pebble,
    _hosts: [HostsFile; 2],
    network: Network<6>,
}

impl Scene {
    pub(super) fn new() -> Self {
        let network = Network::new(["one", "two", "three", "app", "visitors", "authority"]).unwrap();
        let [one, two, _, application, _, authority] = network.hosts();
        // Before it asks an authority to come, the master looks for itself: at another balancer.
        let hosts: Vec<_> = names().map(|name| (name, address(two, name))).collect();
        let hosts = [one, two].map(|host| HostsFile::new(host, &hosts).unwrap());
        let nginx = Nginx::start_at(&application.into(), 8080).unwrap();
        let options = PebbleOptions {
            place: authority.into(),
            // A name that was not told where to lead would be found nowhere.
            site: authority.into(),
            http_port: 80,
            ipv6: false,
            refused_nonces: 0,
        };
        let features = PebbleFeatures { validity: VALIDITY, ..PebbleFeatures::default() };
        let pebble = Pebble::with_features(options, &features).unwrap();
        let front = CaFront::start(&pebble).unwrap();
        // Whatever is issued is to be renewed at once, says the authority: as soon as a tenth of its life is over.
        let past = SystemTime::now() - Duration::from_secs(600);
        front.set_window(past, past + Duration::from_secs(60));
        let shared = test_support::scratch_dir().unwrap();
        Self { front, nginx, shared, pebble, _hosts: hosts, network }
    }

    pub(super) fn balancers(&self) -> [&Namespace; 3] {
        let [one, two, three, ..] = self.network.hosts();
        [one, two, three]
    }

    /// Both addresses of the authority.
    pub(super) fn authority(&self) -> [IpAddr; 2] {
        let authority = &self.network.hosts()[5];
        [authority.ipv4().into(), authority.ipv6().into()]
    }

    /// Lets a name lead to this balancer, by the one family that it is for.
    pub(super) fn lead(&self, name: &str, balancer: &Namespace) {
        self.pebble.lead(name, &[address(balancer, name)]).unwrap();
    }

    /// The balancer that certificates come from.
    pub(super) fn start_master(&self, host: &Namespace) -> Balancer {
        Balancer::start(host, self.shared.path(), &self.role(&self.masters_sections(), MASTERS_LINK))
    }

    /// Lets a balancer that is running be the master.
    pub(super) fn promote(&self, balancer: &mut Balancer) {
        balancer.become_one(&self.role(&self.masters_sections(), MASTERS_LINK));
    }

    fn masters_sections(&self) -> String {
        let mut sections = format!(
            "[[authenticator]]\nname = \"memory\"\nuse = \"standalone\"\n\
             [acme]\ndirectory = \"{}\"\nca = {:?}\nagree_to_terms = true\nstorage = {:?}\nauthenticator = \"memory\"\n",
            self.front.directory_url(),
            self.front.ca_file(),
            self.shared.path().join("certificates"),
        );
        for domains in CERTIFICATES {
            sections += &format!("[[certificate]]\ndomains = {domains:?}\n");
        }
        sections
    }

    /// One that only shows them, and asks these masters.
    pub(super) fn start_other(&self, host: &Namespace, masters: &[&str]) -> Balancer {
        let mut sections = String::new();
        for [first, _] in CERTIFICATES {
            let live = self.shared.path().join("certificates/live").join(first);
            let (certificate, key) = (live.join("fullchain.pem"), live.join("privkey.pem"));
            sections += &format!(
                "[[certificate]]\nname = \"{first}\"\ncertificate = {certificate:?}\nkey = {key:?}\nawaited = true\n"
            );
        }
        Balancer::start(host, self.shared.path(), &self.role(&sections, &format!("forward = {masters:?}")))
    }

    fn role<'r>(&self, sections: &'r str, link: &'r str) -> Role<'r> {
        Role { sections, link, application: self.network.hosts()[3].ipv4().into() }
    }

    /// Visitors of one balancer.
    pub(super) fn watch(&self, balancer: &Namespace) -> Watch {
        let visitors = Place::from(&self.network.hosts()[4]);
        let names: Vec<_> = names().map(str::to_owned).collect();
        Watch::start(&visitors, balancer, &self.nginx.site(), &names, &self.pebble.issuer_root().unwrap())
    }

    /// Waits until so many certificates have been handed out. Visitors look most at the name whose turn it is.
    pub(super) fn follow(&self, wanted: usize, watches: &[&Watch]) {
        let deadline = Instant::now() + LONGEST;
        let mut newest = None;
        let mut are_all_there = || {
            let are_all_there = self.front.wait_for(OFTEN, |journal| {
                newest = journal.orders().last().and_then(|order| order.names.first().cloned());
                journal.taken(Endpoint::Certificate) >= wanted
            });
            watches.iter().for_each(|watch| watch.look_at(newest.as_deref().unwrap_or_default()));
            are_all_there
        };
        while !are_all_there() {
            assert!(Instant::now() < deadline, "{:?}\n{}", self.front.spent(), self.pebble.output());
        }
    }

    /// Lets no order begin from now on, and waits until one was tried: certificates are looked after one by one, so nothing
    /// else is under way then.
    pub(super) fn hold(&self) {
        self.front.inject(Endpoint::NewOrder, Times::Forever, Fault::Hang);
        let from = SystemTime::now();
        let is_held = |journal: &Journal| {
            journal.of(Endpoint::NewOrder).any(|order| order.at > from && order.outcome == Outcome::Open)
        };
        assert!(self.front.wait_for(LONGEST, is_held), "{:?}", self.front.journal());
    }

    /// Lets orders begin again.
    pub(super) fn release(&self) {
        self.front.clear_faults();
    }

    /// The certificates that have been handed out, at a moment when every order that was taken has led to one; all of these
    /// visitors have seen the newest of each name.
    pub(super) fn settle(&self, watches: &[&Watch]) -> Vec<Certificate> {
        let between_orders = || Some(self.front.spent()).filter(|spent| spent.orders == spent.certificates);
        let spent = poll(LONGEST, between_orders).unwrap_or_else(|| panic!("{:?}", self.front.spent()));
        let exactly = Spent { accounts: 1, orders: spent.orders, failed_authorizations: 0, certificates: spent.orders };
        assert_eq!(spent, exactly);
        let certificates = self.front.certificates();
        watches.iter().for_each(|watch| watch.wait_until_seen(&certificates));
        certificates
    }
}

/// All names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    CERTIFICATES.as_flattened().iter().copied()
}

/// The address of the family that a name is for.
fn address(host: &Namespace, name: &str) -> IpAddr {
    if name.contains('4') { host.ipv4().into() } else { host.ipv6().into() }
}

/// The names of each, one for IPv4 and one for IPv6: pebble comes to one address of a name.
pub(super) const CERTIFICATES: [[&str; 2]; 3] =
    [["a4.example", "a6.example"], ["b4.example", "b6.example"], ["c4.example", "c6.example"]];
const MASTERS_LINK: &str = "authenticator = \"memory\"";
/// Seconds for which certificates are valid.
const VALIDITY: u32 = 60;
const OFTEN: Duration = Duration::from_millis(100);
/// A quarter of it is enough on two cores that many want.
const LONGEST: Duration = Duration::from_secs(120);
