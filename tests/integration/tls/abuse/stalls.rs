//! Clients that keep the proxy waiting: in the handshake, with heads, with bodies, and by not reading.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use test_support::{
    Http2,
    http2::{
        Ending::{Answered, Closed, GoneAway, Reset},
        Frame, PREFACE, fields_block, flag, kind,
    },
    poll,
};

use super::{Abused, DEADLINE, MIB, PATIENCE};

const TIMEOUTS: &str = "head_timeout = \"1s\"\nkeep_alive_timeout = \"2s\"\nwrite_timeout = \"2s\"";
const INITIAL_WINDOW: u16 = 4;

/// Reads until the end and acknowledges nothing. How long that took.
fn silent_to_the_end(client: &mut Http2) -> Duration {
    let since = Instant::now();
    while let Ok(Some(_)) = client.next_frame() {}
    since.elapsed()
}

#[test]
fn whoever_does_not_get_on_with_it_is_not_waited_for() {
    let abused = Abused::start(TIMEOUTS);
    let second = Duration::from_secs(1);
    let about = |what: &str, took: Duration, expected: Duration| {
        assert!(took > expected * 9 / 10 && took < expected + 4 * second, "{what} took {took:?}");
    };
    // Nothing, or not all, of a handshake.
    for hello in [&b""[..], &[22, 3, 1, 2, 0, 1]] {
        let mut stream = TcpStream::connect(abused.secure.address()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let since = Instant::now();
        stream.write_all(hello).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
        about("a handshake", since.elapsed(), second);
    }
    let beginnings =
        [&b""[..], &PREFACE[..10], PREFACE, &[PREFACE, &Frame::settings(&[]).bytes(), &[0, 0, 9]].concat()];
    for beginning in beginnings {
        let mut client = abused.connect();
        client.send(beginning).unwrap();
        about("a beginning", silent_to_the_end(&mut client), second);
    }
    let head = Frame::new(kind::HEADERS, 0, 1, fields_block(&[(":method", "GET")]));
    let mut client = abused.open(&[]);
    client.send_frames(&[head]).unwrap();
    about("a head", silent_to_the_end(&mut client), second);
    // Once it has been served, it has the time of every kept connection, whatever it says that is no request.
    let mut client = abused.open(&[]);
    assert_eq!(client.exchange(1, "/status/204").unwrap(), Answered(204, 0));
    let since = Instant::now();
    while since.elapsed() < second {
        super::is_read(&mut client);
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(client.end().unwrap(), GoneAway(0));
    about("a kept connection", since.elapsed(), 2 * second);
    abused.end("waited for", PATIENCE);
}

/// A route to a server that waits for nothing longer than a second.
fn route(server: std::net::SocketAddr) -> String {
    format!(
        "[[route]]\npath = \"/quick\"\nchain = [{{ use = \"upstream\", servers = [\"{server}\"], read_timeout = \"1s\", \
         write_timeout = \"1s\" }}]\n"
    )
}

/// A server that answers when it has the head, and reads on.
fn hasty() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut head = vec![0; 4096];
                let read = stream.read(&mut head).unwrap_or(0);
                let answer: &[u8] = match head[..read].starts_with(b"POST /quick/nothing") {
                    true => b"HTTP/1.1 204 No Content\r\n\r\n",
                    false => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
                };
                let _ = stream.write_all(answer);
                while stream.read(&mut head).is_ok_and(|read| read > 0) {}
            });
        }
    });
    address
}

#[test]
fn a_body_that_does_not_end_is_waited_for_as_long_as_the_server_is() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let abused = Abused::start_before(&route(silent.local_addr().unwrap()), "");
    for first in [&b""[..], b"some of it"] {
        let mut client = abused.open(&[]);
        let since = Instant::now();
        client.send_frames(&[Frame::post(1, "/quick"), Frame::new(kind::DATA, 0, 1, first)]).unwrap();
        let ending = client.ending(1).unwrap();
        assert!(matches!(ending, Answered(504, _)), "{ending:?}");
        assert!(since.elapsed() > Duration::from_millis(900) && since.elapsed() < Duration::from_secs(5));
    }
    let log = abused.logged(2);
    assert_eq!((&log[0]["status"], &log[0]["ending"]), (&504.into(), &"upstream".into()));
    abused.end("bodies", PATIENCE);
}

#[test]
fn a_body_that_comes_slowly_is_taken() {
    let abused = Abused::start(TIMEOUTS);
    let mut client = abused.open(&[]);
    client.send_frames(&[Frame::post(1, "/echo")]).unwrap();
    // Twice as long as anything else may take here.
    for _ in 0..20 {
        client.send_frames(&[Frame::new(kind::DATA, 0, 1, *b"x")]).unwrap();
        thread::sleep(Duration::from_millis(200));
    }
    client.send_frames(&[Frame::new(kind::DATA, flag::END_STREAM, 1, *b"y")]).unwrap();
    assert_eq!(client.ending(1).unwrap(), Answered(200, 21));
    abused.end("a slow body", PATIENCE);
}

#[test]
fn an_answered_request_whose_body_does_not_end_is_given_up() {
    let abused = Abused::start_before(&route(hasty()), "write_timeout = \"1s\"");
    let mut client = abused.open(&[]);
    for (stream, path, answer) in [(1, "/quick", Answered(200, 2)), (3, "/quick/nothing", Answered(204, 0))] {
        client.send_frames(&[Frame::post(stream, path)]).unwrap();
        assert_eq!(client.ending(stream).unwrap(), answer);
        // NO_ERROR: the answer is whole, the rest of the request is not wanted (RFC 9113 §8.1).
        assert_eq!(client.ending(stream).unwrap(), Reset(0));
    }
    let log = abused.logged(2);
    assert_eq!(log.iter().map(|line| line["ending"].clone()).collect::<Vec<_>>(), ["client", "client"]);
    assert_eq!((&log[0]["status"], &log[1]["status"]), (&200.into(), &204.into()));
    // Such a body may go on for longer, as long as it does.
    client.send_frames(&[Frame::post(5, "/quick")]).unwrap();
    for _ in 0..20 {
        client.send_frames(&[Frame::new(kind::DATA, 0, 5, *b"x")]).unwrap();
        thread::sleep(Duration::from_millis(200));
    }
    client.send_frames(&[Frame::new(kind::DATA, flag::END_STREAM, 5, *b"y")]).unwrap();
    assert_eq!(client.ending(5).unwrap(), Answered(200, 2));
    assert_eq!(abused.logged(3)[2]["ending"], "complete");
    abused.end("answered", PATIENCE);
}

/// Asks for the large file on all streams of so many connections, and reads nothing.
fn ask_and_do_not_read(abused: &Abused, connections: usize, window: u32) -> Vec<Http2> {
    let ask = |_| {
        let mut client = abused.open(&[(INITIAL_WINDOW, window)]);
        if window > 0 {
            client.send_frames(&[Frame::window(0, 0x7000_0000)]).unwrap();
        }
        let all: Vec<Frame> = (0..100).map(|number| Frame::get(2 * number + 1, "/big")).collect();
        client.send_frames(&all).unwrap();
        client
    };
    (0..connections).map(ask).collect()
}

#[test]
fn answers_that_nobody_reads_are_bounded_in_memory_and_time() {
    let abused = Abused::start(TIMEOUTS);
    for window in [0, 0x7fff_ffff] {
        let logged = abused.log().len() + 300;
        let mut clients = ask_and_do_not_read(&abused, 3, window);
        let mut most = 0;
        poll(DEADLINE, || {
            most = most.max(abused.grown());
            (abused.log().len() >= logged).then_some(())
        })
        .unwrap_or_else(|| panic!("{} requests have not ended", logged - abused.log().len()));
        eprintln!("a window of {window}: {} KiB more", most / 1024);
        assert!(most < 300 * OF_ONE, "{} KiB", most / 1024);
        for client in &mut clients {
            // They hear of it when they read again.
            let ending = client.end().unwrap();
            assert!(matches!(ending, GoneAway(0) | Closed), "{ending:?}");
        }
        assert!(abused.log().iter().all(|line| line["ending"] == "client"), "{:#?}", abused.log().first());
    }
    poll(DEADLINE, || (abused.grown() < 64 * MIB).then_some(())).unwrap_or_else(|| panic!("{}", abused.grown()));
    // Their burst fills the queue of the origin, and the kernel repeats what does not fit in after a second, and two more.
    abused.end("not read", 2 * PATIENCE);
}

/// The most that one answer takes which nobody reads: ten pieces on their way through pingora, and what h2 keeps of it.
const OF_ONE: u64 = 700 * 1024;

#[test]
fn a_client_that_reads_slowly_gets_everything() {
    let abused = Abused::start(TIMEOUTS);
    let mut client = abused.open(&[]);
    client.send_frames(&[Frame::get(1, "/big")]).unwrap();
    let mut length = 0;
    // A window's worth at a time.
    let ended = loop {
        let frame = client.next_frame().unwrap().unwrap();
        if frame.kind != kind::DATA {
            continue;
        }
        length += frame.payload.len();
        if frame.flags & flag::END_STREAM != 0 {
            break Answered(200, length);
        }
        if length % 65_535 == 0 {
            thread::sleep(Duration::from_millis(100));
            client.send_frames(&[Frame::window(0, 65_535), Frame::window(1, 65_535)]).unwrap();
        }
    };
    assert_eq!(ended, Answered(200, abused.secure.origin.site().download.1.len()));
    abused.end("a slow reader", PATIENCE);
}
