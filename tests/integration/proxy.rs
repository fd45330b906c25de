//! The proxy between a client and an application.

use std::{
    io::Write as _,
    net::Shutdown,
    time::{Duration, Instant},
};

use test_support::{Connection, Lockgate, Origin, Place, Signal, Visitors};

use crate::support::LOCKGATE;

fn config(route: &str) -> String {
    format!(
        "[log]\naccess = \"access.log\"\nformat = \"json\"\n\
         [server]\nhead_timeout = \"500ms\"\ntrusted_proxies = []\ndrain_timeout = \"3s\"\n\
         [[listener]]\nname = \"http\"\naddress = [\"127.0.0.1:0\", \"[::1]:0\"]\n{route}"
    )
}

fn passing(origin: &Origin) -> String {
    config(&format!(
        "[[route]]\nname = \"site\"\nchain = [{{ use = \"upstream\", servers = [\"{}\"], read_timeout = \"1s\" }}]\n",
        origin.address()
    ))
}

fn start(origin: &Origin) -> (Lockgate, Connection) {
    let lockgate = Lockgate::run(LOCKGATE, &passing(origin)).unwrap();
    let connection = Connection::open(lockgate.address()).unwrap();
    (lockgate, connection)
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: site.example\r\n\r\n")
}

#[test]
fn connections_are_kept_on_both_sides() {
    let origin = Origin::start().unwrap();
    let (_lockgate, mut client) = start(&origin);
    for _ in 0..20 {
        let response = client.exchange(get("/")).unwrap();
        assert_eq!((response.status, &*response.body), (200, &*origin.site().page.1));
    }
    assert_eq!(origin.requests(), 20);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_program_with_a_plugin_of_its_own_is_lockgate() {
    let origin = Origin::start().unwrap();
    let program = std::path::Path::new(LOCKGATE).with_file_name("examples").join("with_plugin");
    assert!(program.exists(), "`cargo build --example with_plugin` makes {}", program.display());
    let chain = format!(
        "[[route]]\nchain = [{{ use = \"teapot\", path = \"/coffee\" }}, {{ use = \"upstream\", servers = [\"{}\"] }}]\n",
        origin.address()
    );
    let lockgate = Lockgate::run(program, &config(&chain)).unwrap();
    let mut client = Connection::open(lockgate.address()).unwrap();
    assert_eq!(client.exchange(get("/coffee")).unwrap().status, 418);
    assert_eq!(client.exchange(get("/")).unwrap().body, &*origin.site().page.1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::start().unwrap();
    let (_lockgate, mut client) = start(&origin);
    let all: String = (0..20).map(|number| get(&format!("/head?{number}"))).collect();
    client.send(all).unwrap();
    for number in 0..20 {
        let response = client.response(false).unwrap();
        assert!(response.text().starts_with(&format!("GET /head?{number} ")), "{}", response.text());
    }
}

#[test]
fn a_request_may_follow_a_body_of_any_framing_at_once() {
    let origin = Origin::start().unwrap();
    let (_lockgate, mut client) = start(&origin);
    let bodies = [
        "Content-Length: 5\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\n",
    ];
    let all: String =
        (0..30).map(|n| format!("POST /echo HTTP/1.1\r\nHost: a\r\n{}", bodies[n % 3]) + &get("/head?next")).collect();
    // In two pieces that end anywhere, and all at once.
    for cut in [1, all.len() / 3, all.len() / 2, all.len()] {
        let (first, second) = all.split_at(cut);
        client.send(first).unwrap();
        client.send(second).unwrap();
        for _ in 0..30 {
            assert_eq!(client.response(false).unwrap().body, b"hello");
            assert!(client.response(false).unwrap().text().starts_with("GET /head?next "));
        }
    }
}

#[test]
fn a_client_that_has_said_everything_is_answered_where_it_may_be() {
    let origin = Origin::start().unwrap();
    for served in [true, false] {
        let keys = format!("[server]\nhalf_closed_clients = {served}\n");
        let lockgate = Lockgate::run(LOCKGATE, &passing(&origin).replace("[server]\n", &keys)).unwrap();
        for request in [
            get("/slow"),
            "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
            "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".to_owned(),
        ] {
            let mut client = Connection::open(lockgate.address()).unwrap();
            client.send(&request).unwrap();
            client.stream().shutdown(Shutdown::Write).unwrap();
            let answer = client.rest().unwrap();
            if served {
                assert!(answer.starts_with(b"HTTP/1.1 200 "), "{request}: {}", String::from_utf8_lossy(&answer));
            } else if request.starts_with("GET /slow") {
                assert!(answer.is_empty(), "{request}: {}", String::from_utf8_lossy(&answer));
            }
        }
    }
}

#[test]
fn a_client_that_may_be_gone_keeps_nothing_for_ever() {
    let origin = Origin::start().unwrap();
    let keys = "[server]\nhalf_closed_clients = true\nmax_clients = 1\nread_timeout = \"60s\"\n";
    let lockgate = Lockgate::run(LOCKGATE, &passing(&origin).replace("[server]\n", keys)).unwrap();
    let upgrade = "GET /hang HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".to_owned();
    // With the one place that there is, each must end before the next: the server has a second to answer.
    for request in [get("/hang"), upgrade, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell".to_owned()]
    {
        let mut client = Connection::open(lockgate.address()).unwrap();
        client.send(&request).unwrap();
        client.stream().shutdown(Shutdown::Write).unwrap();
        let started = Instant::now();
        let answer = client.rest().unwrap();
        assert!(started.elapsed() < Duration::from_secs(15), "{request}: {:?}", started.elapsed());
        assert!(!answer.starts_with(b"HTTP/1.1 200 "), "{request}: {}", String::from_utf8_lossy(&answer));
    }
    let mut client = Connection::open(lockgate.address()).unwrap();
    assert_eq!(client.exchange(get("/")).unwrap().status, 200);
}

#[test]
fn bodies_of_every_framing_arrive_whole() {
    let origin = Origin::start().unwrap();
    let (_lockgate, mut client) = start(&origin);
    let body = "0123456789abcdef".repeat(40_000);
    let request = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(client.exchange(request).unwrap().body, body.as_bytes());
    let chunked =
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n";
    assert_eq!(client.exchange(chunked).unwrap().body, b"hello world");
    assert_eq!(client.exchange(get("/chunked")).unwrap().body, b"hello world");
    assert_eq!(client.exchange(get("/unframed")).unwrap().body, b"hello world");
    assert_eq!(client.exchange(get("/big")).unwrap().body, &*origin.site().download.1);
    let head = client.exchange("HEAD /big HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!((head.status, head.header("content-length")), (200, Some("3000000")));
    assert_eq!(client.exchange(get("/")).unwrap().status, 200, "the connection goes on after HEAD");
}

#[test]
fn an_expectation_is_met() {
    let origin = Origin::start().unwrap();
    let (_lockgate, mut client) = start(&origin);
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n").unwrap();
    assert_eq!(client.take("HTTP/1.1 100 Continue\r\n\r\n".len()).unwrap(), b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hello").unwrap();
    assert_eq!(client.response(false).unwrap().body, b"hello");
}

#[test]
fn http_1_0_clients_get_what_they_understand() {
    let origin = Origin::start().unwrap();
    let (lockgate, mut client) = start(&origin);
    let response = client.exchange("GET /chunked HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!((response.header("transfer-encoding"), &*response.body), (None, &b"hello world"[..]));
    let mut client = Connection::open(lockgate.address()).unwrap();
    let kept = client.exchange("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap();
    assert_eq!(kept.header("connection"), Some("keep-alive"));
    assert_eq!(client.exchange("GET / HTTP/1.0\r\n\r\n").unwrap().status, 200);
    assert!(client.rest().unwrap().is_empty());
}

#[test]
fn the_application_learns_who_asked() {
    let origin = Origin::start().unwrap();
    let (_lockgate, mut client) = start(&origin);
    let text = client.exchange("GET /head HTTP/1.1\r\nHost: Site.Example:81\r\nX-Forwarded-For: 203.0.113.9\r\nForwarded: for=x\r\nConnection: x-secret\r\nX-Secret: 1\r\n\r\n").unwrap().text().to_ascii_lowercase();
    for expected in [
        "host: site.example:81\r\n",
        "x-forwarded-for: 127.0.0.1\r\n",
        "x-forwarded-proto: http\r\n",
        "x-forwarded-host: site.example:81\r\n",
        "forwarded: for=127.0.0.1;proto=http\r\n",
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    assert!(!text.contains("203.0.113.9") && !text.contains("x-secret"), "{text}");
}

#[test]
fn an_absolute_target_is_served_like_a_path() {
    let origin = Origin::start().unwrap();
    let (_lockgate, mut client) = start(&origin);
    let text =
        client.exchange("GET http://other.example/head?q HTTP/1.1\r\nHost: site.example\r\n\r\n").unwrap().text();
    assert!(text.starts_with("GET /head?q HTTP/1.1\r\n"), "{text}");
    assert!(text.to_ascii_lowercase().contains("host: other.example\r\n"), "{text}");
}

#[test]
fn an_upgraded_connection_may_be_silent() {
    let origin = Origin::start().unwrap();
    let (_lockgate, mut client) = start(&origin);
    let upgrade = "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(client.exchange(upgrade).unwrap().status, 101);
    for pause in [0, 1500] {
        // Longer than every timeout of this configuration: silence is by design.
        std::thread::sleep(Duration::from_millis(pause));
        client.send("ping").unwrap();
        assert_eq!(client.take(4).unwrap(), b"ping");
    }
}

#[test]
fn an_upgrade_that_is_never_answered_ends_in_504_and_a_bounded_silence_ends() {
    let origin = Origin::start().unwrap();
    let route = format!(
        "[[route]]\nchain = [{{ use = \"upstream\", servers = [\"{}\"], read_timeout = \"500ms\", upgraded_idle_timeout = \"700ms\" }}]\n",
        origin.address()
    );
    let lockgate = Lockgate::run(LOCKGATE, &config(&route)).unwrap();
    let request =
        |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    let mut client = Connection::open(lockgate.address()).unwrap();
    assert_eq!(client.exchange(request("/hang")).unwrap().status, 504);
    let mut client = Connection::open(lockgate.address()).unwrap();
    assert_eq!(client.exchange(request("/upgrade")).unwrap().status, 101);
    let since = Instant::now();
    assert!(client.rest().unwrap_or_default().is_empty());
    assert!((500..10_000).contains(&since.elapsed().as_millis()), "{:?}", since.elapsed());
}

#[test]
fn failures_of_the_application_have_a_status() {
    let origin = Origin::start().unwrap();
    let (lockgate, _client) = start(&origin);
    for (path, status) in
        [("/drop", 502), ("/not-http", 502), ("/hang", 504), ("/status/503", 503), ("/status/404", 404)]
    {
        let mut client = Connection::open(lockgate.address()).unwrap();
        let response = client.exchange(get(path)).unwrap();
        assert_eq!(response.status, status, "{path}");
    }
    let mut client = Connection::open(lockgate.address()).unwrap();
    let cut = client.exchange(get("/cut")).unwrap_err();
    assert_eq!(cut.kind(), std::io::ErrorKind::UnexpectedEof, "a cut body must not look whole");
}

#[test]
fn servers_take_turns_and_a_dead_one_is_skipped() {
    let (one, two) = (Origin::start().unwrap(), Origin::start().unwrap());
    let dead = Place::Loopback.reserve(std::net::Ipv4Addr::LOCALHOST, 0).unwrap();
    let servers = format!("\"{}\", \"{}\", \"{}\"", one.address(), dead.address(), two.address());
    let route = format!("[[route]]\nchain = [{{ use = \"upstream\", servers = [{servers}] }}]\n");
    let lockgate = Lockgate::run(LOCKGATE, &config(&route)).unwrap();
    let mut client = Connection::open(lockgate.address()).unwrap();
    for _ in 0..30 {
        assert_eq!(client.exchange(get("/")).unwrap().status, 200);
    }
    assert!(one.requests() >= 9 && two.requests() >= 9, "{} and {}", one.requests(), two.requests());
    drop(lockgate);
    let route = format!("[[route]]\nchain = [{{ use = \"upstream\", servers = [\"{}\"] }}]\n", dead.address());
    let lockgate = Lockgate::run(LOCKGATE, &config(&route)).unwrap();
    let mut client = Connection::open(lockgate.address()).unwrap();
    assert_eq!(client.exchange(get("/")).unwrap().status, 502);
}

#[test]
fn a_unix_socket_is_a_server_too() {
    let origin = Origin::start().unwrap();
    let directory = test_support::scratch_dir().unwrap();
    let path = directory.path().join("app.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let address = origin.address();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut server = std::net::TcpStream::connect(address).unwrap();
        let (mut back, mut to) = (server.try_clone().unwrap(), socket.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut back, &mut to));
        let _ = std::io::copy(&mut socket, &mut server);
    });
    let route = format!("[[route]]\nchain = [{{ use = \"upstream\", servers = [\"unix:{}\"] }}]\n", path.display());
    let lockgate = Lockgate::run(LOCKGATE, &config(&route)).unwrap();
    assert_eq!(Connection::open(lockgate.address()).unwrap().exchange(get("/")).unwrap().status, 200);
}

#[test]
fn routes_choose_by_host_path_method_and_client() {
    let (one, two) = (Origin::start().unwrap(), Origin::start().unwrap());
    let chain = |origin: &Origin| format!("chain = [{{ use = \"upstream\", servers = [\"{}\"] }}]\n", origin.address());
    let routes = format!(
        "[[route]]\nhost = [\"one.example\", \"*.one.example\"]\npath = \"/\"\nmethod = [\"GET\"]\nclient = [\"127.0.0.0/8\"]\n{}\
         [[route]]\nhost = [\"two.example\"]\n{}",
        chain(&one),
        chain(&two)
    );
    let lockgate = Lockgate::run(LOCKGATE, &config(&routes)).unwrap();
    let ask = |address, method: &str, host: &str| {
        let mut client = Connection::open(address).unwrap();
        client.exchange(format!("{method} / HTTP/1.1\r\nHost: {host}\r\n\r\n")).unwrap().status
    };
    let (v4, v6) = (lockgate.addresses()[0], lockgate.addresses()[1]);
    assert_eq!(ask(v4, "GET", "One.example:8080"), 200);
    assert_eq!(ask(v4, "GET", "a.one.example"), 200);
    assert_eq!(ask(v4, "PUT", "one.example"), 404);
    assert_eq!(ask(v6, "GET", "one.example"), 404);
    assert_eq!(ask(v6, "GET", "two.example"), 200);
    assert_eq!(ask(v4, "GET", "three.example"), 404);
    assert_eq!((one.requests(), two.requests()), (2, 1));
}

#[test]
fn sigterm_lets_requests_finish_and_sigint_does_not() {
    let origin = Origin::start().unwrap();
    let (mut lockgate, mut busy) = start(&origin);
    let idle = Connection::open(lockgate.address()).unwrap();
    busy.send(get("/slow")).unwrap();
    test_support::poll(Duration::from_secs(5), || (origin.requests() == 1).then_some(())).unwrap();
    lockgate.signal(Signal::TERM);
    let response = busy.response(false).unwrap();
    assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    assert!(idle.rest().unwrap().is_empty());
    assert!(lockgate.wait(Duration::from_secs(5)).unwrap().success());
    assert!(lockgate.output().contains("cut=0"), "{}", lockgate.output());

    let (mut lockgate, mut busy) = start(&origin);
    busy.send(get("/hang")).unwrap();
    test_support::poll(Duration::from_secs(5), || (origin.requests() == 2).then_some(())).unwrap();
    let since = Instant::now();
    lockgate.signal(Signal::INT);
    lockgate.wait(Duration::from_secs(5)).unwrap();
    assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
}

/// A visitor who connected just before a drain has its request on the way.
#[test]
fn a_first_request_that_comes_during_a_drain_is_served() {
    let origin = Origin::start().unwrap();
    let (mut lockgate, mut late) = start(&origin);
    // Both are accepted when the second one has an answer.
    let mut other = Connection::open(lockgate.address()).unwrap();
    other.exchange(get("/")).unwrap();
    lockgate.signal(Signal::TERM);
    test_support::poll(Duration::from_secs(5), || lockgate.output().contains("draining").then_some(())).unwrap();
    let response = late.exchange(get("/")).unwrap();
    assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    assert!(lockgate.wait(Duration::from_secs(5)).unwrap().success());
}

#[test]
fn a_drain_ends_at_its_deadline() {
    let origin = Origin::start().unwrap();
    let route = format!(
        "[[route]]\nchain = [{{ use = \"upstream\", servers = [\"{}\"], read_timeout = \"1m\" }}]\n",
        origin.address()
    );
    let mut lockgate = Lockgate::run(LOCKGATE, &config(&route).replace("\"3s\"", "\"500ms\"")).unwrap();
    let mut busy = Connection::open(lockgate.address()).unwrap();
    busy.send(get("/hang")).unwrap();
    test_support::poll(Duration::from_secs(5), || (origin.requests() == 1).then_some(())).unwrap();
    let since = Instant::now();
    lockgate.signal(Signal::TERM);
    lockgate.wait(Duration::from_secs(5)).unwrap();
    assert!((400..2500).contains(&since.elapsed().as_millis()), "{:?}", since.elapsed());
    assert!(lockgate.output().contains("cut=1"), "{}", lockgate.output());
}

#[test]
fn every_request_has_one_log_line() {
    let origin = Origin::start().unwrap();
    let (mut lockgate, mut client) = start(&origin);
    client.exchange(get("/status/200?a='b\\")).unwrap();
    client.exchange(get("/status/404")).unwrap();
    let mut gone = Connection::open(lockgate.address()).unwrap();
    gone.send(get("/hang")).unwrap();
    test_support::poll(Duration::from_secs(5), || (origin.requests() == 3).then_some(())).unwrap();
    gone.stream().shutdown(Shutdown::Both).unwrap();
    let mut bad = Connection::open(lockgate.address()).unwrap();
    assert_eq!(bad.exchange("GET / HTTP/1.1\r\n\r\n").unwrap().status, 400);
    let log = lockgate.file("access.log");
    let lines = test_support::poll(Duration::from_secs(5), || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        (text.lines().count() >= 4).then_some(text)
    });
    let lines: Vec<serde_json::Value> =
        lines.unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |target: &str| lines.iter().find(|line| line["target"] == target).unwrap();
    assert_eq!(
        (&of("/status/200?a='b\\")["status"], &of("/status/200?a='b\\")["route"]),
        (&200.into(), &"site".into())
    );
    assert_eq!(of("/status/404")["upstream"], origin.address().to_string());
    assert_eq!((&of("/hang")["status"], &of("/hang")["ending"]), (&serde_json::Value::Null, &"client".into()));
    assert_eq!((&of("-")["status"], &of("-")["ending"]), (&400.into(), &"refused".into()));
    lockgate.signal(Signal::TERM);
    lockgate.wait(Duration::from_secs(10)).unwrap();
    assert_eq!(std::fs::read_to_string(log).unwrap().lines().count(), 4);
}

#[test]
fn a_mixed_load_is_served_without_a_fault() {
    let origin = Origin::start().unwrap();
    let (lockgate, _client) = start(&origin);
    let visitors = Visitors::start(&Place::Loopback, &origin.site().behind(lockgate.addresses().to_vec()), 16);
    visitors.wait_for(2000, Duration::from_secs(60));
    let report = visitors.stop();
    let log = std::fs::read_to_string(lockgate.file("access.log")).unwrap();
    let incomplete: Vec<_> = log.lines().filter(|line| !line.contains("\"ending\":\"complete\"")).collect();
    assert_eq!(report.failed, 0, "{:#?}\n{incomplete:#?}\n{}", report.reasons, lockgate.output());
    assert!(report.requests >= 2000);
}

#[test]
fn a_client_that_half_closes_after_a_whole_body_is_no_reason_to_hang() {
    let origin = Origin::start().unwrap();
    let (lockgate, _client) = start(&origin);
    let client = Connection::open(lockgate.address()).unwrap();
    let mut stream = client.stream().try_clone().unwrap();
    stream.write_all(get("/slow").as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    // nginx and HAProxy differ here; what matters is an end.
    let _ = client.rest();
    assert_eq!(Connection::open(lockgate.address()).unwrap().exchange(get("/")).unwrap().status, 200);
}
