//! Parity with tinyproxy: the same files and the same bytes for Debian's tinyproxy and for us, and every difference is known.
//!
//! Cases are in `tests/parity/cases`, what may differ (and why) is in `tests/parity/differences.toml`. A difference that is not
//! listed fails, and so does one that is listed and is none.

mod case;
mod comparison;
mod log;
mod observation;
mod origin;
mod stage;

use std::{
    collections::BTreeSet,
    env, fs,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use test_support::{HostsFile, Network, Place, poll, require};

use self::{
    case::{Area, Case, Group, Start},
    comparison::{Known, differences},
    origin::{Origin, reserve},
    stage::{Ports, Program, Stage},
};

/// Each has a test below.
const AREAS: &[&str] = &[
    "access",
    "answers",
    "auth",
    "config",
    "connect",
    "fields",
    "filter",
    "gatekeepers",
    "http",
    "lists",
    "mappings",
    "messages",
    "mixtures",
    "pages",
    "parents",
    "process",
    "reloads",
    "reverse",
    "starts",
    "templates",
    "tunnels",
    "upstream",
];

#[test]
fn access() {
    compare("access");
}

#[test]
fn answers() {
    compare("answers");
}

#[test]
fn auth() {
    compare("auth");
}

#[test]
fn config() {
    compare("config");
}

#[test]
fn connect() {
    compare("connect");
}

#[test]
fn fields() {
    compare("fields");
}

#[test]
fn filter() {
    compare("filter");
}

#[test]
fn gatekeepers() {
    compare("gatekeepers");
}

#[test]
fn http() {
    compare("http");
}

#[test]
fn lists() {
    compare("lists");
}

#[test]
fn mappings() {
    compare("mappings");
}

#[test]
fn messages() {
    compare("messages");
}

#[test]
fn mixtures() {
    compare("mixtures");
}

#[test]
fn pages() {
    compare("pages");
}

#[test]
fn parents() {
    compare("parents");
}

#[test]
fn process() {
    compare("process");
}

#[test]
fn reloads() {
    compare("reloads");
}

#[test]
fn reverse() {
    compare("reverse");
}

#[test]
fn starts() {
    compare("starts");
}

#[test]
fn templates() {
    compare("templates");
}

#[test]
fn tunnels() {
    compare("tunnels");
}

#[test]
fn upstream() {
    compare("upstream");
}

#[test]
fn every_area_has_a_test_and_there_are_many_cases() {
    let files = fs::read_dir(case::directory().join("cases")).unwrap().map(|entry| entry.unwrap().path());
    let files: BTreeSet<String> = files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(files, AREAS.iter().map(|area| (*area).to_owned()).collect());
    let number: usize = AREAS.iter().map(|area| Area::read(area).cases().len()).sum();
    assert!(number >= 1000, "{number}");
    let known = Known::read();
    let unknown: Vec<_> = known.areas().into_iter().filter(|area| !AREAS.contains(area)).collect();
    assert!(unknown.is_empty(), "differences of areas that do not exist: {unknown:?}");
    assert!(known.unused().is_empty(), "deviations that no case shows: {:?}", known.unused());
}

/// For whoever wants to see cases of his own: nothing but the rules is known of them.
#[test]
#[ignore = "compares the cases of a file: `cargo xtask parity FILE`"]
fn of_a_file() {
    let path = env::var_os(FILE).unwrap_or_else(|| panic!("{FILE} names no file of cases"));
    require("tinyproxy").unwrap();
    let area = Area::of_file(Path::new(&path));
    let wrong = compare_area("given", &area, &Known::read().rules());
    assert!(wrong.is_empty(), "{} of {} cases differ:\n{}", wrong.len(), area.cases().len(), wrong.join("\n"));
    println!("{} cases, no difference but those that the rules name", area.cases().len());
}

/// The variable that names it.
const FILE: &str = "LOCKGATE_PARITY_CASES";

/// Compares all cases of an area, and the list of what may differ.
fn compare(name: &str) {
    require("tinyproxy").unwrap();
    let area = Area::read(name);
    let known = Known::read();
    let mut wrong = known.check(name, &area.cases().iter().map(|case| format!("{name}/{case}")).collect());
    wrong.extend(compare_area(name, &area, &known));
    assert!(wrong.is_empty(), "{} things are wrong in {name}:\n{}", wrong.len(), wrong.join("\n"));
}

/// Runs all cases of an area, some at a time, and returns what is wrong.
fn compare_area(name: &str, area: &Area, known: &Known) -> Vec<String> {
    let cases = area.cases();
    let unique: BTreeSet<_> = cases.iter().collect();
    assert_eq!(unique.len(), cases.len(), "two cases of {name} have the same name: {cases:?}");

    // Of its own: on this machine, a client of somebody else's may come to a port that was another's a moment before.
    let network = Network::new(["parity"]).unwrap();
    let [namespace] = network.hosts();
    let names: Vec<_> = area.names.iter().map(|(name, ip)| (name.as_str(), *ip)).collect();
    let _hosts = HostsFile::new(namespace, &names).unwrap();
    let place = Place::from(namespace);
    let work: Vec<_> = area.group.iter().map(Work::Group).chain(area.start.iter().map(Work::Start)).collect();
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(work) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let wrong = match work {
                        Work::Group(group) => compare_group(name, group, known, &place),
                        Work::Start(start) => compare_start(name, start, known, &place),
                    };
                    found.lock().unwrap_or_else(PoisonError::into_inner).extend(wrong);
                }
            });
        }
    });
    found.into_inner().unwrap()
}

const WORKERS: usize = 4;

enum Work<'a> {
    Group(&'a Group),
    Start(&'a Start),
}

fn compare_group(area: &str, group: &Group, known: &Known, place: &Place) -> Vec<String> {
    let origin = Origin::start(place).unwrap();
    let dead = reserve(place);
    let ports = Ports { origin: origin.port(), dead: dead[0].port() };
    let mut stages = [Program::Tinyproxy, Program::Lockgate].map(|program| Stage::new(program, place, &ports));
    let served: Result<(), _> = stages.iter_mut().try_for_each(|stage| stage.serve(group));
    if let Err(instead) = served {
        return vec![format!("{area}/{}:\n  {instead}", group.name)];
    }
    let [theirs, ours] = &mut stages;
    let mut wrong = Vec::new();
    for case in &group.case {
        let name = format!("{area}/{}/{}", group.name, case.name);
        let found = compare_case(&name, case, [theirs, ours], &origin, known);
        if !found.is_empty() {
            wrong.push(format!("{name}:\n{}", found.join("\n")));
        }
    }
    wrong
}

fn compare_case(
    name: &str,
    case: &Case,
    [theirs, ours]: [&mut Stage<'_>; 2],
    origin: &Origin,
    known: &Known,
) -> Vec<String> {
    let steps = case.steps();
    let run = |stage: &mut Stage<'_>| {
        let mut all = observation::Observation::default();
        for (index, step) in steps.iter().enumerate() {
            let prefix = if steps.len() == 1 { String::new() } else { format!("{}.", index + 1) };
            all.parts.extend(stage.step(step, &prefix, origin).parts);
        }
        all
    };
    let (mut their_part, mut our_part) = (run(theirs), run(ours));
    // Lines come a moment after the answers.
    let mut judged = || {
        theirs.log(&mut their_part);
        ours.log(&mut our_part);
        known.judge(name, &differences(&their_part, &our_part))
    };
    let mut last = Vec::new();
    poll(LOG_DEADLINE, || {
        last = judged();
        last.is_empty().then_some(())
    });
    last.extend([theirs, ours].into_iter().filter_map(|stage| stage.end_case().err()));
    last
}

/// How long lines of a log may take: whatever is not as it should be is looked at again until then.
const LOG_DEADLINE: Duration = Duration::from_secs(5);

fn compare_start(area: &str, start: &Start, known: &Known, place: &Place) -> Vec<String> {
    let ports = Ports { origin: 1, dead: 1 };
    let [theirs, ours] = [Program::Tinyproxy, Program::Lockgate].map(|program| {
        let mut stage = Stage::new(program, place, &ports);
        stage.start(start)
    });
    let name = format!("{area}/{}", start.name);
    let wrong = known.judge(&name, &differences(&theirs, &ours));
    if wrong.is_empty() { Vec::new() } else { vec![format!("{name}:\n{}", wrong.join("\n"))] }
}
