//! Renewals that an authority asks for, and certificates for some of the names.

use std::time::Duration;

use test_support::ca_front::{Endpoint, Spent};

use super::{A_REST, A_ROUND, DAY, FIRST, ISSUED, MINUTE, ONE, Stage, certificate, stored};

const INCOMPLETE: &str = "some names are still not to be had";

#[test]
fn a_window_that_moves_into_the_past_renews_at_once_with_replaces_and_without_where_that_is_refused() {
    let stage = Stage::new();
    let site = stage.simple();
    stage.front.set_retry_after(10 * MINUTE);
    let running = site.run();
    running.says(ISSUED);
    let (visitor, first) = (running.visitor(&["site.example"]), stored(&site.storage, "site.example"));
    // Far from two thirds of its life.
    running.knows_when(&site.storage, "site.example");
    running.asks_again_after(3 * DAY, &site.storage, "site.example");
    assert_eq!((stage.front.journal().count(Endpoint::RenewalInfo), stage.front.spent()), (2, FIRST));
    stage.want_renewal_of_the_last();
    stage.front.set_explanation(Some("https://ca.example/incident"));
    assert!(running.later(10 * MINUTE + Duration::from_secs(1), ISSUED).contains("Suggested"));
    assert_eq!(stage.front.spent() - FIRST, ONE);
    let certificates = stage.front.certificates();
    let orders = || stage.front.journal().orders().into_iter().cloned().collect::<Vec<_>>();
    assert_eq!(orders()[1].replaces.as_ref(), Some(&certificates[0].id));
    let second = stored(&site.storage, "site.example");
    running.knows_when(&site.storage, "site.example");

    // The next one has a replacement already, for all that the authority knows.
    stage.want_renewal_of_the_last();
    stage.front.refuse_replaces(1);
    running.later(3 * DAY, "asking without `replaces`");
    assert!(running.says(ISSUED).contains("Suggested"));
    let replaced: Vec<_> = orders().into_iter().map(|order| order.replaces).collect();
    assert_eq!(replaced[2..], [Some(certificates[1].id.clone()), None]);
    assert_eq!(stage.front.spent() - FIRST, Spent { orders: 2, certificates: 2, ..Spent::default() });
    let third = stored(&site.storage, "site.example");
    running.shows_the_one_in(&site.storage, "site.example");
    let shown = visitor.pleased();
    assert!(shown.ends_with(&[first, second, third].map(Option::unwrap)), "{shown:?}");
}

#[test]
fn one_dead_name_of_three_costs_only_itself_and_rests_across_restarts() {
    let stage = Stage::new();
    // One name is found to be dead when the authority comes to it, another one when it is ordered.
    let some = ["good.example", "www.good.example", "dead.example"];
    let others = ["fine.example", "refused.example", "www.fine.example"];
    stage.front.fail_challenges("dead.example", "dns", "NXDOMAIN looking up A for dead.example");
    stage.front.refuse_name("refused.example", "the policy forbids it");
    let site = stage.site(&(certificate(&some) + &certificate(&others)));
    let running = site.run();
    let visitor = running.visitor(&["good.example", "www.good.example", "dead.example", "fine.example"]);
    for dead in ["dead.example", "refused.example"] {
        let said = running.says(ISSUED);
        assert!(said.contains("result=\"skipped\"") && said.contains(&format!("refused=\"{dead}\"")), "{said}");
    }
    let spent = Spent { accounts: 1, orders: 3, failed_authorizations: 1, certificates: 2 };
    assert_eq!(stage.front.spent(), spent);
    for (names, dead) in [(some, "dead.example"), (others, "refused.example")] {
        running.shows_the_one_in(&site.storage, names[0]);
        let shown = running.shows(names[0]);
        assert!(names.iter().all(|name| shown.contains(name) == (*name != dead)), "{names:?}");
    }
    visitor.pleased();

    // The next process knows how long they rest.
    drop(running);
    let running = site.run();
    std::thread::sleep(A_ROUND);
    assert_eq!((stage.front.spent(), running.count(INCOMPLETE)), (spent, 0), "{}", running.output());
    running.later(A_REST, INCOMPLETE);
    running.says(INCOMPLETE);
    assert_eq!(stage.front.spent() - spent, Spent { orders: 1, failed_authorizations: 1, ..Spent::default() });
    drop(running);
    let running = site.run();
    stage.clock.advance(A_REST).unwrap();
    std::thread::sleep(A_ROUND);
    assert_eq!(running.count(INCOMPLETE), 0, "ten minutes by now: {}", running.output());
    stage.front.accept_name("dead.example");
    stage.front.accept_name("refused.example");
    for _ in 0..2 {
        assert!(running.later(11 * MINUTE, ISSUED).contains("result=\"issued\""));
    }
    assert_eq!(
        stage.front.spent() - spent,
        Spent { accounts: 0, orders: 3, failed_authorizations: 1, certificates: 2 }
    );
    for name in some.iter().chain(&others) {
        assert!(running.shows(name).contains(name), "{name}");
    }
}
