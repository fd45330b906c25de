//! A running proxy that looks after its certificates, on its bad days: visitors are served throughout, the next attempt succeeds, and
//! nothing is wasted of what authorities limit.
//!
//! Time passes by the wall clock of the program, which the tests set; what it waits for by its other clock is the world's.

mod authority;
mod clock;
mod disk;
mod fault;
mod kill;
mod limit;
mod notice;
mod reload;
mod renewal;
mod running;
mod site;
mod stage;
mod visitor;

use std::time::Duration;

use test_support::ca_front::Spent;

use self::{
    running::Running,
    site::{Site, certificate},
    stage::{Stage, record, stored},
    visitor::{Shown, Visitor},
};

const DEADLINE: Duration = Duration::from_secs(30);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// After a first failure, at the latest.
const A_REST: Duration = Duration::from_secs(70);
/// After so long a certificate is renewed whose authority wants that: an earlier wish is not obeyed.
const TWO_DAYS: Duration = Duration::from_secs(2 * 86_400 + 60);

/// Within this time the program has looked at the clock and at its files.
const A_ROUND: Duration = Duration::from_millis(2500);

/// What one certificate costs.
const ONE: Spent = Spent { accounts: 0, orders: 1, failed_authorizations: 0, certificates: 1 };
/// What the first certificate costs.
const FIRST: Spent = Spent { accounts: 1, ..ONE };

/// What the program says when there is a new certificate, and when there is none.
const ISSUED: &str = "there is a new certificate";
const FAILED: &str = "there is no new certificate";
