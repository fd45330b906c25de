//! Much of what is allowed, on one connection: each kind of flood that has had a name or a CVE.

use std::{io, time::Duration};

use test_support::{
    Http2,
    http2::{
        Ending::{self, Answered, Closed, GoneAway},
        Frame, fields_block, flag, kind,
    },
};

use super::{Abused, MIB, PATIENCE, is_read};

/// More than any of these takes, debug build and noise of the allocator included.
const GROWTH: u64 = 32 * MIB;
const ENHANCE_YOUR_CALM: u32 = 11;
const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/")];

/// Sends this so many times, unless the server ends that. `None` when it takes it all, or does not read on.
fn flood(client: &mut Http2, piece: &[u8], times: usize) -> Option<Ending> {
    client.socket().set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    for _ in 0..times {
        match client.send(piece) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            // What the server has said may be lost with the connection.
            Err(_) => return Some(client.end().unwrap()),
        }
    }
    None
}

/// A flood of frames of one kind on a connection that has begun like this.
fn ends_with(abused: &Abused, beginning: &[Frame], piece: &Frame, times: usize) -> Option<Ending> {
    let mut client = abused.open(&[]);
    client.send_frames(beginning).unwrap();
    let ended = flood(&mut client, &piece.bytes().repeat(100), times / 100);
    let grown = abused.grown();
    assert!(grown < GROWTH, "{piece:?} for {times} times took {} KiB", grown / 1024);
    ended
}

#[test]
fn heads_that_go_on_for_ever_end_the_connection() {
    let abused = Abused::start("");
    let head = [Frame::new(kind::HEADERS, flag::END_STREAM, 1, fields_block(&GET))];
    let long = fields_block(&[("x", &"y".repeat(1000))]);
    // CVE-2024-27316.
    for rest in [&b""[..], &long] {
        let piece = Frame::new(kind::CONTINUATION, 0, 1, rest);
        assert!(matches!(ends_with(&abused, &head, &piece, 1_000_000), Some(Closed | GoneAway(_))), "{}", rest.len());
    }
    // A field of 4 KiB that is kept and then named twelve thousand times: 50 MB in 16 KiB.
    let mut bomb = fields_block(&GET);
    bomb.extend(fields_block(&[("x", &"v".repeat(3900))]));
    let kept = fields_block(&GET).len();
    bomb[kept] = 0x40;
    bomb.extend([0xbe; 12_000]);
    let mut client = abused.open(&[]);
    client.send_frames(&[Frame::new(kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, bomb)]).unwrap();
    let ending = client.ending(1).unwrap();
    assert!(matches!(ending, GoneAway(ENHANCE_YOUR_CALM) | Answered(431, _)), "{ending:?}");
    assert!(abused.grown() < GROWTH);
    abused.end("heads", PATIENCE);
}

#[test]
fn frames_without_a_purpose_cost_no_memory() {
    let abused = Abused::start("");
    let post = [Frame::post(1, "/echo")];
    for (name, beginning, piece, must_end) in [
        // CVE-2019-9512 and -9515: what is to be acknowledged is not read faster than acknowledgements leave.
        ("pings", &[][..], Frame::new(kind::PING, 0, 0, *b"12345678"), false),
        ("settings", &[], Frame::settings(&[(4, 1)]), false),
        // CVE-2019-9513.
        ("priorities", &[], Frame::new(kind::PRIORITY, 0, 11, [0, 0, 0, 3, 1]), false),
        ("frames of no known type", &[], Frame::new(0x77, 0, 11, []), false),
        ("windows", &[], Frame::window(0, 1), false),
        // CVE-2019-9518.
        ("empty data", &post, Frame::new(kind::DATA, 0, 1, []), true),
        ("padding", &post, Frame::new(kind::DATA, flag::PADDED, 1, [&[255][..], &[0; 255]].concat()), true),
    ] {
        let ended = ends_with(&abused, beginning, &piece, 200_000);
        assert!(!must_end || matches!(ended, Some(Closed | GoneAway(_))), "{name}: {ended:?}");
    }
    abused.end("frames", PATIENCE);
}

#[test]
fn whoever_gives_up_what_it_asks_for_again_and_again_is_sent_away() {
    let abused = Abused::start("");
    // CVE-2023-44487, all at once: h2 does not even show them to us.
    let mut client = abused.open(&[]);
    let both = |number: u32| [Frame::get(2 * number + 1, "/hang"), Frame::reset(2 * number + 1)];
    let all: Vec<Frame> = (0..20_000).flat_map(both).collect();
    let _ = client.send_frames(&all);
    assert!(matches!(client.end().unwrap(), Closed | GoneAway(ENHANCE_YOUR_CALM)));

    // So that each request is on its way to the server before it is given up.
    let before = abused.secure.origin.connections();
    let mut client = abused.open(&[]);
    let mut rounds = (0..200_u32).map(|round| (0..100).map(move |number| 2 * (round * 100 + number) + 1));
    let ended = rounds.find_map(|streams| {
        let asked: Vec<Frame> = streams.clone().map(|stream| Frame::get(stream, "/hang")).collect();
        let given_up: Vec<Frame> = streams.map(Frame::reset).collect();
        client.send_frames(&asked).and_then(|()| client.send_frames(&given_up)).err()
    });
    let ending = client.end().unwrap();
    assert!(ended.is_some() || ending != Closed, "20000 requests were given up");
    assert!(matches!(ending, Closed | GoneAway(ENHANCE_YOUR_CALM)), "{ending:?}");
    let connections = abused.secure.origin.connections() - before;
    assert!(connections < 2_000, "{connections} connections to the server");
    assert!(abused.grown() < GROWTH, "{} KiB", abused.grown() / 1024);
    abused.end("given up", PATIENCE);
}

#[test]
fn whoever_waits_for_most_answers_may_give_up_the_others() {
    let abused = Abused::start("");
    let mut client = abused.open(&[]);
    for round in 0..600 {
        let stream = 6 * round + 1;
        client.send_frames(&[Frame::get(stream, "/hang"), Frame::reset(stream)]).unwrap();
        for stream in [stream + 2, stream + 4] {
            assert_eq!(client.exchange(stream, "/status/204").unwrap(), Answered(204, 0), "{round}");
        }
    }
    abused.end("some given up", PATIENCE);
}

#[test]
fn whoever_makes_us_reset_streams_is_sent_away() {
    // CVE-2025-8671.
    let abused = Abused::start("");
    type Break = fn(u32) -> Frame;
    let breaks: [Break; 3] = [
        |stream| Frame::window(stream, 0x7fff_ffff),
        |stream| Frame::new(kind::PRIORITY, 0, stream, [&stream.to_be_bytes()[..], &[1]].concat()),
        |stream| Frame::request(stream, &[("x", "y")], true),
    ];
    for breaks in breaks {
        let before = abused.secure.origin.connections();
        let mut client = abused.open(&[]);
        let streams = (0..5_000_u32).map(|number| 2 * number + 1);
        let all: Vec<Frame> = streams.flat_map(|stream| [Frame::post(stream, "/echo"), breaks(stream)]).collect();
        let ended = all.chunks(50).find_map(|some| client.send_frames(some).err());
        let ending = client.end().unwrap();
        assert!(ended.is_some() || ending != Closed);
        assert!(matches!(ending, Closed | GoneAway(ENHANCE_YOUR_CALM)), "{ending:?}");
        let connections = abused.secure.origin.connections() - before;
        assert!(connections < 1_000, "{connections} connections to the server");
        assert!(abused.grown() < GROWTH);
    }
    abused.end("made to reset", PATIENCE);
}

#[test]
fn whoever_asks_for_more_than_is_allowed_at_once_is_refused_that() {
    let abused = Abused::start("");
    let mut client = abused.open(&[]);
    let all: Vec<Frame> = (0..101).map(|number| Frame::get(2 * number + 1, "/hang")).collect();
    client.send_frames(&all).unwrap();
    assert_eq!(client.ending(201).unwrap(), Ending::Reset(7), "REFUSED_STREAM");
    is_read(&mut client);
    assert!(abused.secure.origin.requests() <= 100 + 2 * 1000);
    client.send_frames(&[Frame::reset(1)]).unwrap();
    assert!(matches!(client.exchange(203, "/status/204").unwrap(), Answered(204, 0)));
    abused.end("more than allowed", PATIENCE);
}
