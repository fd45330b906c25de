//! `filter` in the running program, beside tinyproxy with the same list and the same requests.

use std::{fs, net::SocketAddr, path::Path, process::Command, time::Duration};

use tempfile::TempDir;
use test_support::{Connection, Origin, Place, Process, Reservation, Signal, Tinyproxy, poll, scratch_dir};

use crate::support::LOCKGATE;

const DEADLINE: Duration = Duration::from_secs(20);

/// A list with its directives, and requests. Hosts are names of this machine, so those that pass reach the origin.
struct Case {
    directives: &'static str,
    list: &'static str,
    /// In which `{port}` is the origin's.
    requests: &'static [&'static str],
}

const fn case(directives: &'static str, list: &'static str, requests: &'static [&'static str]) -> Case {
    Case { directives, list, requests }
}

const CASES: &[Case] = &[
    case("", "127.0.0.1\n", HOSTS),
    case("", "^localhost$\n", HOSTS),
    case("", "LOCAL.*T\n", HOSTS),
    case("", "loc\\(al\\|us\\)host\n", HOSTS),
    case("", "# localhost\n\t^127\\.0 # everything here\n", HOSTS),
    case("", "a\\{0,1\\}lhost$\nx\n", HOSTS),
    case("", "[[:digit:]]\\+\\.0\n", HOSTS),
    case("", "\\<local\n", HOSTS),
    case("", "^*\n(localhost|127)\n", HOSTS),
    case("", "\\d\n", HOSTS),
    case("", "", HOSTS),
    case("FilterDefaultDeny Yes", "", HOSTS),
    case("FilterDefaultDeny Yes", "^localhost$\n", HOSTS),
    case("FilterDefaultDeny Yes\nFilterType ere", "^(127\\.0\\.0\\.1|nobody)$\n", HOSTS),
    case("FilterCaseSensitive Yes", "^Local\n", HOSTS),
    case("FilterCaseSensitive Yes", "[[:upper:]]\n", HOSTS),
    case("FilterType ere", "l(o|u)calhos+t$\n", HOSTS),
    case("FilterExtended Yes", "^(\\w+)$\n", HOSTS),
    // Capitals get nobody past a list here, so both are listed.
    case("FilterType fnmatch", "[Ll]ocal*\n", HOSTS),
    case("FilterType fnmatch", "127.?.?.[!2]\n", HOSTS),
    case("FilterType fnmatch", "local\n127\n", HOSTS),
    case("FilterURLs Yes", "/x\\.gif$\n", URLS),
    case("FilterURLs Yes", "^http://localhost:[0-9]*/\n", URLS),
    case("FilterURLs Yes", "^localhost:\n", URLS),
    case("FilterURLs Yes", "q=%61\n", URLS),
    case("FilterURLs Yes\nFilterType ere", "\\.(gif|exe)(\\?|$)\n", URLS),
    case("FilterURLs Yes\nFilterType fnmatch", "*://127.0.0.1:*/x*\n", URLS),
    case("FilterURLs Yes\nFilterCaseSensitive Yes", "/X\n", URLS),
    case("FilterURLs Yes\nFilterDefaultDeny Yes", "^http://127.0.0.1:[0-9]*/x\n", URLS),
    case("ReversePath \"/r/\" \"http://127.0.0.1:{port}/s/\"\nFilterDefaultDeny Yes", "^127\n", REVERSED),
    case(
        "ReversePath \"/r/\" \"http://127.0.0.1:{port}/s/\"\nReverseOnly Yes\nFilterDefaultDeny Yes",
        "nothing\n",
        REVERSED,
    ),
    case("ReversePath \"/r/\" \"http://127.0.0.1:{port}/s/\"\nFilterURLs Yes", "/s/secret\n", REVERSED),
    case("ReversePath \"/r/\" \"http://127.0.0.1:{port}/s/\"\nReverseMagic Yes\nFilterURLs Yes", "/s/x\n", REVERSED),
];

const HOSTS: &[&str] = &[
    "GET http://127.0.0.1:{port}/localhost HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET http://localhost:{port}/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "GET http://LocalHost:{port}/127 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n",
    "POST http://127.0.0.2:{port}/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nlocalhost",
    "CONNECT localhost:{port} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n",
];

const URLS: &[&str] = &[
    "GET http://127.0.0.1:{port}/x.gif HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET http://localhost:{port}/X.GIF?q=%61 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET http://localhost:{port}/?http://127.0.0.1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /x.gif HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n",
    "CONNECT localhost:{port} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n",
];

const REVERSED: &[&str] = &[
    "GET /r/x HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n",
    "GET /r/secret HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n",
    "GET /r HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n",
    "GET /x HTTP/1.1\r\nHost: localhost:{port}\r\nCookie: yummy_magical_cookie=/r/\r\n\r\n",
    "GET http://127.0.0.1:{port}/s/secret HTTP/1.1\r\nHost: a\r\n\r\n",
];

/// Lockgate under tinyproxy's rules.
struct Filtering {
    process: Process,
    directory: TempDir,
    port: Reservation,
}

impl Filtering {
    fn start(directives: &str, list: &str) -> Self {
        let directory = scratch_dir().unwrap();
        let port = Place::Loopback.reserve(std::net::Ipv4Addr::LOCALHOST, 0).unwrap();
        let conf = directory.path().join("tinyproxy.conf");
        let text = format!("Listen 127.0.0.1\nPort {}\nFilter \"list\"\n{directives}\n", port.port());
        fs::write(&conf, text).unwrap();
        fs::write(directory.path().join("list"), list).unwrap();
        let mut command = Command::new(LOCKGATE);
        command.args(["run", "--config"]).arg(&conf).current_dir(directory.path()).env_remove("NOTIFY_SOCKET");
        let mut process = Process::spawn(&command).unwrap();
        process.wait_for_port(&Place::Loopback, port.address(), DEADLINE).unwrap();
        Self { process, directory, port }
    }

    fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Has another list read, until the program says this.
    fn reload(&mut self, list: &str, told: &str) {
        fs::write(self.directory.path().join("list"), list).unwrap();
        let before = self.process.output().len();
        self.process.signal(Signal::HUP);
        let process = &self.process;
        poll(DEADLINE, || process.output()[before..].contains(told).then_some(()))
            .unwrap_or_else(|| panic!("{told} is not told: {}", &process.output()[before..]));
    }
}

fn tinyproxy(directory: &Path, directives: &str, list: &str) -> Tinyproxy {
    let path = directory.join("list");
    fs::write(&path, list).unwrap();
    Tinyproxy::start_at(&Place::Loopback, 0, &format!("Filter \"{}\"\n{directives}\n", path.display())).unwrap()
}

/// The status of the answer.
fn status(proxy: SocketAddr, request: &str) -> u16 {
    let mut client = Connection::open(proxy).unwrap();
    client.send(request).unwrap();
    let line = client.take("HTTP/1.1 200".len()).unwrap();
    String::from_utf8_lossy(&line).split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap()
}

/// The lines about requests that were refused, without what is before the message.
fn refusals(output: &str) -> Vec<String> {
    let lines = output.lines().filter_map(|line| Some(line.split_at(line.find("Proxying refused on filtered ")?).1));
    lines.map(str::to_owned).collect()
}

#[test]
fn requests_are_refused_when_tinyproxy_refuses_them() {
    let origin = Origin::start().unwrap();
    let port = origin.address().port().to_string();
    let (mut wrong, mut compared, mut refused) = (String::new(), 0, 0);
    for Case { directives, list, requests } in CASES {
        let directory = scratch_dir().unwrap();
        let directives = directives.replace("{port}", &port);
        let (lockgate, tinyproxy) =
            (Filtering::start(&directives, list), tinyproxy(directory.path(), &directives, list));
        for request in *requests {
            let request = request.replace("{port}", &port);
            let (ours, theirs) = (status(lockgate.address(), &request), status(tinyproxy.addresses()[0], &request));
            compared += 1;
            refused += usize::from(theirs == 403);
            if ours != theirs {
                let line = request.lines().next().unwrap_or_default();
                wrong.push_str(&format!("{directives} {list:?} {line}: {ours}, tinyproxy {theirs}\n"));
            }
        }
        // Lines come a moment after the answers.
        let both = || (refusals(&lockgate.process.output()), refusals(&tinyproxy.output()));
        if poll(Duration::from_secs(5), || Some(both()).filter(|(ours, theirs)| ours == theirs)).is_none() {
            let (ours, theirs) = both();
            wrong.push_str(&format!("{directives} {list:?}: told {ours:#?}\ntinyproxy {theirs:#?}\n"));
        }
    }
    assert!(compared >= 150 && (50..compared - 50).contains(&refused), "{refused} of {compared}");
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_request_on_a_connection_is_looked_at() {
    let origin = Origin::start().unwrap();
    let lockgate = Filtering::start("", "^localhost$\n");
    let get = |host: &str| format!("GET http://{host}:{}/ HTTP/1.1\r\nHost: a\r\n\r\n", origin.address().port());
    let mut client = Connection::open(lockgate.address()).unwrap();
    for (host, expected) in [("127.0.0.1", 200), ("localhost", 403), ("127.0.0.1", 200), ("LOCALHOST", 403)] {
        assert_eq!(client.exchange(get(host)).unwrap().status, expected, "{host}");
    }
    // In one packet, too.
    client.send(get("127.0.0.1") + &get("localhost")).unwrap();
    assert_eq!((client.response(false).unwrap().status, client.response(false).unwrap().status), (200, 403));
    assert_eq!(origin.requests(), 3);
}

#[test]
fn a_reload_reads_the_list_again_and_a_bad_one_changes_nothing() {
    let origin = Origin::start().unwrap();
    let mut lockgate = Filtering::start("", "^127\n");
    let (by_address, by_name) = (
        format!("GET http://127.0.0.1:{}/ HTTP/1.1\r\nHost: a\r\n\r\n", origin.address().port()),
        format!("GET http://localhost:{}/ HTTP/1.1\r\nHost: a\r\n\r\n", origin.address().port()),
    );
    let statuses =
        |lockgate: &Filtering| (status(lockgate.address(), &by_address), status(lockgate.address(), &by_name));
    assert_eq!(statuses(&lockgate), (403, 200));
    lockgate.reload("^localhost\n", "Reloading config file finished");
    assert_eq!(statuses(&lockgate), (200, 403));
    lockgate.reload("fine\n\\(bad\n", "Bad regex in list: line 2 - \\(bad");
    assert!(lockgate.process.output().contains("Reloading config file failed!"));
    assert_eq!(statuses(&lockgate), (200, 403), "the list before is still there");
    fs::remove_file(lockgate.directory.path().join("list")).unwrap();
    let before = lockgate.process.output().len();
    lockgate.process.signal(Signal::HUP);
    let told =
        poll(DEADLINE, || lockgate.process.output()[before..].contains("cannot read the filter file").then_some(()));
    assert!(told.is_some(), "{}", lockgate.process.output());
    assert_eq!(statuses(&lockgate), (200, 403));
    lockgate.reload("", "Reloading config file finished");
    assert_eq!(statuses(&lockgate), (200, 200));
}

#[test]
fn a_list_that_cannot_be_used_is_told_with_its_line() {
    let directory = scratch_dir().unwrap();
    let (conf, list) = (directory.path().join("t.conf"), directory.path().join("list"));
    fs::write(&conf, format!("Port 8888\nFilter \"{}\"\n", list.display())).unwrap();
    let check = || {
        let output = Command::new(LOCKGATE).args(["check", "--config"]).arg(&conf).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, told) = check();
    assert_eq!(code, Some(64), "{told}");
    assert!(told.contains("t.conf:2:") && told.contains("cannot read the filter file"), "{told}");
    for (text, bad) in
        [("a\n[b # c\n", "line 2 - [b"), ("\\(a\\)\\2\n", "line 1 - \\(a\\)\\2"), ("a**\n", "line 1 - a**")]
    {
        fs::write(&list, text).unwrap();
        let (code, told) = check();
        assert_eq!(code, Some(64), "{told}");
        assert!(told.contains(&format!("Bad regex in {}: {bad}\n", list.display())), "{told}");
    }
    fs::write(&list, "a\n").unwrap();
    assert_eq!(check().0, Some(0));
}

#[test]
fn a_bad_list_has_the_exit_code_that_tinyproxy_gives_it() {
    let directory = scratch_dir().unwrap();
    let (conf, list) = (directory.path().join("t.conf"), directory.path().join("list"));
    fs::write(&list, "[a\n").unwrap();
    let code = |program: &[&str], lines: &str| {
        // An address that nobody has: a file that is accepted by mistake ends, too.
        let text = format!("Port 8888\nListen 192.0.2.1\nFilter \"{}\"\n{lines}", list.display());
        fs::write(&conf, text).unwrap();
        let output = Command::new(program[0]).args(&program[1..]).arg("-c").arg(&conf).output().unwrap();
        output.status.code()
    };
    let (ours, theirs) = (&[LOCKGATE, "tinyproxy", "-d"], &["tinyproxy", "-d"]);
    assert_eq!(code(theirs, ""), Some(65));
    assert_eq!(code(ours, ""), Some(65));
    assert_eq!(code(&ours[..2], ""), Some(65), "whoever starts a daemon learns it, too");
    // The file is read as a whole first, and is worse.
    assert_eq!(code(ours, "NoSuchDirective\n"), Some(70));
}
