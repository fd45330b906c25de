//! Frames and fields against the rules, one connection each: what h2spec looks at, in the order of RFC 9113 and RFC 7541.

use test_support::http2::{
    Ending::{self, Answered, Closed, GoneAway, Reset},
    Frame, PREFACE, fields_block, flag, kind,
};

use super::{Abused, PATIENCE};

/// What a server does with a client that breaks a rule.
type Expected = &'static [Ending];

const REFUSED: Expected = &[GoneAway(PROTOCOL_ERROR)];
const RESET: Expected = &[Reset(PROTOCOL_ERROR)];
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const END: u8 = flag::END_HEADERS | flag::END_STREAM;

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "https");
const PATH: (&str, &str) = (":path", "/");
const AUTHORITY: (&str, &str) = (":authority", "a.example");
const GET: [(&str, &str); 4] = [METHOD, SCHEME, AUTHORITY, PATH];

/// Sends frames of each case on a connection of its own; the last stream of a client that they are about has the ending.
fn each_ends_as_it_should(what: &str, cases: Vec<(&str, Vec<Frame>, Expected)>) {
    let abused = Abused::start("");
    for (name, frames, expected) in cases {
        let mut client = abused.open(&[]);
        client.send_frames(&frames).unwrap();
        let stream = frames.iter().rev().map(|frame| frame.stream).find(|stream| stream % 2 == 1).unwrap_or(1);
        let ending = match client.ending(stream).unwrap_or_else(|error| panic!("{name}: {error}")) {
            Answered(status, _) => Answered(status, 0),
            other => other,
        };
        assert!(expected.contains(&ending), "{name}: {ending:?}");
    }
    abused.end(what, PATIENCE);
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Frame {
    Frame::new(kind, flags, stream, payload)
}

fn with(more: &[(&str, &str)]) -> Vec<Frame> {
    vec![Frame::request(1, &[&GET[..], more].concat(), false)]
}

fn only(fields: &[(&str, &str)]) -> Vec<Frame> {
    vec![Frame::request(1, fields, false)]
}

fn block(block: &[u8]) -> Vec<Frame> {
    vec![frame(kind::HEADERS, END, 1, block)]
}

#[test]
fn another_preface_is_no_beginning() {
    let abused = Abused::start("");
    for beginning in [&b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"[..], b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"] {
        let mut client = abused.connect();
        client.send(beginning).unwrap();
        assert_eq!(client.end().unwrap(), Closed);
    }
    let mut client = abused.connect();
    client.send(&[PREFACE, &frame(kind::PING, 0, 0, b"12345678").bytes()].concat()).unwrap();
    client.send_frames(&[Frame::get(1, "/")]).unwrap();
    let ending = client.ending(1).unwrap();
    assert!(matches!(ending, GoneAway(PROTOCOL_ERROR) | Answered(200, _)), "{ending:?}");
    abused.end("prefaces", PATIENCE);
}

#[test]
fn frames_on_the_wrong_stream_end_the_connection() {
    let post = || Frame::post(1, "/echo");
    each_ends_as_it_should(
        "streams",
        vec![
            ("data on 0", vec![frame(kind::DATA, 0, 0, b"x")], REFUSED),
            ("data on an idle one", vec![frame(kind::DATA, 0, 1, b"x")], REFUSED),
            ("data on a closed one", vec![Frame::get(1, "/"), frame(kind::DATA, 0, 1, b"x")], REFUSED),
            (
                "data after a reset",
                vec![post(), Frame::reset(1), frame(kind::DATA, 0, 1, b"x")],
                &[Reset(STREAM_CLOSED), GoneAway(PROTOCOL_ERROR), GoneAway(STREAM_CLOSED)],
            ),
            ("a request on 0", vec![Frame { stream: 0, ..Frame::get(1, "/") }], REFUSED),
            ("a request on a stream of the server", vec![Frame::get(2, "/")], REFUSED),
            ("a request on an older stream", vec![Frame::get(5, "/"), Frame::get(3, "/")], REFUSED),
            ("a request on a closed stream", vec![Frame::get(1, "/"), Frame::get(1, "/")], REFUSED),
            ("a reset on 0", vec![Frame::reset(0)], REFUSED),
            ("a reset on an idle one", vec![Frame::reset(1)], REFUSED),
            ("settings on a stream", vec![frame(kind::SETTINGS, 0, 1, b"")], REFUSED),
            ("a ping on a stream", vec![frame(kind::PING, 0, 1, b"12345678")], REFUSED),
            ("a farewell on a stream", vec![frame(kind::GOAWAY, 0, 1, &[0; 8])], REFUSED),
            ("a promise", vec![frame(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &[0, 0, 0, 2])], REFUSED),
            ("a priority on 0", vec![frame(kind::PRIORITY, 0, 0, &[0, 0, 0, 0, 1])], REFUSED),
            ("a stream that depends on itself", vec![frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 1, 1])], RESET),
            ("a window of an idle one", vec![Frame::window(1, 1)], REFUSED),
            ("the rest of no head", vec![frame(kind::CONTINUATION, flag::END_HEADERS, 1, b"")], REFUSED),
            (
                "the rest of another head",
                vec![
                    frame(kind::HEADERS, 0, 1, &fields_block(&GET)),
                    frame(kind::CONTINUATION, flag::END_HEADERS, 3, b""),
                ],
                REFUSED,
            ),
            (
                "something within a head",
                vec![frame(kind::HEADERS, 0, 1, &fields_block(&GET)), frame(kind::PING, 0, 0, b"12345678")],
                REFUSED,
            ),
            (
                "a head that does not end its trailers",
                vec![post(), Frame::request(1, &[("x", "y")], true)],
                &[Reset(PROTOCOL_ERROR), GoneAway(PROTOCOL_ERROR)],
            ),
            (
                "a frame of no known type",
                vec![frame(0x99, 0xff, 1, b"whatever"), Frame::get(1, "/status/204")],
                &[Answered(204, 0)],
            ),
        ],
    );
}

#[test]
fn frames_of_wrong_sizes_and_values_end_the_connection() {
    let post = || Frame::post(1, "/echo");
    let size: Expected = &[GoneAway(FRAME_SIZE_ERROR), GoneAway(PROTOCOL_ERROR)];
    each_ends_as_it_should(
        "sizes",
        vec![
            ("a frame that is too large", vec![post(), frame(kind::DATA, 0, 1, &[0; 16_385])], size),
            ("a short reset", vec![post(), frame(kind::RST_STREAM, 0, 1, b"x")], size),
            ("a short ping", vec![frame(kind::PING, 0, 0, b"1234567")], size),
            ("a short window", vec![frame(kind::WINDOW_UPDATE, 0, 0, b"abc")], size),
            ("a short priority", vec![frame(kind::PRIORITY, 0, 1, &[0; 4])], size),
            ("settings of five bytes", vec![frame(kind::SETTINGS, 0, 0, b"12345")], size),
            ("an acknowledgement with settings", vec![frame(kind::SETTINGS, flag::ACK, 0, &[0, 1, 0, 0, 0, 0])], size),
            ("half a push", vec![Frame::settings(&[(2, 2)])], REFUSED),
            (
                "an initial window that is too large",
                vec![Frame::settings(&[(4, 0x8000_0000)])],
                &[GoneAway(FLOW_CONTROL_ERROR), GoneAway(PROTOCOL_ERROR)],
            ),
            ("frames that are too small", vec![Frame::settings(&[(5, 1)])], REFUSED),
            ("frames that are too large", vec![Frame::settings(&[(5, 0x0100_0000)])], REFUSED),
            (
                "a setting that nobody knows",
                vec![Frame::settings(&[(99, 1)]), Frame::get(1, "/status/204")],
                &[Answered(204, 0)],
            ),
            ("a window of nothing", vec![Frame::window(0, 0)], REFUSED),
            (
                "the same of a stream",
                vec![post(), Frame::window(1, 0)],
                &[Reset(PROTOCOL_ERROR), GoneAway(PROTOCOL_ERROR)],
            ),
            ("a window that overflows", vec![Frame::window(0, 0x7fff_ffff)], &[GoneAway(FLOW_CONTROL_ERROR)]),
            ("the same of a stream", vec![post(), Frame::window(1, 0x7fff_ffff)], &[Reset(FLOW_CONTROL_ERROR)]),
            ("more padding than data", vec![post(), frame(kind::DATA, flag::PADDED, 1, &[200, 1, 2])], REFUSED),
            ("more padding than head", vec![frame(kind::HEADERS, flag::PADDED | END, 1, &[255, 1, 2])], REFUSED),
        ],
    );
}

#[test]
fn heads_that_cannot_be_decoded_end_the_connection() {
    // COMPRESSION_ERROR is what RFC 9113 §4.3 wants; h2 says PROTOCOL_ERROR, and the connection ends all the same.
    each_ends_as_it_should(
        "HPACK",
        vec![
            ("index 0", block(&[0x80]), REFUSED),
            ("an index of nothing", block(&[0xff, 0x80, 0x01]), REFUSED),
            ("a number without an end", block(&[0xff; 12]), REFUSED),
            ("a table that is too large", block(&[0x3f, 0xff, 0xff, 0xff, 0x0f]), REFUSED),
            ("a text that ends with the code of the end", block(&[0, 0x84, 0xff, 0xff, 0xff, 0xff, 0]), REFUSED),
            ("a text that is cut off", block(&[0, 5, b'a']), REFUSED),
            ("an uppercase name", with(&[("X-Upper", "1")]), REFUSED),
            ("a name with a blank", with(&[("x y", "1")]), REFUSED),
            ("a name with a colon", with(&[("x:y", "1")]), REFUSED),
            ("no name", with(&[("", "1")]), REFUSED),
            ("a line break in a value", with(&[("x", "a\r\nb: c")]), REFUSED),
            ("a zero byte in a value", with(&[("x", "a\0b")]), REFUSED),
            (
                "a method with line breaks",
                only(&[(":method", "GET / HTTP/1.1\r\nx: y"), SCHEME, PATH, AUTHORITY]),
                REFUSED,
            ),
            ("no method at all", only(&[(":method", ""), SCHEME, PATH, AUTHORITY]), REFUSED),
            ("a pseudo field of no meaning", with(&[(":foo", "y")]), REFUSED),
        ],
    );
}

#[test]
fn malformed_requests_are_refused() {
    let bad: Expected = &[Answered(400, 0)];
    let told: Expected = &[Reset(PROTOCOL_ERROR), Answered(400, 0)];
    let many: Vec<(String, &str)> = (0..300).map(|number| (format!("x-{number}"), "1")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let at = |path| vec![Frame::get(1, path)];
    each_ends_as_it_should(
        "requests",
        vec![
            ("no method", only(&[SCHEME, PATH, AUTHORITY]), RESET),
            ("no scheme", only(&[METHOD, PATH, AUTHORITY]), RESET),
            ("no path", only(&[METHOD, SCHEME, AUTHORITY]), RESET),
            ("no host", only(&[METHOD, SCHEME, PATH]), told),
            ("an empty path", only(&[METHOD, SCHEME, (":path", ""), AUTHORITY]), RESET),
            ("two methods", with(&[METHOD]), RESET),
            ("two paths", with(&[(":path", "/b")]), RESET),
            ("a pseudo field after others", only(&[METHOD, SCHEME, PATH, ("x", "y"), AUTHORITY]), RESET),
            ("a status", with(&[(":status", "200")]), RESET),
            ("fields of a connection", with(&[("connection", "keep-alive")]), RESET),
            ("the same", with(&[("keep-alive", "1")]), RESET),
            ("the same", with(&[("proxy-connection", "keep-alive")]), RESET),
            ("the same", with(&[("transfer-encoding", "chunked")]), RESET),
            ("the same", with(&[("upgrade", "websocket")]), RESET),
            ("te other than trailers", with(&[("te", "gzip")]), RESET),
            ("another host", with(&[("host", "b.example")]), bad),
            ("two hosts", with(&[("host", "a.example"), ("host", "a.example")]), bad),
            ("a user", only(&[METHOD, SCHEME, PATH, (":authority", "u@a.example")]), bad),
            ("a host with a path", only(&[METHOD, SCHEME, PATH, (":authority", "a.example/x")]), RESET),
            ("a host with a blank", only(&[METHOD, SCHEME, PATH, (":authority", "a.example b")]), RESET),
            ("a path with a blank", at("/a b"), RESET),
            ("a path with line breaks", at("/a\r\nX: y"), RESET),
            ("a path with a tab", at("/a\tb"), RESET),
            ("a path with a zero byte", at("/a\0b"), RESET),
            ("a URL as path", at("http://b.example/"), RESET),
            ("a path without a slash", at("abc"), RESET),
            ("a path for OPTIONS only", at("*"), &[Answered(400, 0)]),
            ("a scheme that is none", only(&[METHOD, (":scheme", "ht tp"), PATH, AUTHORITY]), RESET),
            ("a scheme of another protocol", only(&[METHOD, (":scheme", "ftp"), PATH, AUTHORITY]), &[Answered(400, 0)]),
            ("a tunnel with a path", only(&[(":method", "CONNECT"), SCHEME, PATH, AUTHORITY]), RESET),
            ("a tunnel without a port", only(&[(":method", "CONNECT"), AUTHORITY]), &[Answered(400, 0)]),
            (
                "a WebSocket that nobody offered",
                only(&[(":method", "CONNECT"), (":protocol", "websocket"), SCHEME, PATH, AUTHORITY]),
                RESET,
            ),
            ("300 fields", with(&many), &[Answered(431, 0)]),
        ],
    );
}

#[test]
fn bodies_of_other_lengths_than_announced_are_reset() {
    let post = |length: &str| {
        let fields = [&[(":method", "POST"), SCHEME, AUTHORITY, (":path", "/echo")][..], &[("content-length", length)]];
        Frame::request(1, &fields.concat(), true)
    };
    let hello = || frame(kind::DATA, flag::END_STREAM, 1, b"hello");
    each_ends_as_it_should(
        "lengths",
        vec![
            ("none", with(&[("content-length", "5")]), RESET),
            ("too much", vec![post("2"), hello()], RESET),
            ("too little", vec![post("7"), hello()], RESET),
            ("no number", vec![post("+5"), hello()], RESET),
            ("two", only(&[&GET[..], &[("content-length", "5"), ("content-length", "6")]].concat()), RESET),
            ("as announced", vec![post("5"), hello()], &[Answered(200, 0)]),
        ],
    );
}

#[test]
fn heads_that_are_too_large_are_refused() {
    let abused = Abused::start("");
    for (fields, expected) in [(3, &[Answered(200, 69)][..]), (5, &[Answered(431, 0)]), (200, &[Closed, GoneAway(11)])]
    {
        let mut client = abused.open(&[]);
        let value = "x".repeat(16_000);
        let pieces = (0..fields).map(|_| fields_block(&[("x-long", &value)]));
        let mut frames = vec![frame(kind::HEADERS, flag::END_STREAM, 1, &fields_block(&GET))];
        frames.extend(pieces.map(|piece| frame(kind::CONTINUATION, 0, 1, &piece)));
        frames.last_mut().unwrap().flags |= flag::END_HEADERS;
        // It may be gone before it has heard all.
        let _ = client.send_frames(&frames);
        let ending = client.ending(1).unwrap();
        assert!(expected.contains(&ending), "{fields} fields: {ending:?}");
    }
    assert_eq!(abused.grown() / (32 * super::MIB), 0);
    abused.end("large heads", PATIENCE);
}
