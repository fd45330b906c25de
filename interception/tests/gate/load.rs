//! Visitors who never stop, while the gate opens and closes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use interception::{Gate, Method};

use crate::site::{BOTH, Server, Site, Visitor, wait_until};
use crate::{plan, runtime};

#[test]
fn no_request_fails_while_a_tproxy_gate_opens_and_closes() {
    opens_and_closes_under_load(Method::Tproxy);
}

#[test]
fn no_request_fails_while_a_redirect_opens_and_closes() {
    opens_and_closes_under_load(Method::Redirect);
}

/// What the visitors have seen so far.
#[derive(Default)]
struct Seen {
    done: AtomicBool,
    application: AtomicUsize,
    gate: AtomicUsize,
}

fn opens_and_closes_under_load(method: Method) {
    let (site, seen) = (Site::new(), Seen::default());
    site.inside(|| {
        let (_application, listener, runtime) = (Server::application(), Server::behind_gate(method), runtime());
        thread::scope(|scope| {
            for visitor in 0..4 {
                let (site, seen, address) = (&site, &seen, BOTH[visitor % 2]);
                scope.spawn(move || site.visit(|| visit_again_and_again(address, visitor < 2, seen)));
            }
            // A failure in here must not leave the visitors running, or the scope never ends.
            let stop = StopOnDrop(&seen.done);
            for _ in 0..5 {
                let before = seen.gate.load(Ordering::Relaxed);
                let mut gate = runtime.block_on(Gate::open(plan(&listener, method))).unwrap();
                wait_until("200 answers by the gate", || seen.gate.load(Ordering::Relaxed) >= before + 200);
                runtime.block_on(gate.stop_intercepting()).unwrap();
                let before = seen.application.load(Ordering::Relaxed);
                wait_until("200 answers by the application", || {
                    seen.application.load(Ordering::Relaxed) >= before + 200
                });
                runtime.block_on(gate.close()).unwrap();
            }
            drop(stop);
        });
    });
    assert!(seen.gate.into_inner() >= 1_000 && seen.application.into_inner() >= 1_000);
}

/// Half of the visitors ask fifty times on a connection, half once. Panics, and so fails the test, at the first request
/// that is not answered.
fn visit_again_and_again(address: &str, keep_alive: bool, seen: &Seen) {
    while !seen.done.load(Ordering::Relaxed) {
        let mut visitor = Visitor::connect(address).unwrap();
        for request in 0..if keep_alive { 50 } else { 1 } {
            let last = !keep_alive || request == 49;
            let answer = visitor.get(if last { "close" } else { "keep-alive" }).unwrap();
            if answer == "application" {
                seen.application.fetch_add(1, Ordering::Relaxed);
            } else {
                assert!(answer.starts_with("gate "), "{answer}");
                seen.gate.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
