//! The gate in network namespaces, with a real kernel, a real nft and real connections. Needs root.

#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect; Clippy knows only the test functions")]

mod load;
mod peer;
mod site;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use interception::{
    Gate, Method, OpenError, Plan, Preference, ProbeError, ProbeFault, Protocol, Question, TABLE, TableError, Traffic,
    own_addresses, probe,
};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use site::{BEYOND, BOTH, DEADLINE, Server, Site, V4, Visitor, wait_until};
use tokio::runtime::Runtime;

const METHODS: [Method; 2] = [Method::Tproxy, Method::Redirect];

/// A runtime whose threads are in the namespace of the thread that calls this.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn plan(listener: &Server, method: Method) -> Plan {
    let mut plan = Plan::new(80, listener.port);
    plan.method = Preference::Only(method);
    plan
}

fn at_gate() -> Vec<String> {
    vec!["gate 192.0.2.1:80".to_owned(), "gate [2001:db8::1]:80".to_owned()]
}

fn at_application() -> Vec<String> {
    vec!["application".to_owned(); 2]
}

#[test]
fn new_connections_reach_the_listener_until_the_rules_go_and_know_their_destination() {
    for method in METHODS {
        let site = Site::new();
        site.inside(|| {
            let (_application, listener, runtime) = (Server::application(), Server::behind_gate(method), runtime());
            assert_eq!(site.answers(), at_application());
            let mut gate = runtime.block_on(Gate::open(plan(&listener, method))).unwrap();
            assert_eq!(gate.method(), method);
            assert!(site.tables().contains("flags owner"), "{}", site.tables());
            assert_eq!(site.answers(), at_gate(), "{method}");
            for count in runtime.block_on(gate.counters()).unwrap() {
                assert_eq!(count.packets, u64::from(count.traffic == Traffic::Visitor), "{count}");
                assert!([Protocol::V4, Protocol::V6].contains(&count.protocol));
            }
            runtime.block_on(gate.stop_intercepting()).unwrap();
            assert_eq!(site.answers(), at_application(), "{method}");
            assert!(runtime.block_on(gate.counters()).unwrap().is_empty());
            runtime.block_on(gate.close()).unwrap();
            assert_eq!(site.tables(), "");
            assert_eq!(site.answers(), at_application(), "{method}");
        });
    }
}

#[test]
fn connections_of_this_host_without_the_mark_reach_the_application() {
    for method in METHODS {
        let site = Site::new();
        site.inside(|| {
            let (_application, listener, runtime) = (Server::application(), Server::behind_gate(method), runtime());
            let gate = runtime.block_on(Gate::open(plan(&listener, method))).unwrap();
            for address in ["192.0.2.1", "2001:db8::1", "127.0.0.1", "::1"] {
                assert_eq!(Visitor::connect(address).unwrap().get("close").unwrap(), "application", "{address}");
            }
            runtime.block_on(gate.close()).unwrap();
        });
    }
}

#[test]
fn connections_that_this_host_forwards_go_where_they_were_going() {
    for method in METHODS {
        let site = Site::new().with_host_beyond();
        let _beyond = site.beyond(|| Server::start(80, false, |_| "beyond".to_owned()));
        let answers = || BEYOND.map(|address| site.fetch(address).map_err(|error| error.kind()));
        let beyond = ["beyond", "beyond"].map(|name| Ok(name.to_owned()));
        site.inside(|| {
            let (_application, listener, runtime) = (Server::application(), Server::behind_gate(method), runtime());
            assert_eq!(answers(), beyond);
            let gate = runtime.block_on(Gate::open(plan(&listener, method))).unwrap();
            assert_eq!(site.answers(), at_gate(), "{method}");
            assert_eq!(answers(), beyond, "{method}");
            runtime.block_on(gate.close()).unwrap();
        });
    }
}

#[test]
fn established_connections_stay_where_they_are() {
    for method in METHODS {
        let site = Site::new();
        site.inside(|| {
            let (_application, listener, runtime) = (Server::application(), Server::behind_gate(method), runtime());
            let mut before = site.visit(|| BOTH.map(|address| Visitor::connect(address).unwrap()));
            let all_say = |visitors: &mut [Visitor; 2], expected: &[String]| {
                for (visitor, expected) in visitors.iter_mut().zip(expected) {
                    assert_eq!(visitor.get("keep-alive").unwrap(), *expected, "{method}");
                }
            };
            all_say(&mut before, &at_application());
            let mut gate = runtime.block_on(Gate::open(plan(&listener, method))).unwrap();
            all_say(&mut before, &at_application());
            let mut during = site.visit(|| BOTH.map(|address| Visitor::connect(address).unwrap()));
            all_say(&mut during, &at_gate());
            runtime.block_on(gate.stop_intercepting()).unwrap();
            all_say(&mut before, &at_application());
            all_say(&mut during, &at_gate());
            // With a redirect, what came through ends before the table does.
            if method == Method::Redirect {
                during.into_iter().for_each(|mut visitor| drop(visitor.get("close").unwrap()));
                runtime.block_on(gate.close()).unwrap();
            } else {
                runtime.block_on(gate.close()).unwrap();
                all_say(&mut during, &at_gate());
            }
            all_say(&mut before, &at_application());
        });
    }
}

#[test]
fn connections_through_tproxy_outlive_the_killed_holder() {
    let site = Site::new();
    site.inside(|| {
        let (_application, listener, runtime) = (Server::application(), Server::behind_gate(Method::Tproxy), runtime());
        let gate = runtime.block_on(Gate::open(plan(&listener, Method::Tproxy))).unwrap();
        let mut visitor = site.visit(|| Visitor::connect(V4).unwrap());
        assert_eq!(visitor.get("keep-alive").unwrap(), at_gate()[0]);
        let died = gate.died();
        kill_process(holder(&gate), Signal::KILL).unwrap();
        let status = runtime.block_on(async { tokio::time::timeout(DEADLINE, died).await }).unwrap();
        assert!(status.is_some());
        wait_until("the kernel drops the table", || site.tables().is_empty());
        assert_eq!(site.answers(), at_application());
        assert_eq!(visitor.get("keep-alive").unwrap(), at_gate()[0]);
        let error = runtime.block_on(gate.close()).unwrap_err();
        assert!(matches!(error, TableError::Ended { status: Some(_) }), "{error}");
    });
}

#[test]
fn dropping_the_gate_opens_the_way_to_the_application() {
    for method in METHODS {
        let site = Site::new();
        site.inside(|| {
            let (_application, listener, runtime) = (Server::application(), Server::behind_gate(method), runtime());
            let gate = runtime.block_on(Gate::open(plan(&listener, method))).unwrap();
            drop(gate);
            wait_until("the kernel drops the table", || site.tables().is_empty());
            assert_eq!(site.answers(), at_application());
        });
    }
}

#[test]
fn a_tproxy_gate_without_a_listener_lets_visitors_through_to_the_application() {
    let site = Site::new();
    site.inside(|| {
        let (_application, runtime) = (Server::application(), runtime());
        let listener = Server::behind_gate(Method::Tproxy);
        let gate = runtime.block_on(Gate::open(plan(&listener, Method::Tproxy))).unwrap();
        assert_eq!(site.answers(), at_gate());
        drop(listener);
        wait_until("the listener is gone", || site.answers() == at_application());
        runtime.block_on(gate.close()).unwrap();
    });
}

#[test]
fn signals_to_the_holders_group_do_not_close_the_gate() {
    let site = Site::new();
    site.inside(|| {
        let (_application, listener, runtime) = (Server::application(), Server::behind_gate(Method::Tproxy), runtime());
        let gate = runtime.block_on(Gate::open(plan(&listener, Method::Tproxy))).unwrap();
        let holder = holder(&gate);
        assert_ne!(rustix::process::getpgid(Some(holder)).unwrap(), rustix::process::getpgrp());
        let status = std::fs::read_to_string(format!("/proc/{}/status", holder.as_raw_nonzero())).unwrap();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap();
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            assert_ne!(ignored & (1 << (signal.as_raw() - 1)), 0, "{signal:?} is not ignored");
            kill_process_group(holder, signal).unwrap();
        }
        assert_eq!(site.answers(), at_gate());
        runtime.block_on(gate.close()).unwrap();
        assert_eq!(site.tables(), "");
    });
}

#[test]
fn closing_that_was_given_up_halfway_can_be_repeated() {
    let site = Site::new();
    site.inside(|| {
        let (_application, listener, runtime) = (Server::application(), Server::behind_gate(Method::Tproxy), runtime());
        let mut gate = runtime.block_on(Gate::open(plan(&listener, Method::Tproxy))).unwrap();
        runtime.block_on(async {
            let given_up = tokio::time::timeout(Duration::ZERO, gate.stop_intercepting()).await;
            assert!(given_up.is_err());
        });
        runtime.block_on(gate.stop_intercepting()).unwrap();
        assert_eq!(site.answers(), at_application());
        runtime.block_on(gate.close()).unwrap();
        assert_eq!(site.tables(), "");
    });
}

#[test]
fn a_second_gate_is_refused_and_the_first_is_untouched() {
    let site = Site::new();
    site.inside(|| {
        let (_application, listener, runtime) = (Server::application(), Server::behind_gate(Method::Tproxy), runtime());
        let gate = runtime.block_on(Gate::open(plan(&listener, Method::Tproxy))).unwrap();
        let before = site.tables();
        let error = runtime.block_on(Gate::open(plan(&listener, Method::Redirect))).unwrap_err();
        assert!(matches!(error, OpenError::TableExists { owned: true }), "{error}");
        assert!(error.hint().unwrap().contains("nft list table inet lockgate"));
        assert_eq!(site.tables(), before);
        runtime.block_on(gate.close()).unwrap();
    });
}

#[test]
fn of_two_gates_opened_at_once_one_opens() {
    let site = Site::new();
    site.inside(|| {
        let (listener, runtime) = (Server::behind_gate(Method::Tproxy), runtime());
        for _ in 0..10 {
            let open = || Gate::open(plan(&listener, Method::Tproxy));
            let (a, b) = runtime.block_on(async { tokio::join!(open(), open()) });
            let (gate, error) = match (a, b) {
                (Ok(gate), Err(error)) | (Err(error), Ok(gate)) => (gate, error),
                other => panic!("{other:?}"),
            };
            assert!(matches!(error, OpenError::TableExists { .. }), "{error:?}");
            runtime.block_on(gate.close()).unwrap();
        }
    });
}

#[test]
fn runs_that_take_turns_as_fast_as_they_can_do_not_disturb_each_other() {
    let site = Site::new();
    site.inside(|| {
        let (listener, runtime) = (Server::behind_gate(Method::Tproxy), runtime());
        let turns = async || {
            for _ in 0..10 {
                let gate = loop {
                    match Gate::open(plan(&listener, Method::Tproxy)).await {
                        Ok(gate) => break gate,
                        Err(OpenError::TableExists { owned: true }) => tokio::task::yield_now().await,
                        Err(error) => panic!("{error:?}"),
                    }
                };
                gate.close().await.unwrap();
            }
        };
        let both = async { tokio::join!(turns(), turns()) };
        runtime.block_on(async { tokio::time::timeout(3 * DEADLINE, both).await }).unwrap();
        assert_eq!(site.tables(), "");
    });
}

#[test]
fn a_foreign_table_of_our_name_is_refused_and_untouched() {
    let site = Site::new();
    site.inside(|| {
        let (listener, runtime) = (Server::behind_gate(Method::Tproxy), runtime());
        nft(&format!("add table inet {TABLE}"));
        let before = site.tables();
        let error = runtime.block_on(Gate::open(plan(&listener, Method::Tproxy))).unwrap_err();
        assert!(matches!(error, OpenError::TableExists { owned: false }), "{error}");
        assert!(error.hint().unwrap().contains("nft delete table"));
        assert_eq!(site.tables(), before);
    });
}

#[test]
fn a_missing_nft_and_impossible_ports_are_said_before_anything_changes() {
    let runtime = runtime();
    let mut missing = Plan::new(80, 9999);
    missing.nft = Some("/nonexistent/nft".into());
    let error = runtime.block_on(Gate::open(missing)).unwrap_err();
    assert!(matches!(error, OpenError::NftMissing), "{error}");
    assert_eq!(error.hint().unwrap(), "install it: apt-get install nftables");
    for (plan, text) in [(Plan::new(0, 1), "port 0"), (Plan::new(80, 80), "port 80 is both")] {
        let error = runtime.block_on(Gate::open(plan)).unwrap_err();
        assert!(error.to_string().starts_with(text), "{error}");
    }
}

#[test]
fn a_kernel_without_tproxy_gets_the_redirect_and_says_why() {
    let site = Site::new();
    let directory = tempfile::tempdir().unwrap();
    site.inside(|| {
        let (_application, listener, runtime) =
            (Server::application(), Server::behind_gate(Method::Redirect), runtime());
        let mut plan = Plan::new(80, listener.port);
        plan.nft = Some(nft_without(directory.path(), "tproxy", r#"s/"tproxy"/"unsupported"/"#));
        let gate = runtime.block_on(Gate::open(plan)).unwrap();
        assert_eq!(gate.method(), Method::Redirect);
        assert!(gate.fallback_reason().unwrap().contains("Error"), "{:?}", gate.fallback_reason());
        assert_eq!(site.answers(), at_gate());
        runtime.block_on(gate.close()).unwrap();
    });
}

#[test]
fn a_kernel_without_any_method_is_told_with_nfts_words_and_leaves_nothing() {
    let site = Site::new();
    let directory = tempfile::tempdir().unwrap();
    site.inside(|| {
        let runtime = runtime();
        let mut plan = Plan::new(80, 9999);
        plan.nft = Some(nft_without(directory.path(), "both", r#"s/"tproxy"\|"redirect"/"unsupported"/"#));
        let error = runtime.block_on(Gate::open(plan)).unwrap_err();
        assert!(matches!(&error, OpenError::NoMethod { attempts } if attempts.len() == 2), "{error}");
        assert!(error.to_string().contains("TPROXY: ") && error.to_string().contains("NAT redirect: "), "{error}");
        wait_until("the table goes with its holder", || site.tables().is_empty());
    });
}

#[test]
fn without_owned_tables_there_is_no_gate_and_nothing_is_left() {
    let directory = tempfile::tempdir().unwrap();
    for (name, filter, said) in [
        ("refuses", "s/flags owner/flags unsupported/", "Error"),
        ("ignores", "s/flags owner;//", "the flag was ignored"),
    ] {
        let site = Site::new();
        site.inside(|| {
            let runtime = runtime();
            let mut plan = Plan::new(80, 9999);
            plan.nft = Some(nft_without(directory.path(), name, filter));
            let error = runtime.block_on(Gate::open(plan)).unwrap_err();
            assert!(matches!(&error, OpenError::NoOwner { message } if message.contains(said)), "{error:?}");
            assert!(error.hint().unwrap().contains("Linux 5.12"));
            assert_eq!(site.tables(), "", "{name}");
        });
    }
}

#[test]
fn the_probe_passes_the_gate_at_every_address_and_is_counted() {
    for method in METHODS {
        let site = Site::new();
        site.inside(|| {
            let (_application, listener, runtime) = (Server::application(), token_server(), runtime());
            let addresses = own_addresses().unwrap();
            assert_eq!(addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), BOTH);
            let ask = || runtime.block_on(probe(&addresses, 80, &question(), DEADLINE));
            let error = ask().unwrap_err();
            let ProbeError::Address { source: ProbeFault::WrongAnswer { status: 200, seen }, .. } = &error else {
                panic!("{error:?}");
            };
            assert_eq!(seen, "application");
            let gate = runtime.block_on(Gate::open(plan(&listener, method))).unwrap();
            ask().unwrap();
            for count in runtime.block_on(gate.counters()).unwrap() {
                assert_eq!(count.packets, u64::from(count.traffic == Traffic::Probe), "{method} {count}");
            }
            runtime.block_on(gate.close()).unwrap();
            ask().unwrap_err();
        });
    }
}

#[test]
fn where_a_container_engine_publishes_the_port_the_probe_tells_and_the_redirect_serves() {
    let site = Site::new();
    site.inside(|| {
        let (listener, runtime) = (token_server(), runtime());
        let container = Server::start(0, false, |_| "container".to_owned());
        nft("add table inet engine");
        for hook in ["prerouting", "output"] {
            nft(&format!("add chain inet engine {hook} {{ type nat hook {hook} priority -100; }}"));
            nft(&format!(
                "add rule inet engine {hook} fib daddr type local tcp dport 80 redirect to :{}",
                container.port
            ));
        }
        assert_eq!(site.answers(), ["container", "container"]);
        let addresses = own_addresses().unwrap();
        let outcome = METHODS.map(|method| {
            let gate = runtime.block_on(Gate::open(plan(&listener, method))).unwrap();
            let proven = runtime.block_on(probe(&addresses, 80, &question(), DEADLINE));
            let visitors = site.answers();
            runtime.block_on(gate.close()).unwrap();
            (proven.is_ok(), visitors)
        });
        assert!(!outcome[0].0, "TPROXY stands before the engine's rules, which rewrite the destination after it");
        assert_eq!(outcome[1], (true, vec!["token".to_owned(); 2]));
        assert_eq!(site.answers(), ["container", "container"]);
    });
}

#[test]
fn a_probe_of_a_silent_port_ends_in_time_and_one_of_a_closed_port_at_once() {
    let site = Site::new();
    site.inside(|| {
        let _silent = std::net::TcpListener::bind((V4, 80)).unwrap();
        let addresses = [V4.parse().unwrap()];
        let outcome = runtime().block_on(probe(&addresses, 80, &question(), Duration::from_millis(200)));
        assert!(matches!(outcome, Err(ProbeError::Address { source: ProbeFault::TimedOut { .. }, .. })), "{outcome:?}");
        let outcome = runtime().block_on(probe(&addresses, 81, &question(), DEADLINE));
        assert!(matches!(outcome, Err(ProbeError::Address { source: ProbeFault::Connect(_), .. })), "{outcome:?}");
        let outcome = runtime().block_on(probe(&[], 80, &question(), DEADLINE));
        assert!(matches!(outcome, Err(ProbeError::NoAddress)), "{outcome:?}");
    });
}

fn question() -> Question {
    Question { host: "site".to_owned(), path: "/token".to_owned(), expected: "token".to_owned() }
}

fn token_server() -> Server {
    Server::start(0, true, |_| "token".to_owned())
}

fn holder(gate: &Gate) -> Pid {
    Pid::from_raw(gate.holder_pid().unwrap().try_into().unwrap()).unwrap()
}

fn nft(line: &str) {
    let status = Command::new("/usr/sbin/nft").arg(line).status().unwrap();
    assert!(status.success(), "nft {line}");
}

/// An nft before whose holder a filter spoils some statements, as a kernel would that lacks them.
fn nft_without(directory: &Path, name: &str, filter: &str) -> PathBuf {
    let (text, program) = (directory.join("text"), directory.join(name));
    std::fs::write(&text, format!("#!/bin/sh\nsed -u '{filter}' | /usr/sbin/nft \"$@\"\n")).unwrap();
    install(&text, &program);
    program
}

/// Makes a program of a file, by a process of its own: a descriptor of ours that is open for writing would be inherited
/// by what other tests start meanwhile, and a program open for writing cannot be run ("text file busy").
fn install(from: &Path, to: &Path) {
    let status = Command::new("install").args(["-m", "755"]).args([from, to]).status().unwrap();
    assert!(status.success(), "install {}", to.display());
}
