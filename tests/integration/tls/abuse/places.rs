//! With `max_clients`: who holds places and keeps the proxy waiting makes room for others.

use std::time::{Duration, Instant};

use test_support::{
    Http2,
    http2::{Ending::Answered, Frame},
    poll,
};

use super::{Abused, DEADLINE, is_read};

const PLACES: &str = "max_clients = 20\nkeep_alive_timeout = \"30s\"";
const INITIAL_WINDOW: u16 = 4;

/// Each of a few connections asks for more than there are places.
fn ask(abused: &Abused, settings: &[(u16, u32)], more: &[Frame], request: fn(u32) -> Frame) -> Vec<Http2> {
    let ask = |_| {
        let mut client = abused.open(settings);
        let all: Vec<Frame> = (0..100).map(|number| request(2 * number + 1)).collect();
        client.send_frames(&[more, &all].concat()).unwrap();
        is_read(&mut client);
        client
    };
    (0..3).map(ask).collect()
}

/// Others are served soon, although all places were taken.
fn others_are_served(abused: &Abused) {
    let since = Instant::now();
    for _ in 0..3 {
        let mut client = abused.open(&[]);
        assert_eq!(client.exchange(1, "/status/204").unwrap(), Answered(204, 0));
    }
    assert!(since.elapsed() < WITHIN, "{:?}", since.elapsed());
}

/// Before, it was the time that a write may take, again and again.
const WITHIN: Duration = Duration::from_secs(8);

#[test]
fn whoever_leaves_its_windows_closed_makes_room() {
    let abused = Abused::start(PLACES);
    let clients = ask(&abused, &[(INITIAL_WINDOW, 0)], &[], |stream| Frame::get(stream, "/big"));
    others_are_served(&abused);
    drop(clients);
    abused.end("closed windows", WITHIN);
}

#[test]
fn whoever_reads_nothing_makes_room() {
    let abused = Abused::start(PLACES);
    let open = [(INITIAL_WINDOW, 0x7fff_ffff)];
    let clients = ask(&abused, &open, &[Frame::window(0, 0x7000_0000)], |stream| Frame::get(stream, "/big"));
    others_are_served(&abused);
    drop(clients);
    abused.end("nothing read", WITHIN);
}

#[test]
fn whoever_sends_no_bodies_makes_room() {
    let abused = Abused::start(PLACES);
    let clients = ask(&abused, &[], &[], |stream| Frame::post(stream, "/echo"));
    others_are_served(&abused);
    drop(clients);
    abused.end("no bodies", WITHIN);
}

#[test]
fn requests_that_are_given_up_wait_for_no_place() {
    let abused = Abused::start(PLACES);
    let mut clients = ask(&abused, &[], &[], |stream| Frame::get(stream, "/hang"));
    for client in &mut clients {
        let all: Vec<Frame> = (0..100).map(|number| Frame::reset(2 * number + 1)).collect();
        client.send_frames(&all).unwrap();
        is_read(client);
    }
    others_are_served(&abused);
    // All of them are told of, those that never had a place too.
    let hung = || abused.log().iter().filter(|line| line["target"] == "/hang" && line["ending"] == "client").count();
    poll(DEADLINE, || (hung() == 300).then_some(())).unwrap_or_else(|| panic!("{} lines", hung()));
    // The server saw no more than there are places.
    assert!(abused.secure.origin.connections() < 100, "{}", abused.secure.origin.connections());
    abused.end("given up", WITHIN);
}

#[test]
fn whoever_waits_for_the_server_keeps_its_place() {
    let abused = Abused::start("max_clients = 4\nkeep_alive_timeout = \"30s\"");
    let mut patient = abused.open(&[]);
    patient.send_frames(&[Frame::get(1, "/hang"), Frame::get(3, "/hang")]).unwrap();
    is_read(&mut patient);
    // All others come and go on the places that are left, and more wait than there are.
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(3) {
        let mut others: Vec<Http2> = (0..6).map(|_| abused.open(&[])).collect();
        others.iter_mut().for_each(|client| client.send_frames(&[Frame::get(1, "/slow")]).unwrap());
        others.iter_mut().for_each(|client| assert_eq!(client.ending(1).unwrap(), Answered(200, 4)));
    }
    assert!(abused.log().iter().all(|line| line["target"] != "/hang"), "{:#?}", abused.log());
    is_read(&mut patient);
    abused.end("patient", WITHIN);
}
