//! Authorities that are down, slow, somebody else, or not to be believed: the site is served, and the log has a line for each attempt.

use std::net::Ipv4Addr;

use test_support::{
    Authority, CaFront, Place,
    ca_front::{Endpoint, Fault, Scope, Times},
};

use super::{A_REST, FAILED, FIRST, ISSUED, MINUTE, Running, Site, Stage};

/// Lines that are not about listeners.
fn lines(running: &Running<'_>) -> usize {
    running.output().lines().filter(|line| !line.contains("lockgate: listening")).count()
}

#[test]
fn an_authority_that_is_down_at_the_start_is_told_of_once_for_each_attempt() {
    let stage = Stage::new();
    let port = Place::Loopback.reserve(Ipv4Addr::LOCALHOST, 0).unwrap();
    let site = Site { directory: format!("https://{}/dir", port.address()), ..stage.simple() };
    let running = site.run();
    let visitor = running.visitor(&["site.example"]);
    let said = running.says(FAILED);
    assert!(said.contains("network") && said.contains(&format!("cannot connect to {}", port.address().ip())), "{said}");
    running.later(A_REST, FAILED);
    assert_eq!(lines(&running), 2, "{}", running.output());
    let front = CaFront::start_at(&stage.pebble, port.port()).unwrap();
    running.later(11 * MINUTE, ISSUED);
    running.shows_the_one_in(&site.storage, "site.example");
    assert_eq!(front.spent(), FIRST);
    let shown = visitor.pleased();
    assert!(shown[0].is_placeholder() && shown.len() == 2, "{shown:?}");
}

#[test]
fn an_authority_that_is_slow_costs_nobody_anything() {
    let stage = Stage::new();
    let site = stage.simple();
    for endpoint in [Endpoint::Directory, Endpoint::NewOrder, Endpoint::Finalize] {
        stage.front.inject(endpoint, 1, Fault::Hang);
    }
    let running = site.run();
    let visitor = running.visitor(&["site.example"]);
    for endpoint in [Endpoint::Directory, Endpoint::NewOrder, Endpoint::Finalize] {
        stage.wait_at(endpoint, &running);
        assert!(running.shows("site.example").is_placeholder());
        stage.front.clear_faults();
        if endpoint != Endpoint::Finalize {
            // Those that were not met yet are forgotten, too.
            for later in [Endpoint::NewOrder, Endpoint::Finalize] {
                stage.front.inject(later, u32::from(later != endpoint), Fault::Hang);
            }
        }
    }
    running.says(ISSUED);
    running.shows_the_one_in(&site.storage, "site.example");
    assert_eq!((running.count(FAILED), stage.front.spent()), (0, FIRST));
    visitor.pleased();
}

#[test]
fn what_answers_in_the_place_of_an_authority_is_told_of_clearly() {
    let stage = Stage::new();
    let stranger = Authority::new().unwrap();
    stage.front.inject(Scope::Any, Times::Forever, Fault::portal());
    let site = stage.simple();
    let mut running = site.run();
    let visitor = running.visitor(&["site.example"]);
    let said = running.says(FAILED);
    assert!(said.contains("is no ACME server: it answered 200 OK with text/html"), "{said}");
    assert_eq!(lines(&running), 1, "{}", running.output());

    // The certificates of another authority are believed about this one.
    stage.front.clear_faults();
    running.reload(&Site { ca: stranger.ca_file(), ..site.clone() });
    let said = running.later(A_REST, FAILED);
    assert!(said.contains("network") && said.contains("certificate"), "{said}");
    assert_eq!(stage.front.spent().accounts, 0);
    running.reload(&site);
    running.later(11 * MINUTE, ISSUED);
    running.shows_the_one_in(&site.storage, "site.example");
    assert_eq!(stage.front.spent(), FIRST);
    visitor.pleased();
}
