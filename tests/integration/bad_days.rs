//! What goes wrong gets a clear error or status within its deadline, and the process keeps serving.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use test_support::{Connection, Lockgate, Origin, Place, Process, Signal, Visitors, poll};

use crate::support::LOCKGATE;

/// An application and Lockgate before it.
struct Pair {
    origin: Origin,
    lockgate: Lockgate,
}

const HEAD_TIMEOUT: Duration = Duration::from_secs(1);
const READ_TIMEOUT: Duration = Duration::from_secs(1);
const DRAIN: Duration = Duration::from_secs(2);

impl Pair {
    fn start() -> Self {
        Self::logging("access.log")
    }

    fn logging(access: &str) -> Self {
        let origin = Origin::start().unwrap();
        let lockgate = Lockgate::run(LOCKGATE, &config(origin.address(), access)).unwrap();
        Self { origin, lockgate }
    }

    /// Challenges are looked for in this webroot.
    fn by_webroot(origin: Origin, webroot: &Path, state: &Path) -> Self {
        let (standalone, webroot, state) = ("use = \"standalone\"\nlisten = []", webroot.display(), state.display());
        let text = config(origin.address(), "access.log");
        assert!(text.contains(standalone));
        let text = text.replace(standalone, &format!("use = \"webroot\"\npath = \"{webroot}\"\nstate = \"{state}\""));
        Self { lockgate: Lockgate::run(LOCKGATE, &text).unwrap(), origin }
    }

    fn connect(&self) -> Connection {
        Connection::open(self.lockgate.address()).unwrap()
    }

    /// What an attack is answered with; `None` when the connection ends without an answer.
    fn answer(&self, attack: impl AsRef<[u8]>) -> Option<u16> {
        let mut client = self.connect();
        // The answer may come before the attack is over.
        let _ = client.send(attack);
        match client.response(false) {
            Ok(response) => Some(response.status),
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => None,
            Err(error) => panic!("neither an answer nor a proper end: {error}"),
        }
    }

    fn serves(&self) {
        let response = self.connect().exchange(get("/")).unwrap();
        assert_eq!((response.status, &*response.body), (200, &*self.origin.site().page.1));
    }
}

fn config(origin: SocketAddr, access: &str) -> String {
    format!(
        "[log]\naccess = \"{access}\"\n\
         [server]\nhead_timeout = \"{}ms\"\nread_timeout = \"{}ms\"\ndrain_timeout = \"{}ms\"\nshards = 2\n\
         [[listener]]\nname = \"http\"\naddress = [\"127.0.0.1:0\"]\n\
         [[authenticator]]\nname = \"ours\"\nuse = \"standalone\"\nlisten = []\n\
         [[route]]\nchain = [\n  {{ use = \"acme-challenge\", authenticator = \"ours\" }},\n\
         {{ use = \"upstream\", servers = [\"{origin}\"] }},\n]\n",
        HEAD_TIMEOUT.as_millis(),
        READ_TIMEOUT.as_millis(),
        DRAIN.as_millis(),
    )
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: site.example\r\n\r\n")
}

/// Exit status and output of a command that ends by itself.
fn outcome(command: &Command) -> (Option<i32>, String) {
    let mut process = Process::spawn(command).unwrap();
    let status = process.wait(Duration::from_secs(20)).unwrap();
    (status.code(), process.output())
}

/// Both `check` and `run` refuse this file, say all of this, and listen nowhere.
fn refused(bytes: &[u8], expected: &[&str]) {
    let directory = test_support::scratch_dir().unwrap();
    let file = directory.path().join("bad.toml");
    fs::write(&file, bytes).unwrap();
    refused_path(&file, expected);
}

fn refused_path(file: &Path, expected: &[&str]) {
    for subcommand in ["check", "run"] {
        let mut command = Command::new(LOCKGATE);
        command.args([subcommand, "--config"]).arg(file);
        let (status, output) = outcome(&command);
        assert_eq!(status, Some(64), "{subcommand}: {output}");
        for words in expected {
            let words = words.replace("FILE", &file.display().to_string());
            assert!(output.contains(&words), "{subcommand} does not say {words:?}:\n{output}");
        }
        assert!(!output.contains("listening") && !output.contains("panicked"), "{output}");
    }
}

const LISTENER: &str = "[[listener]]\nname = \"http\"\naddress = [\"127.0.0.1:0\"]\n";

#[test]
fn a_bad_configuration_is_refused_with_place_and_hint() {
    let chain = |chain: &str| format!("{LISTENER}[[route]]\nchain = [{chain}]\n");
    refused(b"[[listener]\nname = 1\n", &["FILE:1:"]);
    refused(
        chain("{ use = \"upstraem\", servers = [\"127.0.0.1:1\"] }").as_bytes(),
        &["FILE:5:18", "unknown plugin `upstraem`", "hint:", "upstream"],
    );
    refused(
        chain("{ use = \"upstream\", server = [\"127.0.0.1:1\"] }").as_bytes(),
        &["FILE:5:", "server", "hint:", "servers"],
    );
    refused(format!("{LISTENER}tls = true\n").as_bytes(), &["FILE:4:1", "tls"]);
    refused(format!("{LISTENER}[interception]\nport = 80\n").as_bytes(), &["FILE:4:", "interception", "hint:"]);
    let upstream = "{ use = \"upstream\", servers = [\"127.0.0.1:1\"] }";
    refused(
        chain(&format!("{{ use = \"acme-challenge\", authenticator = \"nobody\" }}, {upstream}")).as_bytes(),
        &["FILE:5:", "there is no authenticator `nobody`", "hint:"],
    );
    refused(chain(&format!("{{ use = \"acme-challenge\" }}, {upstream}")).as_bytes(), &["FILE:5:", "hint:"]);
    refused(b"[log]\naccess = \"off\"\n# \xff\xfe\n", &["FILE:3:3", "not UTF-8"]);
    refused(b"", &["FILE:1:1", "listener", "hint:"]);
}

#[test]
fn every_mistake_of_a_file_is_reported_at_once() {
    let text = format!(
        "{LISTENER}[server]\nhead_timeout = \"soon\"\ntrusted_proxies = [\"not an address\"]\n\
         [log]\nformat = \"xml\"\n[[route]]\npath = \"no-slash\"\nchain = [{{ use = \"nothing\" }}]\n"
    );
    refused(text.as_bytes(), &["FILE:5:", "FILE:8:", "FILE:10:", "FILE:11:", "soon", "xml", "nothing"]);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let directory = test_support::scratch_dir().unwrap();
    refused_path(&directory.path().join("absent.toml"), &["FILE", "No such file"]);
    refused_path(directory.path(), &["FILE", "directory"]);
}

#[test]
fn a_port_in_use_is_named_and_nothing_else_stays_bound() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let directory = test_support::scratch_dir().unwrap();
    let file = directory.path().join("lockgate.toml");
    let origin = Origin::start().unwrap();
    let text = config(origin.address(), "off").replace("\"127.0.0.1:0\"", &format!("\"127.0.0.1:0\", \"{address}\""));
    fs::write(&file, text).unwrap();
    let mut command = Command::new(LOCKGATE);
    command.args(["run", "--config"]).arg(&file);
    let (status, output) = outcome(&command);
    assert_eq!(status, Some(1), "{output}");
    assert!(output.contains(&address.to_string()) && output.contains("hint:"), "{output}");
    assert!(!output.contains("lockgate: listening"), "{output}");
}

#[test]
fn what_is_no_request_is_refused() {
    let pair = Pair::start();
    let attacks: &[(&str, &[u8], &[u16])] = &[
        (
            "CL and TE",
            b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            &[400],
        ),
        (
            "two lengths",
            b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            &[400],
        ),
        ("a signed length", b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", &[400]),
        (
            "chunked twice",
            b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            &[400, 501],
        ),
        (
            "TE in disguise",
            b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            &[400, 501],
        ),
        ("a space before the colon", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", &[400]),
        ("two hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", &[400]),
        ("no host", b"GET / HTTP/1.1\r\n\r\n", &[400]),
        ("a host with a path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", &[400]),
        ("bare LF", b"GET / HTTP/1.1\nHost: a\n\n", &[400]),
        ("bare CR", b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", &[400]),
        ("a folded line", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", &[400]),
        ("NUL in a value", b"GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n", &[400]),
        ("NUL in the target", b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", &[400]),
        ("userinfo", b"GET http://user:secret@site.example/ HTTP/1.1\r\nHost: site.example\r\n\r\n", &[400]),
        ("another protocol", b"SSH-2.0-OpenSSH_9.2\r\n\r\n", &[400]),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", &[400, 505]),
        ("HTTP/3.7", b"GET / HTTP/3.7\r\nHost: a\r\n\r\n", &[400, 505]),
        ("CONNECT", b"CONNECT site.example:443 HTTP/1.1\r\nHost: site.example:443\r\n\r\n", &[400, 405, 501]),
    ];
    for (what, attack, allowed) in attacks {
        let status = pair.answer(attack);
        assert!(status.is_some_and(|status| allowed.contains(&status)), "{what}: {status:?}");
        pair.serves();
    }
    assert_eq!(pair.origin.requests(), attacks.len(), "an attack reached the application");
}

#[test]
fn a_tls_client_is_turned_away() {
    let pair = Pair::start();
    // The head of a ClientHello of 512 bytes, then noise without a line end.
    let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    hello.resize(517, 0xaa);
    let since = Instant::now();
    let status = pair.answer(hello);
    assert!(matches!(status, None | Some(400 | 408)), "{status:?}");
    assert!(since.elapsed() < HEAD_TIMEOUT * 3, "{:?}", since.elapsed());
    pair.serves();
}

#[test]
fn a_head_has_a_largest_size() {
    let pair = Pair::start();
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(100_000));
    assert_eq!(pair.answer(many), Some(431));
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(1_000_000));
    assert_eq!(pair.answer(long), Some(431));
    assert!(matches!(pair.answer(get(&format!("/{}", "x".repeat(1_000_000)))), Some(414 | 431)));
    pair.serves();
    assert_eq!(pair.origin.requests(), 1);
}

#[test]
fn a_head_that_never_ends_is_timed_out() {
    let pair = Pair::start();
    let mut client = pair.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
    let mut stream = client.stream().try_clone().unwrap();
    let since = Instant::now();
    // A byte now and then: the deadline is for the whole head.
    let drip = thread::spawn(move || {
        while stream.write_all(b"x: y\r\n").is_ok() && since.elapsed() < HEAD_TIMEOUT * 5 {
            thread::sleep(HEAD_TIMEOUT / 10);
        }
    });
    assert_eq!(client.response(false).unwrap().status, 408);
    assert!((HEAD_TIMEOUT / 2..HEAD_TIMEOUT * 3).contains(&since.elapsed()), "{:?}", since.elapsed());
    drop(client);
    drip.join().unwrap();
    pair.serves();
}

#[test]
fn hostile_tokens_reach_the_application_or_nobody_and_never_a_file() {
    let origin = Origin::start().unwrap();
    let directory = test_support::scratch_dir().unwrap();
    let webroot = directory.path().join("www");
    let challenges = webroot.join(".well-known/acme-challenge");
    fs::create_dir_all(challenges.join("below")).unwrap();
    for place in [directory.path(), &webroot, &webroot.join(".well-known"), &challenges.join("below")] {
        fs::write(place.join("secret"), "a secret file").unwrap();
    }
    for name in ["a.b", ".secret", "secret~", "secret\n"] {
        fs::write(challenges.join(name), "a secret file").unwrap();
    }
    std::os::unix::fs::symlink(webroot.join("secret"), challenges.join("planted")).unwrap();
    fs::write(challenges.join("good"), "good.answer").unwrap();
    let pair = Pair::by_webroot(origin, &webroot, &directory.path().join("state"));
    let ask = |token: &str| pair.connect().exchange(get(&format!("/.well-known/acme-challenge/{token}"))).unwrap();
    assert_eq!((ask("good").status, ask("good").text().as_str()), (200, "good.answer"));
    let long = "a".repeat(5000);
    for token in [
        long.as_str(),
        "",
        "..",
        "../secret",
        "../../secret",
        "../../../secret",
        "..%2fsecret",
        "%2e%2e/secret",
        "%2e%2e%2fsecret",
        "below/secret",
        "below",
        "/",
        "//secret",
        "%00",
        "good%00",
        "good/",
        "good%0a",
        ".",
        ".secret",
        "a.b",
        "secret~",
        "secret%0a",
        "a%0d%0ab",
        "planted",
        "good;x",
        "%67ood",
        "~",
        "\u{e9}",
    ] {
        let response = ask(token);
        assert!(!response.text().contains("secret file"), "{token:?}");
        assert!(matches!(response.status, 400 | 404), "{token:?}: {}", response.status);
        if response.status == 404 {
            assert_eq!(response.text(), "not found at the origin", "{token:?}");
        }
    }
    for target in ["good\0", "\0", "a\0b"] {
        let raw = format!("GET /.well-known/acme-challenge/{target} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(pair.answer(raw), Some(400));
    }
    pair.serves();
}

#[test]
fn a_symlink_planted_at_well_known_leads_nowhere() {
    let origin = Origin::start().unwrap();
    let directory = test_support::scratch_dir().unwrap();
    let (webroot, target) = (directory.path().join("www"), directory.path().join("target"));
    fs::create_dir(&webroot).unwrap();
    fs::create_dir_all(target.join("acme-challenge")).unwrap();
    fs::write(target.join("acme-challenge/token"), "somebody else's").unwrap();
    std::os::unix::fs::symlink(&target, webroot.join(".well-known")).unwrap();
    let pair = Pair::by_webroot(origin, &webroot, &directory.path().join("state"));
    let response = pair.connect().exchange(get("/.well-known/acme-challenge/token")).unwrap();
    assert_eq!((response.status, response.text().as_str()), (404, "not found at the origin"));
    pair.serves();
}

#[test]
fn silent_clients_are_closed_and_delay_nobody() {
    let pair = Pair::start();
    let since = Instant::now();
    let silent: Vec<_> = (0..300).map(|_| pair.connect()).collect();
    let site = pair.origin.site().behind(vec![pair.lockgate.address()]);
    let visitors = Visitors::start(&Place::Loopback, &site, 8);
    assert!(visitors.wait_for(200, Duration::from_secs(20)));
    let report = visitors.stop();
    assert_eq!(report.failed, 0, "{:#?}", report.reasons);
    for client in silent {
        // A status is allowed, but not silence for longer than a head may take.
        let mut stream = client.stream().try_clone().unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&rest));
    }
    assert!(since.elapsed() < HEAD_TIMEOUT * 10, "{:?}", since.elapsed());
    pair.serves();
}

#[test]
fn a_body_that_stops_is_timed_out() {
    let pair = Pair::start();
    for head in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        let mut client = pair.connect();
        client.send(format!("POST /echo HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n5\r\nhel")).unwrap();
        let since = Instant::now();
        match client.response(false) {
            Ok(response) => assert_eq!(response.status, 408, "{head}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "{head}: {error}"),
        }
        assert!((READ_TIMEOUT / 2..READ_TIMEOUT * 4).contains(&since.elapsed()), "{head}: {:?}", since.elapsed());
        pair.serves();
    }
}

#[test]
fn a_server_that_waits_for_the_rest_of_a_body_is_not_to_blame() {
    let origin = Origin::start().unwrap();
    // Less than what the client has.
    let impatient = "], read_timeout = \"200ms\" },\n]";
    let text = config(origin.address(), "access.log").replace("] },\n]", impatient);
    assert!(text.contains(impatient));
    let pair = Pair { lockgate: Lockgate::run(LOCKGATE, &text).unwrap(), origin };
    for (body, status) in [("hel", 408), ("hello", 504)] {
        let request = format!("POST /hang HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n{body}");
        assert_eq!(pair.answer(request), Some(status), "{body}");
    }
    pair.serves();
}

#[test]
fn what_follows_a_body_is_judged_by_itself() {
    let pair = Pair::start();
    let post = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let mut client = pair.connect();
    client.send(format!("{post} and more\r\n\r\n")).unwrap();
    assert_eq!(client.response(false).unwrap().body, b"hello");
    match client.response(false) {
        Ok(response) => assert_eq!(response.status, 400),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "{error}"),
    }
    assert_eq!(pair.origin.requests(), 1);
    let mut client = pair.connect();
    client
        .send("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n")
        .unwrap();
    match client.response(false) {
        Ok(response) => assert!(response.status >= 400, "{}", response.status),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "{error}"),
    }
    pair.serves();
}

#[test]
fn a_request_behind_a_body_is_answered_or_the_end_announced() {
    let pair = Pair::start();
    let mut client = pair.connect();
    let post = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    client.send(format!("{post}{}{post}", get("/"))).unwrap();
    for body in [b"hello", &*pair.origin.site().page.1, b"hello"] {
        let response = client.response(false).unwrap();
        assert_eq!(response.body, body);
        if response.header("connection") == Some("close") {
            break;
        }
    }
}

/// An application that answers at once and reads no body.
fn hasty_application() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = |mut stream: TcpStream| {
        let mut head = [0; 256];
        let _ = stream.read(&mut head);
        let _ = stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo much");
        let _ = stream.shutdown(std::net::Shutdown::Write);
        // It closes properly: the rest is taken and thrown away, a reset would take the answer with it.
        let _ = std::io::copy(&mut stream, &mut std::io::sink());
    };
    thread::spawn(move || listener.incoming().flatten().for_each(|stream| drop(thread::spawn(move || serve(stream)))));
    address
}

#[test]
fn an_answer_before_the_end_of_the_upload_arrives() {
    let lockgate = Lockgate::run(LOCKGATE, &config(hasty_application(), "off")).unwrap();
    for _ in 0..5 {
        let mut client = Connection::open(lockgate.address()).unwrap();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8000000\r\n\r\n").unwrap();
        let mut stream = client.stream().try_clone().unwrap();
        let upload = thread::spawn(move || stream.write_all(&vec![b'x'; 8_000_000]));
        let response = client.response(false).unwrap();
        assert_eq!((response.status, response.text().as_str()), (413, "too much"));
        drop(client);
        let _ = upload.join().unwrap();
    }
}

#[test]
fn clients_that_reset_in_the_middle_harm_nobody() {
    let pair = Pair::start();
    for _ in 0..50 {
        let mut client = pair.connect();
        client.send(get("/big")).unwrap();
        client.take(100).unwrap();
        // What was not read turns the close into a reset.
        drop(client);
    }
    pair.serves();
    let log = pair.lockgate.file("access.log");
    poll(Duration::from_secs(5), || (fs::read_to_string(&log).ok()?.lines().count() >= 51).then_some(()))
        .expect("a request that was reset has no log line");
}

/// Whatever the log is, requests are served and the end comes in time.
fn serves_and_stops(mut pair: Pair) -> String {
    let mut client = pair.connect();
    let path = format!("/status/200?{}", "x".repeat(1000));
    for _ in 0..1000 {
        assert_eq!(client.exchange(get(&path)).unwrap().status, 200);
    }
    drop(client);
    pair.serves();
    let since = Instant::now();
    pair.lockgate.signal(Signal::TERM);
    let status = pair.lockgate.wait(DRAIN + Duration::from_secs(3)).unwrap();
    assert!(status.success(), "{status}: {}", pair.lockgate.output());
    assert!(since.elapsed() < DRAIN + Duration::from_secs(1), "{:?}", since.elapsed());
    pair.lockgate.output()
}

#[test]
fn a_log_pipe_that_nobody_reads_stops_nothing() {
    let directory = test_support::scratch_dir().unwrap();
    let pipe = directory.path().join("log");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Opened by us, so that opening it does not wait for a reader; nobody ever reads.
    let held = fs::File::options().read(true).write(true).open(&pipe).unwrap();
    let output = serves_and_stops(Pair::logging(&pipe.display().to_string()));
    // A megabyte of lines does not fit into a pipe.
    assert!(output.contains("they are lost"), "{output}");
    drop(held);
}

#[test]
fn a_full_disk_under_the_log_stops_nothing() {
    serves_and_stops(Pair::logging("/dev/full"));
}

#[test]
fn a_log_that_cannot_be_opened_is_a_clear_error() {
    let directory = test_support::scratch_dir().unwrap();
    let file = directory.path().join("lockgate.toml");
    let log = directory.path().join("absent/access.log");
    fs::write(&file, config("127.0.0.1:1".parse().unwrap(), &log.display().to_string())).unwrap();
    let mut command = Command::new(LOCKGATE);
    command.args(["run", "--config"]).arg(&file);
    let (status, output) = outcome(&command);
    assert_eq!(status, Some(1), "{output}");
    assert!(output.contains("access log") && output.contains(&log.display().to_string()), "{output}");
}

/// An application that answers every request with these bytes, and goes on unless `last`.
fn application(answer: Vec<u8>, last: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move |mut stream: TcpStream, answer: Vec<u8>| {
        let mut head = [0; 4096];
        while stream.read(&mut head).is_ok_and(|read| read > 0) {
            if stream.write_all(&answer).is_err() || last {
                return;
            }
        }
    };
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            thread::spawn(move || serve(stream, answer));
        }
    });
    address
}

#[test]
fn an_application_that_answers_nonsense_is_a_bad_gateway() {
    let huge = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(5_000_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", "a: b\r\n".repeat(100_000));
    let cases: [(&str, &[u8]); 8] = [
        ("two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc"),
        ("no number", b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nab"),
        ("NUL in a value", b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n"),
        ("no status", b"HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n"),
        ("four digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n"),
        ("a huge head", huge.as_bytes()),
        ("100 000 fields", many.as_bytes()),
        ("nothing", b""),
    ];
    for (what, answer) in cases {
        let lockgate = Lockgate::run(LOCKGATE, &config(application(answer.to_vec(), true), "off")).unwrap();
        for _ in 0..2 {
            let mut client = Connection::open(lockgate.address()).unwrap();
            let response = client.exchange(get("/")).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(response.status, 502, "{what}");
        }
    }
}

#[test]
fn what_an_application_sends_beyond_its_answer_reaches_nobody() {
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    for first in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ] {
        let application = application(format!("{first}{poison}").into_bytes(), false);
        let lockgate = Lockgate::run(LOCKGATE, &config(application, "off")).unwrap();
        let mut kept = Connection::open(lockgate.address()).unwrap();
        for round in 0..10 {
            let mut fresh = Connection::open(lockgate.address()).unwrap();
            for client in [&mut kept, &mut fresh] {
                let response = client.exchange(get("/")).unwrap_or_else(|error| panic!("{first:?} {round}: {error}"));
                assert!(matches!(response.text().as_str(), "ok" | ""), "{first:?} {round}: {}", response.text());
            }
        }
    }
}

#[test]
fn interim_answers_without_end_are_no_reason_to_wait_without_end() {
    let mut flood = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".repeat(50_000);
    flood.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let lockgate = Lockgate::run(LOCKGATE, &config(application(flood, true), "off")).unwrap();
    let mut client = Connection::open(lockgate.address()).unwrap();
    let since = Instant::now();
    let response = client.exchange(get("/")).unwrap();
    assert!(matches!(response.status, 200 | 502), "{}", response.status);
    assert!(since.elapsed() < Duration::from_secs(15), "{:?}", since.elapsed());
}

#[test]
fn a_switch_that_nobody_asked_for_is_a_bad_gateway() {
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
    let lockgate = Lockgate::run(LOCKGATE, &config(application(switch.to_vec(), false), "off")).unwrap();
    let mut client = Connection::open(lockgate.address()).unwrap();
    assert_eq!(client.exchange(get("/")).unwrap().status, 502);
}

#[test]
fn chunks_that_two_parsers_could_read_in_two_ways_smuggle_nothing() {
    let pair = Pair::start();
    let smuggled = get("/status/299");
    let variants = [
        format!("5\nhello\r\n0\r\n\r\n{smuggled}"),
        format!("0x5\r\nhello\r\n0\r\n\r\n{smuggled}"),
        format!("+5\r\nhello\r\n0\r\n\r\n{smuggled}"),
        format!("-5\r\nhello\r\n0\r\n\r\n{smuggled}"),
        format!("5\r\nhelloXX0\r\n\r\n{smuggled}"),
        format!("10000000000000005\r\nhello\r\n0\r\n\r\n{smuggled}"),
        format!("ffffffffffffffff\r\nhello\r\n0\r\n\r\n{smuggled}"),
        format!("5;{}\r\nhello\r\n0\r\n\r\n{smuggled}", "x".repeat(1_000_000)),
        format!("5;a=\"\n\"\r\nhello\r\n0\r\n\r\n{smuggled}"),
        format!("5\r\nhello\r\n0\r\nContent-Length: 7\r\n\r\n{smuggled}"),
        format!("5\r\nhello\r\n0\r\n{}\r\n{smuggled}", "a: b\r\n".repeat(100_000)),
        format!("5\r\nhello\r\n0\n\n{smuggled}"),
    ];
    let mut allowed = 2 * variants.len();
    for chunks in variants {
        let what = &chunks[..chunks.len().min(40)];
        let mut client = pair.connect();
        let _ = client.send(format!("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"));
        match client.response(false) {
            Ok(response) if response.status == 200 => {
                assert_eq!(response.body, b"hello", "{what:?}");
                // What follows a whole body is a request like any other.
                if let Ok(next) = client.response(false) {
                    assert!(matches!(next.status, 299 | 400), "{what:?}: {}", next.status);
                    allowed += 1;
                }
            }
            Ok(response) => {
                assert!(matches!(response.status, 400 | 408 | 413 | 431 | 502), "{what:?}: {}", response.status);
                assert!(client.response(false).is_err(), "{what:?} is refused, and yet the connection goes on");
            }
            Err(error) => {
                assert!(
                    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset),
                    "{what:?}: {error}"
                );
            }
        }
        pair.serves();
    }
    // A request in a refused body is none.
    assert!(pair.origin.requests() <= allowed, "{} of {allowed}", pair.origin.requests());
}

#[test]
fn a_chunk_without_a_size_ends_the_connection() {
    let pair = Pair::start();
    let mut client = pair.connect();
    let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(format!("{head}\r\n5\r\nhello\r\n0\r\n\r\n{}", get("/status/299"))).unwrap();
    // Pingora's parser takes it for a size of 0. Then nothing that follows may be believed.
    match client.response(false) {
        Ok(response) => assert!(response.status >= 400 || response.body.is_empty(), "{}", response.text()),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "{error}"),
    }
    assert!(client.response(false).is_err(), "the connection goes on");
    assert!(pair.origin.requests() <= 1, "{}", pair.origin.requests());
    pair.serves();
}

#[test]
fn a_visitor_who_does_not_read_is_no_burden() {
    let mut pair = Pair::start();
    let deaf: Vec<_> = (0..50)
        .map(|_| {
            let mut client = pair.connect();
            client.send(get("/big").repeat(3)).unwrap();
            client
        })
        .collect();
    let site = pair.origin.site().behind(vec![pair.lockgate.address()]);
    let visitors = Visitors::start(&Place::Loopback, &site, 8);
    assert!(visitors.wait_for(200, Duration::from_secs(30)));
    let report = visitors.stop();
    assert_eq!(report.failed, 0, "{:#?}", report.reasons);
    // They do not delay the end beyond its deadline either.
    let since = Instant::now();
    pair.lockgate.signal(Signal::TERM);
    assert!(pair.lockgate.wait(DRAIN + Duration::from_secs(3)).unwrap().success());
    assert!(since.elapsed() < DRAIN + Duration::from_secs(1), "{:?}", since.elapsed());
    drop(deaf);
}
