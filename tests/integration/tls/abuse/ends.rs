//! Ends: each request is logged and counted once, answers that are cut do not look whole, and a stop or a reload loses none.

use std::{
    fs,
    time::{Duration, Instant},
};

use test_support::{
    Signal,
    http2::{
        Ending::{Answered, Closed, GoneAway, Reset},
        Frame, kind,
    },
};

use super::{Abused, DEADLINE, PATIENCE, is_read};

#[test]
fn each_request_is_logged_and_counted_once() {
    let abused = Abused::start("");
    let counters = ["lockgate_requests_total", "lockgate_requests_refused_total", "lockgate_requests_aborted_total"];
    let about = |abused: &Abused| counters.map(|name| abused.counted(name));
    let mut client = abused.open(&[]);
    let many: Vec<(String, &str)> = (0..300).map(|number| (format!("x-{number}"), "1")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let path = |path| [(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", path)];
    let before = about(&abused);
    let mut ask = |stream: u32, path: &str| client.exchange(stream, path).unwrap();
    assert_eq!(ask(1, "/chunked"), Answered(200, 11));
    assert!(matches!(ask(3, "/status/404"), Answered(404, _)));
    assert!(matches!(ask(5, "/drop"), Answered(502, _)));
    // What is cut must not look whole.
    assert!(matches!(ask(7, "/cut"), Reset(_)));
    client.send_frames(&[Frame::get(9, "/hang")]).unwrap();
    is_read(&mut client);
    client.send_frames(&[Frame::reset(9)]).unwrap();
    client.send_frames(&[Frame::request(11, &[&path("/x")[..], &many].concat(), false)]).unwrap();
    assert!(matches!(client.ending(11).unwrap(), Answered(431, _)));
    client.send_frames(&[Frame::request(13, &[&path("/x")[..], &[("host", "b.example")]].concat(), false)]).unwrap();
    assert_eq!(client.ending(13).unwrap(), Answered(400, 0));
    // Two on their way when the client is gone.
    client.send_frames(&[Frame::get(15, "/hang"), Frame::post(17, "/echo")]).unwrap();
    is_read(&mut client);
    client.shut_down().unwrap();
    let log = abused.logged(9);
    let mut told: Vec<String> =
        log.iter().map(|line| format!("{} {} {}", line["target"], line["status"], line["ending"])).collect();
    told.sort();
    let expected = [
        r#""-" 400 "refused""#,
        r#""-" 431 "refused""#,
        r#""/chunked" 200 "complete""#,
        r#""/cut" 200 "upstream""#,
        r#""/drop" 502 "upstream""#,
        r#""/echo" null "client""#,
        r#""/hang" null "client""#,
        r#""/hang" null "client""#,
        r#""/status/404" 404 "complete""#,
    ];
    assert_eq!(told, expected);
    let after = about(&abused);
    let others = |abused: &Abused| {
        let text = fs::read_to_string(abused.secure.lockgate.file("access.log")).unwrap();
        text.lines().filter(|line| line.contains("\"target\":\"/\"") || line.contains("/metrics")).count() as u64
    };
    assert_eq!([after[1] - before[1], after[2] - before[2]], [2, 5]);
    // Others come and go meanwhile, and each time that somebody asks for the counters is counted itself.
    assert!(after[0] - before[0] >= 7 && after[0] <= 7 + others(&abused) + 3, "{before:?} {after:?}");
    abused.end("counted", PATIENCE);
}

#[test]
fn a_stop_lets_requests_over_http2_finish_and_waits_for_nobody_else() {
    let mut abused = Abused::start("drain_timeout = \"15s\"");
    let mut busy = abused.open(&[]);
    let (mut idle, mut deaf) = (abused.open(&[]), abused.open(&[]));
    for client in [&mut busy, &mut idle, &mut deaf] {
        assert_eq!(client.exchange(1, "/status/204").unwrap(), Answered(204, 0));
    }
    abused.stop.store(true, std::sync::atomic::Ordering::SeqCst);
    abused.others.take().unwrap().join().unwrap();
    busy.send_frames(&[Frame::get(3, "/slow"), Frame::get(5, "/hang")]).unwrap();
    is_read(&mut busy);
    let since = Instant::now();
    abused.secure.lockgate.signal(Signal::TERM);
    // A client that has heard of the end asks for nothing more; one that has not may still.
    while busy.next_frame().unwrap().unwrap().kind != kind::GOAWAY {}
    busy.send_frames(&[Frame::get(7, "/status/204")]).unwrap();
    assert_eq!(busy.ending(7).unwrap(), Answered(204, 0));
    assert_eq!(busy.ending(3).unwrap(), Answered(200, 4));
    busy.send_frames(&[Frame::reset(5)]).unwrap();
    assert_eq!(busy.end().unwrap(), GoneAway(0));
    assert_eq!(idle.end().unwrap(), GoneAway(0));
    // This one acknowledges nothing.
    while let Ok(Some(_)) = deaf.next_frame() {}
    assert!(abused.secure.lockgate.wait(DEADLINE).unwrap().success());
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    let output = abused.secure.lockgate.output();
    assert!(output.contains("cut=0"), "{output}");
    assert_eq!(abused.log().len(), 6, "{:#?}", abused.log());
}

#[test]
fn a_stop_ends_at_its_deadline() {
    let mut abused = Abused::start("drain_timeout = \"1s\"");
    let mut client = abused.open(&[]);
    client.send_frames(&[Frame::get(1, "/hang")]).unwrap();
    is_read(&mut client);
    abused.stop.store(true, std::sync::atomic::Ordering::SeqCst);
    abused.others.take().unwrap().join().unwrap();
    let since = Instant::now();
    abused.secure.lockgate.signal(Signal::TERM);
    let ending = client.ending(1).unwrap();
    assert!(matches!(ending, Closed | GoneAway(0)), "{ending:?}");
    abused.secure.lockgate.wait(DEADLINE).unwrap();
    assert!((900..5000).contains(&since.elapsed().as_millis()), "{:?}", since.elapsed());
    assert!(abused.secure.lockgate.output().contains("cut=1"), "{}", abused.secure.lockgate.output());
}

#[test]
fn a_reload_changes_the_next_request_and_not_one_on_its_way() {
    let mut abused = Abused::start("");
    let mut client = abused.open(&[]);
    client.send_frames(&[Frame::get(1, "/slow"), Frame::post(3, "/echo")]).unwrap();
    is_read(&mut client);
    let closed = "[[route]]\npath = \"/status\"\nchain = [{ use = \"access\", rules = [] }, \
                  { use = \"upstream\", servers = [\"127.0.0.1:1\"] }]\n[[route]]\nchain";
    let config = abused.secure.config().replace("[[route]]\nchain", closed);
    abused.secure.reload(&config);
    assert_eq!(client.ending(1).unwrap(), Answered(200, 4));
    let forbidden = client.exchange(5, "/status/204").unwrap();
    assert!(matches!(forbidden, Answered(403, _)), "{forbidden:?}");
    client.send_frames(&[Frame::new(kind::DATA, 1, 3, *b"to the end")]).unwrap();
    assert_eq!(client.ending(3).unwrap(), Answered(200, 10));
    abused.end("reloaded", PATIENCE);
}
