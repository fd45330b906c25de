//! Inquiries at a name service that answers as each test says.

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        mpsc::{self, Receiver, Sender},
    },
    time::Duration,
};

use super::*;
use crate::{Unresolved, names::NameService};

/// Hosts and addresses; `?` instead of an address, or of a name, gives no answer.
struct Zone {
    hosts: HashMap<&'static str, &'static str>,
    names: HashMap<IpAddr, &'static str>,
    asked: Mutex<Vec<String>>,
}

impl NameService for Zone {
    fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Unanswered> {
        self.asked.lock().unwrap().push(host.to_owned());
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        match self.hosts.get(&*host).copied() {
            Some("?") => Err(Unanswered),
            found => Ok(found.into_iter().flat_map(|list| list.split(' ').map(|one| one.parse().unwrap())).collect()),
        }
    }

    fn name(&self, address: IpAddr) -> Result<Option<String>, Unanswered> {
        self.asked.lock().unwrap().push(address.to_string());
        match self.names.get(&address).copied() {
            Some("?") => Err(Unanswered),
            found => Ok(found.map(str::to_owned)),
        }
    }
}

const CLIENT: [u8; 4] = [192, 0, 2, 1];

fn zone(hosts: &[(&'static str, &'static str)], name: Option<&'static str>) -> Arc<Zone> {
    let names = name.map(|name| (CLIENT.into(), name)).into_iter().collect();
    Arc::new(Zone { hosts: hosts.iter().copied().collect(), names, asked: Mutex::default() })
}

fn rules(list: &[(Action, &str)], unresolved: Unresolved) -> Rules {
    Rules { list: list.iter().map(|(action, text)| (*action, text.parse().unwrap())).collect(), unresolved }
}

async fn found(zone: &Arc<Zone>, list: &[(Action, &str)], unresolved: Unresolved) -> Finding {
    let names = Names::of(Arc::<Zone>::clone(zone));
    let deadline = Instant::now() + Duration::from_secs(20);
    Inquiry::new(names, CLIENT.into(), deadline).settle(&rules(list, unresolved)).await
}

const fn sure(action: Action) -> Finding {
    Finding { action, is_sure: true }
}

const fn unsure(action: Action) -> Finding {
    Finding { action, is_sure: false }
}

use Action::{Allow, Deny};

#[tokio::test]
async fn a_host_is_who_has_its_address() {
    let zone = zone(&[("host.example", "198.51.100.1 192.0.2.1"), ("other.example", "198.51.100.2")], None);
    for (list, expected) in [
        (&[(Allow, "host.example")][..], Allow),
        (&[(Allow, "other.example")], Deny),
        (&[(Deny, "host.example"), (Allow, "::/0")], Deny),
        (&[(Deny, "other.example"), (Allow, "::/0")], Allow),
        (&[(Deny, "other.example"), (Deny, "10.0.0.0/8"), (Allow, "host.example"), (Deny, "::/0")], Allow),
        (&[(Allow, ".example")], Deny),
        (&[(Allow, "unknown.example")], Deny),
    ] {
        assert_eq!(found(&zone, list, Unresolved::Refuse).await, sure(expected), "{list:?}");
    }
}

#[tokio::test]
async fn who_claims_a_name_must_have_it_to_be_let_in() {
    let honest = zone(&[("c.site.example", "192.0.2.1")], Some("C.Site.Example."));
    // The zone of an address belongs to whoever has the address: any name can stand there.
    let liar = zone(&[("c.site.example", "198.51.100.1")], Some("c.site.example"));
    let nobody = zone(&[], Some("c.site.example"));
    for (list, honest_is, liar_is) in [
        (&[(Allow, ".site.example")][..], Allow, Deny),
        (&[(Allow, "site.example")], Allow, Deny),
        (&[(Allow, ".c.site.example")], Deny, Deny),
        (&[(Allow, ".ite.example"), (Allow, "ite.example")], Deny, Deny),
        // To be kept out, the claim is enough.
        (&[(Deny, ".site.example"), (Allow, "::/0")], Deny, Deny),
        (&[(Deny, "site.example"), (Allow, "::/0")], Deny, Deny),
        (&[(Deny, ".other.example"), (Allow, "::/0")], Allow, Allow),
    ] {
        for (zone, expected) in [(&honest, honest_is), (&liar, liar_is), (&nobody, liar_is)] {
            assert_eq!(found(zone, list, Unresolved::Refuse).await, sure(expected), "{list:?}");
        }
    }
}

#[tokio::test]
async fn doubt_lets_nobody_in() {
    let silent = zone(&[("host.example", "?")], Some("?"));
    for name in ["host.example", ".example"] {
        let allowed = [(Allow, name)];
        assert_eq!(found(&silent, &allowed, Unresolved::Refuse).await, unsure(Deny));
        assert_eq!(found(&silent, &allowed, Unresolved::Pass).await, unsure(Deny));
        let otherwise = [(Allow, name), (Allow, "::/0")];
        assert_eq!(found(&silent, &otherwise, Unresolved::Refuse).await, unsure(Allow));
        let denied = [(Deny, name), (Allow, "::/0")];
        assert_eq!(found(&silent, &denied, Unresolved::Refuse).await, unsure(Deny));
        assert_eq!(found(&silent, &denied, Unresolved::Pass).await, unsure(Allow));
    }
    // One of two questions is answered.
    let half = zone(&[("host.example", "?"), ("c.host.example", "192.0.2.1")], Some("c.host.example"));
    assert_eq!(found(&half, &[(Allow, "host.example")], Unresolved::Refuse).await, sure(Allow));
    let unconfirmed = zone(&[("c.site.example", "?")], Some("c.site.example"));
    assert_eq!(found(&unconfirmed, &[(Allow, ".site.example")], Unresolved::Refuse).await, unsure(Deny));
}

#[tokio::test]
async fn each_question_is_asked_once_and_only_when_its_rule_is_reached() {
    let zone = zone(&[("c.site.example", "192.0.2.1")], Some("c.site.example"));
    let list = [(Allow, ".a.example"), (Allow, ".b.example"), (Allow, ".site.example"), (Deny, "never.example")];
    assert_eq!(found(&zone, &list, Unresolved::Refuse).await, sure(Allow));
    assert_eq!(*zone.asked.lock().unwrap(), ["192.0.2.1", "c.site.example"]);
    let before = [(Deny, "192.0.2.0/24"), (Allow, "c.site.example")];
    assert_eq!(found(&zone, &before, Unresolved::Refuse).await, sure(Deny));
    assert_eq!(zone.asked.lock().unwrap().len(), 2);
}

/// Hangs until the test lets go of the other end.
struct Stuck(Mutex<Receiver<()>>, Mutex<Sender<()>>);

impl NameService for Stuck {
    fn addresses(&self, _: &str) -> Result<Vec<IpAddr>, Unanswered> {
        self.name(IpAddr::from(CLIENT)).map(|_| Vec::new())
    }

    fn name(&self, _: IpAddr) -> Result<Option<String>, Unanswered> {
        let _ = self.1.lock().unwrap().send(());
        let _ = self.0.lock().unwrap().recv();
        Err(Unanswered)
    }
}

#[tokio::test]
async fn one_deadline_is_for_all_questions() {
    let (hold, held) = mpsc::channel();
    let (begun, begin) = mpsc::channel();
    let names = Names::of(Arc::new(Stuck(Mutex::new(held), Mutex::new(begun))));
    let started = Instant::now();
    let deadline = started + Duration::from_millis(300);
    let list = [(Deny, "a.example"), (Allow, "b.example"), (Allow, ".c.example"), (Deny, "d.example"), (Allow, "::/0")];
    let finding = Inquiry::new(names, CLIENT.into(), deadline).settle(&rules(&list, Unresolved::Pass)).await;
    assert_eq!(finding, unsure(Allow));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    begin.recv().unwrap();
    drop(hold);
}
