//! Whom a balancer asks for a challenge, one after the other, and for how long.

use std::{
    io::Read as _,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener},
    time::{Duration, Instant},
};

use test_support::{Connection, Lockgate, Network, Origin, Place, Response};

use crate::support::LOCKGATE;

/// A master that takes connections and says nothing.
struct Silent(TcpListener);

impl Silent {
    fn start() -> Self {
        Self(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// What it was asked, by the next connection that waits.
    fn heard(&self) -> String {
        let (mut stream, _) = self.0.accept().unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).unwrap();
        heard
    }
}

/// Lockgate that answers every challenge for the host of [`ask`].
fn master() -> Lockgate {
    Lockgate::run(LOCKGATE, &config("127.0.0.1:0", &stateless(), NOBODY)).unwrap()
}

fn stateless() -> String {
    format!("thumbprint = \"{THUMBPRINT}\", hosts = [\"site.example\"]")
}

/// Lockgate that asks these.
fn balancer(masters: &[SocketAddr], application: &Origin) -> Lockgate {
    Lockgate::run(LOCKGATE, &config("127.0.0.1:0", &forward(masters), application.address())).unwrap()
}

fn forward(masters: &[SocketAddr]) -> String {
    let urls: Vec<_> = masters.iter().map(|master| format!("\"http://{master}\"")).collect();
    format!("forward = [{}]", urls.join(", "))
}

fn config(listen: &str, link: &str, application: SocketAddr) -> String {
    format!(
        "[[listener]]\nname = \"http\"\naddress = [\"{listen}\"]\n[[route]]\nchain = [\n\
         {{ use = \"acme-challenge\", {link} }},\n{{ use = \"upstream\", servers = [\"{application}\"] }},\n]\n"
    )
}

/// A visit of an authority, and how long it took.
fn ask(balancer: SocketAddr) -> (Response, Duration) {
    ask_from(&Place::Loopback, balancer)
}

fn ask_from(place: &Place, balancer: SocketAddr) -> (Response, Duration) {
    let begun = Instant::now();
    let request = "GET /.well-known/acme-challenge/token HTTP/1.1\r\nHost: site.example\r\n\r\n";
    let stream = place.connect(balancer).unwrap();
    let answer = Connection::over(stream).unwrap().exchange(request).unwrap();
    (answer, begun.elapsed())
}

#[test]
fn the_next_master_is_asked_when_one_is_down_silent_or_does_not_know() {
    let closed = Place::Loopback.reserve(Ipv4Addr::LOCALHOST, 0).unwrap();
    let (silent, ignorant, knows, application) =
        (Silent::start(), Origin::start().unwrap(), master(), Origin::start().unwrap());
    let masters = [closed.address(), silent.address(), ignorant.address(), knows.address()];
    let balancer = balancer(&masters, &application);
    let (answer, took) = ask(balancer.address());
    assert_eq!((answer.status, answer.text()), (200, format!("token.{THUMBPRINT}")), "{}", balancer.output());
    // Half of what all of them have together is for waiting for the silent one.
    assert!(took < PATIENCE, "{took:?}");
    assert!(silent.heard().to_ascii_lowercase().contains("lockgate-acme-hop: 1"), "the silent one was not asked");
    assert_eq!((ignorant.requests(), application.requests()), (1, 0));
}

#[test]
fn nobody_waits_for_masters_longer_than_an_authority_would() {
    let silent: Vec<_> = (0..6).map(|_| Silent::start()).collect();
    let masters: Vec<_> = silent.iter().map(Silent::address).collect();
    let application = Origin::start().unwrap();
    let balancer = balancer(&masters, &application);
    let (answer, took) = ask(balancer.address());
    // Silence of all masters is no answer, and the application has one of its own.
    assert_eq!((answer.status, application.requests()), (404, 1), "{}", balancer.output());
    // Each of them for itself would have its three seconds; some are for a machine that is busy.
    assert!(took > PATIENCE / 2 && took < PATIENCE + Duration::from_secs(3), "{took:?}");
}

#[test]
fn a_dead_master_costs_the_first_visit_two_seconds_and_the_next_nothing() {
    let network = Network::new(["balancer", "master", "authority"]).unwrap();
    let [at, master, authority] = network.hosts();
    let knows = Lockgate::run_at(&master.into(), LOCKGATE, &config("0.0.0.0:80", &stateless(), NOBODY)).unwrap();
    // Nobody has this address, so nothing comes back, not even a refusal.
    let masters = ["10.77.0.99:80".parse().unwrap(), (master.ipv4(), 80).into()];
    let balancer = Lockgate::run_at(&at.into(), LOCKGATE, &config("0.0.0.0:80", &forward(&masters), NOBODY)).unwrap();
    let visits = [(); 2].map(|()| ask_from(&authority.into(), (at.ipv4(), 80).into()));
    let output = [balancer.output(), knows.output()];
    for (answer, _) in &visits {
        assert_eq!((answer.status, answer.text()), (200, format!("token.{THUMBPRINT}")), "{output:?}");
    }
    let [first, second] = visits.map(|(_, took)| took);
    assert!(first > DEAD && first < 2 * DEAD, "{first:?} {output:?}");
    assert!(second < DEAD, "{second:?} {output:?}");
}

#[test]
fn a_master_that_is_this_balancer_is_passed_over() {
    let application = Origin::start().unwrap();
    let own = Place::Loopback.reserve(Ipv4Addr::LOCALHOST, 0).unwrap();
    let (knows, ignorant) = (master(), Origin::start().unwrap());
    for (others, expected) in [(knows.address(), 200), (ignorant.address(), 404)] {
        for masters in [[own.address(), others], [others, own.address()]] {
            let config = config(&own.address().to_string(), &forward(&masters), application.address());
            let balancer = Lockgate::run(LOCKGATE, &config).unwrap();
            assert_eq!(ask(own.address()).0.status, expected, "{masters:?}\n{}", balancer.output());
        }
    }
    assert_eq!(application.requests(), 2, "the application is asked for what no master knows");
}

/// For those whose application is not asked.
const NOBODY: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1));
const THUMBPRINT: &str = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
/// What a dead one costs, almost.
const DEAD: Duration = Duration::from_millis(1900);
/// What all masters have together.
const PATIENCE: Duration = Duration::from_secs(5);
