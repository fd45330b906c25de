//! Error pages of one's own, wherever the error was found; and the page of statistics.

use std::{fs, process::Command, time::Duration};

use test_support::{Connection, Lockgate, Origin, Place, Process, Response, Tinyproxy, scratch_dir};

use crate::support::LOCKGATE;

const TEMPLATE: &str = "<p>{errno}|{cause}|{url}|{package}|{clienthost}</p>";

#[test]
fn every_error_has_its_page() {
    let directory = scratch_dir().unwrap();
    let file = directory.path().join("page.html");
    fs::write(&file, TEMPLATE).unwrap();
    let config = format!(
        "[[listener]]\nname = \"proxy\"\naddress = [\"127.0.0.1:0\"]\n\
         [[route]]\nhost = [\"127.0.0.1\", \"nobody.invalid\"]\n\
         chain = [{{ use = \"error-pages\", default = \"{}\" }}, {{ use = \"forward\", connect_ports = [1] }}]\n",
        file.display()
    );
    let lockgate = Lockgate::run(LOCKGATE, &config).unwrap();
    let ask = |request: &str| Connection::open(lockgate.address()).unwrap().exchange(request).unwrap();
    let origin = Origin::start().unwrap();
    let to = origin.address();
    for (request, status, page) in [
        ("GET http://127.0.0.1:1/a'b HTTP/1.1\r\nHost: a\r\n\r\n", 502, "502|Bad Gateway|http://127.0.0.1:1/a&#39;b"),
        ("GET http://nobody.invalid/ HTTP/1.1\r\nHost: a\r\n\r\n", 502, "502|Bad Gateway|http://nobody.invalid/"),
        ("CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: a\r\n\r\n", 502, "502|Bad Gateway|127.0.0.1:1"),
        ("CONNECT 127.0.0.1:2 HTTP/1.1\r\nHost: a\r\n\r\n", 403, "403|Access violation|127.0.0.1:2"),
        // No route takes these, and nothing at all can be done with these.
        ("GET http://other.example/ HTTP/1.1\r\nHost: a\r\n\r\n", 404, "404|Not Found|"),
        ("CONNECT other.example:1 HTTP/1.1\r\nHost: a\r\n\r\n", 405, "405|Method Not Allowed|"),
        ("nonsense\r\n\r\n", 400, "400|Bad Request|"),
        ("GET / HTTP/1.1\r\n\r\n", 400, "400|Bad Request|"),
    ] {
        let response = ask(request);
        assert_eq!(response.status, status, "{request}");
        let text = response.text();
        assert!(
            text.starts_with(&format!("<p>{page}")) && text.ends_with("|lockgate|{clienthost}</p>"),
            "{request} gave {text}"
        );
        assert_eq!(response.header("content-type"), Some("text/html"), "{request}");
    }
    let own = ask(&format!("GET http://{to}/status/404 HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!((own.status, own.text().contains("lockgate")), (404, false), "the application's page is its own");
    fs::remove_file(&file).unwrap();
    let built_in = ask("GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(built_in.text().contains("cannot be reached"), "{}", built_in.text());
}

/// The same file, the same requests: what the pages say is what tinyproxy's say.
#[test]
fn error_files_are_tinyproxys() {
    let directory = scratch_dir().unwrap();
    let template = "{errno}|{cause}|{clientip}|{package}|{unknown}|{{errno}}|{Errno}";
    for name in ["default.html", "500.html"] {
        fs::write(directory.path().join(name), format!("{name}: {template}")).unwrap();
    }
    let settings = format!(
        "DefaultErrorFile \"{0}/default.html\"\nErrorFile 500 \"{0}/500.html\"\nErrorFile 500 \"{0}/second.html\"\n\
         ErrorFile 403 \"{0}/missing.html\"\nConnectPort 443\nDisableViaHeader Yes\n",
        directory.path().display()
    );
    let (theirs, _ours, address) = both(directory.path(), &settings);
    for (request, page) in [
        (
            "GET http://127.0.0.1:1/ HTTP/1.0\r\nHost: a\r\n\r\n",
            "500.html: 500|Unable to connect|127.0.0.1|tinyproxy|{unknown}|{500}|{Errno}",
        ),
        ("CONNECT 127.0.0.1:443 HTTP/1.0\r\nHost: a\r\n\r\n", "500.html: 500|Unable to connect|"),
        ("GET http://nobody.invalid/ HTTP/1.0\r\nHost: a\r\n\r\n", "500.html: 500|Unable to connect|"),
        ("nonsense\r\n\r\n", "default.html: 400|Bad Request|"),
    ] {
        let ask = |address| -> Response { Connection::open(address).unwrap().exchange(request).unwrap() };
        let (theirs, ours) = (ask(theirs.addresses()[0]), ask(address));
        assert!(theirs.text().starts_with(page), "tinyproxy says {} to {request}", theirs.text());
        assert_eq!((ours.status, ours.text()), (theirs.status, theirs.text()), "{request}");
        assert_eq!(ours.header("content-type"), theirs.header("content-type"), "{request}");
    }
    // A file that is missing is the built-in page, not the default one.
    let request = "CONNECT 127.0.0.1:1 HTTP/1.0\r\nHost: a\r\n\r\n";
    for address in [theirs.addresses()[0], address] {
        let response = Connection::open(address).unwrap().exchange(request).unwrap();
        assert_eq!((response.status, response.text().contains("default.html")), (403, false), "{}", response.text());
    }
}

/// Lockgate as tinyproxy with these lines, and the real one.
fn both(directory: &std::path::Path, settings: &str) -> (Tinyproxy, Process, std::net::SocketAddr) {
    let theirs = Tinyproxy::start_at(&Place::Loopback, 0, settings).unwrap();
    let reserved = Place::Loopback.reserve(std::net::Ipv4Addr::LOCALHOST, 0).unwrap();
    let conf = directory.join("tinyproxy.conf");
    fs::write(&conf, format!("Port {}\nListen 127.0.0.1\n{settings}", reserved.port())).unwrap();
    let mut ours = Process::spawn(Command::new(LOCKGATE).args(["tinyproxy", "-d", "-c"]).arg(&conf)).unwrap();
    ours.wait_for_port(&Place::Loopback, reserved.address(), Duration::from_secs(20)).unwrap();
    (theirs, ours, reserved.address())
}

#[test]
fn statistics_are_where_tinyproxys_are() {
    let directory = scratch_dir().unwrap();
    let file = directory.path().join("stats.html");
    fs::write(&file, "{package} {refusedconns} {clientip} {nothing}").unwrap();
    for (settings, host) in [
        (format!("StatFile \"{}\"\n", file.display()), "tinyproxy.stats"),
        (format!("StatFile \"{}\"\nStatHost \"Counted.example\"\n", file.display()), "Counted.example"),
    ] {
        let (theirs, _ours, address) = both(directory.path(), &settings);
        for request in [
            format!("GET / HTTP/1.0\r\nHost: {host}\r\n\r\n"),
            format!("GET /any/path HTTP/1.0\r\nHost: {host}:8888\r\n\r\n"),
            format!("GET http://{host}/ HTTP/1.0\r\nHost: {host}\r\n\r\n"),
        ] {
            let ask = |address| Connection::open(address).unwrap().exchange(&request).unwrap();
            let (theirs, ours) = (ask(theirs.addresses()[0]), ask(address));
            assert_eq!((theirs.status, theirs.text().as_str()), (200, "tinyproxy 0 127.0.0.1 {nothing}"), "{request}");
            assert_eq!((ours.status, ours.text()), (theirs.status, theirs.text()), "{request}");
            assert_eq!(ours.header("content-type"), theirs.header("content-type"), "{request}");
        }
    }
}

#[test]
fn prometheus_reads_counters_that_outlive_a_reload() {
    let origin = Origin::start().unwrap();
    let config = format!(
        "[[listener]]\nname = \"http\"\naddress = [\"127.0.0.1:0\"]\n[[route]]\nchain = [\n\
         {{ use = \"stats\", path = \"/metrics\", format = \"prometheus\" }},\n{{ use = \"upstream\", servers = [\"{}\"] }},\n]\n",
        origin.address()
    );
    let mut lockgate = Lockgate::run(LOCKGATE, &config).unwrap();
    let ask = |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        Connection::open(lockgate.address()).unwrap().exchange(request).unwrap()
    };
    for _ in 0..3 {
        assert_eq!(ask("/").status, 200);
    }
    let counted = |text: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix("lockgate_requests_total ")).unwrap();
        line.parse().unwrap()
    };
    assert_eq!(counted(&ask("/metrics").text()), 4);
    lockgate.signal(test_support::Signal::HUP);
    test_support::poll(Duration::from_secs(20), || lockgate.output().contains("file finished").then_some(())).unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
    let text = Connection::open(lockgate.address()).unwrap().exchange(request).unwrap().text();
    assert_eq!(counted(&text), 5, "{text}");
}
