//! What reaches a server that speaks HTTP/1.1, for requests that came over HTTP/2: one request each, whatever is in them.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    thread,
};

use test_support::{
    http2::{
        Ending::{Answered, Reset},
        Frame, flag, kind,
    },
    poll,
};

use super::{Abused, DEADLINE, PATIENCE};

/// A server that keeps every byte of every connection, and answers what is whole.
struct Witness {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<Heard>>>,
    /// The last whole request.
    last: Arc<Mutex<Vec<u8>>>,
}

#[derive(Clone, Debug, Default)]
struct Heard {
    bytes: Vec<u8>,
    has_ended: bool,
}

impl Witness {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, connections) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Heard>>>::default());
        let (all, last) = (Arc::clone(&connections), Arc::<Mutex<Vec<u8>>>::default());
        let whole = Arc::clone(&last);
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let index = all.lock().unwrap().len();
                all.lock().unwrap().push(Heard::default());
                let (all, whole) = (Arc::clone(&all), Arc::clone(&whole));
                thread::spawn(move || {
                    let (mut piece, mut end) = ([0; 4096], 0);
                    while let Ok(read @ 1..) = stream.read(&mut piece) {
                        let heard = &mut all.lock().unwrap()[index];
                        heard.bytes.extend_from_slice(&piece[..read]);
                        if is_whole(&heard.bytes[end..]) {
                            whole.lock().unwrap().clone_from(&heard.bytes[end..].to_vec());
                            end = heard.bytes.len();
                            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                        }
                    }
                    all.lock().unwrap()[index].has_ended = true;
                });
            }
        });
        Self { address, connections, last }
    }

    fn heard(&self) -> Vec<Heard> {
        self.connections.lock().unwrap().clone()
    }

    /// The last request that it has heard, head and body apart.
    fn last(&self) -> (String, String) {
        let text = String::from_utf8(self.last.lock().unwrap().clone()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.to_ascii_lowercase(), body.to_owned())
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, mut body)) = text.split_once("\r\n\r\n") else { return false };
    let head = head.to_ascii_lowercase();
    if !head.contains("transfer-encoding: chunked") {
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        return body.len() == length.unwrap_or(0);
    }
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return rest == "\r\n";
        }
        let Some(rest) = rest.get(size + 2..) else { return false };
        body = rest;
    }
    false
}

fn witnessed() -> (Witness, Abused) {
    let witness = Witness::start();
    let server = witness.address;
    let route = format!("[[route]]\npath = \"/w/\"\nchain = [{{ use = \"upstream\", servers = [\"{server}\"] }}]\n");
    (witness, Abused::start_before(&route, ""))
}

fn request<'a>(method: &'a str, path: &'a str, more: &[(&'a str, &'a str)], has_body: bool) -> Frame {
    let head = [(":method", method), (":scheme", "https"), (":authority", "a.example"), (":path", path)];
    Frame::request(1, &[&head[..], more].concat(), has_body)
}

fn data(bytes: &[u8], is_last: bool) -> Frame {
    Frame::new(kind::DATA, if is_last { flag::END_STREAM } else { 0 }, 1, bytes)
}

/// What is sent, and what must come of it.
struct Case {
    sent: Vec<Frame>,
    line: &'static str,
    fields: &'static [&'static str],
    absent: &'static [&'static str],
    body: &'static str,
}

/// Each is one request for the server, and the next one is, too.
fn each_reaches_the_server(cases: Vec<Case>) {
    let (witness, abused) = witnessed();
    for Case { sent, line, fields, absent, body } in cases {
        let mut client = abused.open(&[]);
        client.send_frames(&sent).unwrap();
        assert_eq!(client.ending(1).unwrap(), Answered(200, 0), "{line}");
        let (head, came) = witness.last();
        assert_eq!((head.lines().next().unwrap(), came.as_str()), (line, body), "{head}");
        assert!(fields.iter().all(|field| head.contains(field)), "{line}: {fields:?} in {head}");
        assert!(!absent.iter().any(|field| head.contains(field)), "{line}: {absent:?} in {head}");
        assert_eq!(head.matches("\r\nhost:").count(), 1, "{head}");
    }
    abused.end("odd requests", PATIENCE);
}

#[test]
fn each_head_reaches_the_server_as_one_request() {
    let get = |path, more: &[_]| vec![request("GET", path, more, false)];
    let case = |sent, line, fields, absent| Case { sent, line, fields, absent, body: "" };
    each_reaches_the_server(vec![
        case(get("/w/a?b=c&d", &[]), "get /w/a?b=c&d http/1.1", &["host: a.example"], FRAMING),
        case(get("/w//x/../y%0d%0aX:%20y", &[]), "get /w//x/../y%0d%0ax:%20y http/1.1", &[], &["\nx:"]),
        case(vec![request("PROPFIND", "/w/a", &[], false)], "propfind /w/a http/1.1", &[], FRAMING),
        case(get("/w/a", &[("host", "a.example")]), "get /w/a http/1.1", &["host: a.example"], &[]),
        case(
            get("/w/a", &[("te", "trailers"), ("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.1")]),
            "get /w/a http/1.1",
            &["x-forwarded-for: 127.0.0.1\r\n", "forwarded: for=127.0.0.1;proto=https\r\n"],
            &["192.0.2.1", "te:"],
        ),
    ]);
}

#[test]
fn each_body_reaches_the_server_as_one_body() {
    let post = |more: &[_], rest: &[Frame]| [&[request("POST", "/w/a", more, true)], rest].concat();
    let line = "post /w/a http/1.1";
    let chunked = |sent, body| Case { sent, line, fields: CHUNKED, absent: &["content-length:"], body };
    let long = |sent, fields, body| Case { sent, line, fields, absent: &["transfer-encoding:"], body };
    let trailers = Frame::request(1, &[("x-late", "1")], false);
    each_reaches_the_server(vec![
        chunked(post(&[], &[data(SMUGGLED.as_bytes(), true)]), IN_CHUNKS),
        long(post(&[("content-length", "50")], &[data(SMUGGLED.as_bytes(), true)]), &["content-length: 50"], SMUGGLED),
        Case {
            line: "get /w/a http/1.1",
            ..chunked(vec![request("GET", "/w/a", &[], true), data(b"a body", true)], BODY)
        },
        Case { absent: &["x-late"], ..chunked(post(&[], &[data(b"x", false), trailers]), "1\r\nx\r\n0\r\n\r\n") },
        // As `curl -T -` and many others end a body whose length they do not know.
        chunked(post(&[], &[data(b"x", false), data(b"", true)]), "1\r\nx\r\n0\r\n\r\n"),
        chunked(post(&[], &[data(b"", false), data(b"x", false), data(b"", true)]), "1\r\nx\r\n0\r\n\r\n"),
        long(post(&[("content-length", "1")], &[data(b"x", false), data(b"", true)]), &["content-length: 1"], "x"),
        chunked(post(&[], &[data(b"", false), data(b"", true)]), "0\r\n\r\n"),
    ]);
}

const FRAMING: &[&str] = &["content-length:", "transfer-encoding:"];
const CHUNKED: &[&str] = &["transfer-encoding: chunked"];
const SMUGGLED: &str = "0\r\n\r\nGET /w/smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n";
const IN_CHUNKS: &str = "32\r\n0\r\n\r\nGET /w/smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n\r\n0\r\n\r\n";
const BODY: &str = "6\r\na body\r\n0\r\n\r\n";

#[test]
fn a_request_that_is_cut_short_is_never_taken_for_whole() {
    let (witness, abused) = witnessed();
    for (length, rest) in [
        (None, vec![data(b"some", false), Frame::reset(1)]),
        (Some("10"), vec![data(b"some", false), Frame::reset(1)]),
        (Some("10"), vec![data(b"some", true)]),
        (Some("4"), vec![data(b"some", false), data(b"more", true)]),
    ] {
        let fields: Vec<_> = length.map(|length| ("content-length", length)).into_iter().collect();
        let before = witness.heard().len();
        let mut client = abused.open(&[]);
        client.send_frames(&[request("POST", "/w/cut", &fields, true)]).unwrap();
        let index = poll(DEADLINE, || {
            let all = witness.heard();
            all.iter().skip(before).position(|heard| heard.bytes.ends_with(b"\r\n\r\n"))
        });
        let index = before + index.expect("the server is asked");
        client.send_frames(&rest).unwrap();
        // Nobody else's request goes into the hole, and the connection is not used again.
        let heard = poll(DEADLINE, || Some(witness.heard()[index].clone()).filter(|heard| heard.has_ended));
        let heard = heard.unwrap_or_else(|| panic!("{fields:?}: the server still waits"));
        let text = String::from_utf8_lossy(&heard.bytes).into_owned();
        assert!(!text.ends_with("0\r\n\r\n") && text.matches(" HTTP/1.1\r\n").count() == 1, "{text}");
        if let Some(frame) = rest.iter().find(|frame| frame.kind == kind::DATA && frame.flags & flag::END_STREAM != 0) {
            assert_eq!(client.ending(1).unwrap(), Reset(1), "{frame:?}");
        }
    }
    abused.end("cut short", PATIENCE);
}
