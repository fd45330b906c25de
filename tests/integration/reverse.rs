//! Paths mapped to applications, and header fields on the way there: `reverse-path` and `headers` in the running program.
//!
//! The same requests go through tinyproxy: what the client gets and what the application sees must be the same, but for
//! deviations that are listed with their reasons.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::Command,
    thread,
};

use test_support::{
    Connection, Lockgate, Origin, Place, Process, Reservation, Response, Tinyproxy, TlsSite, scratch_dir,
};

use crate::support::LOCKGATE;

/// An application that answers with what it saw: the request's head and body. The request's `X-Location` becomes the
/// `Location` of the answer, and `X-Via` its `Via`.
struct Mirror(SocketAddr);

impl Mirror {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                // A client that goes away in the middle ends its thread only.
                thread::spawn(move || while reflect(&stream).is_some() {});
            }
        });
        Self(address)
    }
}

fn reflect(mut stream: &TcpStream) -> Option<()> {
    let mut seen = Vec::new();
    let end = loop {
        if let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        read_more(stream, &mut seen)?;
    };
    let head = String::from_utf8_lossy(&seen[..end]).into_owned();
    let field = |wanted: &str| {
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.to_owned())
    };
    let length = field("content-length").map_or(0, |length| length.parse::<usize>().unwrap());
    while seen.len() < end + length {
        read_more(stream, &mut seen)?;
    }
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", seen.len());
    for (from, to) in [("x-location", "Location"), ("x-via", "Via")] {
        if let Some(value) = field(from) {
            let _ = write!(answer, "{to}: {value}\r\n");
        }
    }
    answer.push_str("\r\n");
    stream.write_all(answer.as_bytes()).ok()?;
    if !head.starts_with("HEAD ") {
        stream.write_all(&seen).ok()?;
    }
    Some(())
}

fn read_more(mut stream: &TcpStream, seen: &mut Vec<u8>) -> Option<()> {
    let mut piece = [0; 4096];
    let read = stream.read(&mut piece).ok().filter(|read| *read > 0)?;
    seen.extend_from_slice(&piece[..read]);
    Some(())
}

/// Lockgate and tinyproxy, with the same configuration.
struct Pair {
    lockgate: Lockgate,
    tinyproxy: Tinyproxy,
}

impl Pair {
    fn start(chain: &str, directives: &str) -> Self {
        Self {
            lockgate: Lockgate::run(LOCKGATE, &config(chain)).unwrap(),
            tinyproxy: Tinyproxy::start_at(&Place::Loopback, 0, directives).unwrap(),
        }
    }

    /// Every request gets the same through both, and is seen the same by the application, but for those that deviate.
    fn compare(&self, requests: &[(&str, String)], deviations: &[Deviation]) {
        let mut wrong = String::new();
        for (name, request) in requests {
            let ours = outcome(self.lockgate.address(), request).unwrap();
            let theirs = outcome(self.tinyproxy.addresses()[0], request).unwrap();
            let deviation = deviations.iter().find(|deviation| deviation.request == *name);
            let is_right = match deviation {
                None => ours == theirs,
                // One that is no deviation any more must leave the list.
                Some(deviation) => ours != theirs && ours.contains(deviation.ours),
            };
            if !is_right {
                let reason = deviation.map_or("must be equal", |deviation| deviation.reason);
                let _ = writeln!(wrong, "{name} ({reason}):\n--- lockgate\n{ours}\n--- tinyproxy\n{theirs}\n");
            }
        }
        for Deviation { request, .. } in deviations {
            assert!(requests.iter().any(|(name, _)| name == request), "{request} is no request");
        }
        assert!(wrong.is_empty(), "{wrong}\n{}", self.lockgate.output());
    }
}

/// A request that gets something else than from tinyproxy.
struct Deviation {
    request: &'static str,
    /// What is seen through Lockgate only.
    ours: &'static str,
    reason: &'static str,
}

fn config(chain: &str) -> String {
    format!(
        "[[listener]]\nname = \"proxy\"\naddress = [\"127.0.0.1:0\"]\n[[route]]\nname = \"site\"\nchain = [\n{chain}\n]\n"
    )
}

/// What came of a request, without what is not the plugins' business: framing, connections, and the text of error pages.
fn outcome(proxy: SocketAddr, request: &str) -> io::Result<String> {
    let response = Connection::open(proxy)?.exchange(request)?;
    let mut shown = response.status.to_string();
    for name in ["location", "set-cookie", "via"] {
        for (_, value) in response.headers.iter().filter(|(known, _)| known == name) {
            let _ = write!(shown, "\n{name}: {value}");
        }
    }
    if response.status == 200 {
        let _ = write!(shown, "\n\n{}", reflection(&response));
    }
    Ok(shown)
}

/// What the application saw: the request line without the version, fields in the order of their names, the body.
fn reflection(response: &Response) -> String {
    let text = response.text();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return text };
    let mut lines = head.lines();
    let line = lines.next().and_then(|line| line.rsplit_once(' ')).map_or("", |(line, _)| line);
    let mut fields: Vec<_> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .filter(|(name, _)| name != "connection")
        .collect();
    fields.sort();
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    format!("{line}\n{fields}\n{body}")
}

fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: site.example\r\n{fields}\r\n")
}

/// As the reference calls itself in `Via`.
fn comment() -> String {
    let output = Command::new("tinyproxy").arg("-v").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let version = text.split_whitespace().last().unwrap();
    let is_old = version.starts_with("1.10") || ["1.11.0", "1.11.1", "1.11.2"].contains(&version);
    if is_old { format!("(tinyproxy/{version})") } else { "(tinyproxy)".to_owned() }
}

/// A site of several applications behind both proxies, which serve nothing else.
struct Mapped {
    pair: Pair,
    at: SocketAddr,
    origin: Origin,
    /// Nobody listens there.
    _gone: Reservation,
}

impl Mapped {
    fn start() -> Self {
        let (mirror, origin) = (Mirror::start(), Origin::start().unwrap());
        let gone = Place::Loopback.reserve([127, 0, 0, 1], 0).unwrap();
        let at = mirror.0;
        // In the order in which they are tried; tinyproxy tries the last one first.
        let paths = [
            ("/app/deep/", format!("http://{at}/deeper/")),
            ("/app/", format!("http://{at}/inner/")),
            ("/bare", format!("http://{at}/p")),
            ("/origin/", format!("http://{}/", origin.address())),
            ("/gone/", format!("http://{}/", gone.address())),
        ];
        let ours: Vec<_> = paths.iter().map(|(path, to)| format!("{{ path = \"{path}\", to = \"{to}\" }}")).collect();
        let theirs: String =
            paths.iter().rev().map(|(path, to)| format!("ReversePath \"{path}\" \"{to}\"\n")).collect();
        let chain = format!(
            "{{ use = \"headers\", via = \"lock.example {}\" }},\n\
             {{ use = \"reverse-path\", magic = true, only = true, forwarded = false, unreachable_status = 500,\n\
                base_url = \"http://site.example/\", paths = [{}] }}",
            comment(),
            ours.join(", ")
        );
        let directives = format!(
            "ViaProxyName \"lock.example\"\nReverseMagic Yes\nReverseOnly Yes\n\
             ReverseBaseURL \"http://site.example/\"\n{theirs}"
        );
        Self { pair: Pair::start(&chain, &directives), at, origin, _gone: gone }
    }
}

#[test]
fn paths_lead_where_tinyproxy_leads_them() {
    let site = Mapped::start();
    let requests = [
        ("a path", get("/app/x/y", "")),
        ("a path with a query", get("/app/x?q=/app/&r=%20", "")),
        ("a path alone", get("/app/", "")),
        ("a query alone", get("/app/?q", "")),
        ("a deeper path", get("/app/deep/x", "")),
        ("two slashes", get("/app//x", "")),
        ("encoded characters", get("/app/%41%2Fb", "")),
        ("a prefix that is no folder", get("/bare/x", "")),
        ("without the slash", get("/app", "")),
        ("deeper without the slash", get("/app/deep", "")),
        ("without the slash but with a query", get("/app?x", "")),
        ("without the slash, configured so", get("/bare", "")),
        ("in upper case", get("/APP/x", "")),
        ("a longer name", get("/apple/x", "")),
        ("an encoded letter", get("/%61pp/x", "")),
        ("two slashes first", get("//app/x", "")),
        ("nothing mapped", get("/", "")),
        ("a path that leaves its target", get("/app/../secret", "")),
        ("an encoded path that leaves its target", get("/app/%2e%2e/secret", "")),
        ("a way up that stays", get("/app/x/../y", "")),
    ];
    let deviations = [
        Deviation {
            request: "a path that leaves its target",
            ours: "400",
            reason: "`to` would not bound what visitors reach",
        },
        Deviation { request: "an encoded path that leaves its target", ours: "400", reason: "servers decode it" },
    ];
    site.pair.compare(&requests, &deviations);
}

#[test]
fn requests_of_every_kind_arrive_as_through_tinyproxy() {
    let site = Mapped::start();
    let at = site.at;
    let requests = [
        ("a URL", get(&format!("http://{at}/app/x"), "")),
        ("a tunnel", format!("CONNECT {at} HTTP/1.1\r\nHost: {at}\r\n\r\n")),
        ("the whole server", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("a head", "HEAD /app/x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("a method of its own", "BREW /app/x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("a body", "POST /app/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello".to_owned()),
        ("a body echoed", "POST /origin/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello".to_owned()),
        (
            "a body in chunks",
            "PUT /origin/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                .to_owned(),
        ),
        ("a status", get("/origin/status/404", "")),
        ("an application that is not there", get("/gone/", "")),
        ("fields", get("/app/", "Accept: a\r\nX-B: c; d\r\nAuthorization: e\r\nUser-Agent: f\r\n")),
    ];
    site.pair.compare(&requests, &[]);
}

#[test]
fn a_cookie_remembers_what_tinyproxy_remembers() {
    let site = Mapped::start();
    let cookie = |value: &str| format!("Cookie: {value}\r\n");
    let requests = [
        ("a remembered path", get("/style.css?v", &cookie("yummy_magical_cookie=/app/"))),
        ("a remembered path among cookies", get("/x", &cookie("a=b; yummy_magical_cookie=/app/deep/; c=d"))),
        ("a mapped path with a cookie", get("/bare/x", &cookie("yummy_magical_cookie=/app/"))),
        ("a cookie for nothing", get("/x", &cookie("yummy_magical_cookie=/other/"))),
        ("a cookie in upper case", get("/x", &cookie("yummy_magical_cookie=/APP/"))),
        ("a cookie for more than a path", get("/x", &cookie("yummy_magical_cookie=/app/x"))),
        ("a cookie without the slash at the end of the path", get("/x", &cookie("yummy_magical_cookie=/app"))),
        ("a cookie whose name ends like it", get("/x", &cookie("not_yummy_magical_cookie=/app/"))),
    ];
    let deviations =
        [Deviation { request: "a cookie whose name ends like it", ours: "400", reason: "it is another cookie" }];
    site.pair.compare(&requests, &deviations);
}

#[test]
fn locations_are_what_tinyproxy_makes_of_them() {
    let site = Mapped::start();
    let (at, origin) = (site.at, site.origin.address());
    let location = |url: &str| get("/app/", &format!("X-Location: {url}\r\n"));
    let requests = [
        ("an own location", location(&format!("http://{at}/inner/login?to=/"))),
        ("an own location in upper case", location(&format!("HTTP://{at}/INNER/Login"))),
        ("a location of another mapping", location(&format!("http://{origin}/x"))),
        ("a location elsewhere", location("http://other.example/inner/")),
        ("a location without a host", location("/inner/login")),
    ];
    site.pair.compare(&requests, &[]);
}

#[test]
fn fields_are_what_tinyproxy_makes_of_them() {
    let mirror = Mirror::start();
    let (at, comment) = (mirror.0, comment());
    let paths = format!("paths = [{{ path = \"/\", to = \"http://{at}/\" }}], only = true, forwarded = false");
    let chain = format!(
        "{{ use = \"headers\", via = \"lock.example {comment}\", client_address = \"X-Tinyproxy\",\n\
            add = [{{ name = \"X-Added\", value = \"1\" }}, {{ name = \"x-more\", value = \"a, b\" }}] }},\n\
         {{ use = \"reverse-path\", {paths} }}"
    );
    let directives = format!(
        "ViaProxyName \"lock.example\"\nXTinyproxy Yes\nAddHeader \"X-Added\" \"1\"\nAddHeader \"x-more\" \"a, b\"\n\
         ReverseOnly Yes\nReversePath \"/\" \"http://{at}/\"\n"
    );
    let requests = [
        ("no fields", get("/", "")),
        ("some fields", get("/", "Accept: a\r\nCookie: b=c\r\nReferer: d\r\n")),
        ("an earlier proxy", get("/", "Via: 1.0 inner (x)\r\n")),
        ("a proxy behind", get("/", "X-Via: 1.0 behind\r\n")),
        ("fields of the connection", get("/", "Connection: X-Secret\r\nX-Secret: 1\r\nKeep-Alive: 5\r\n")),
        ("a claim", get("/", "X-Tinyproxy: 203.0.113.1\r\n")),
        ("a field that is added too", get("/", "x-added: 0\r\n")),
        ("an old client", "GET / HTTP/1.0\r\nHost: a\r\n\r\n".to_owned()),
        ("an answer of the proxy", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n".to_owned()),
    ];
    let deviations = [
        Deviation {
            request: "a claim",
            ours: "x-tinyproxy: 127.0.0.1\n",
            reason: "who asks is not the client's to say",
        },
        Deviation {
            request: "a field that is added too",
            ours: "x-added: 0\nx-added: 1\n",
            reason: "releases before 1.11.3 do not add what the client sent already",
        },
        Deviation {
            request: "an old client",
            ours: "200\nvia: 1.1 lock.example",
            reason: "`Via` has the version that was received, and the server's was 1.1",
        },
    ];
    Pair::start(&chain, &directives).compare(&requests, &deviations);
}

#[test]
fn clients_are_as_anonymous_as_behind_tinyproxy() {
    let mirror = Mirror::start();
    let (at, comment) = (mirror.0, comment());
    let paths = format!("paths = [{{ path = \"/\", to = \"http://{at}/\" }}], only = true, forwarded = false");
    let chain = format!(
        "{{ use = \"headers\", via = \"lock.example {comment}\", keep = [\"Accept\", \"x-KEPT\"], client_address = \"X-Tinyproxy\",\n\
            add = [{{ name = \"X-Kept\", value = \"2\" }}] }},\n\
         {{ use = \"reverse-path\", {paths} }}"
    );
    let directives = format!(
        "ViaProxyName \"lock.example\"\nXTinyproxy Yes\nAnonymous \"Accept\"\nAnonymous \"x-KEPT\"\nAddHeader \"X-Kept\" \"2\"\n\
         ReverseOnly Yes\nReversePath \"/\" \"http://{at}/\"\n"
    );
    let identity = "User-Agent: a\r\nCookie: b=c\r\nReferer: d\r\nX-Forwarded-For: e\r\nAuthorization: f\r\n";
    let requests = [
        ("nothing kept", get("/", identity)),
        ("something kept", get("/", &format!("ACCEPT: x\r\nAccepted: y\r\n{identity}"))),
        ("an earlier proxy", get("/", &format!("Via: 1.1 inner\r\n{identity}"))),
        (
            "a body",
            format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Type: text/x\r\nContent-Length: 5\r\n{identity}\r\nhello"),
        ),
    ];
    Pair::start(&chain, &directives).compare(&requests, &[]);
}

/// Without `only`, what no path matches goes on down the chain: in tinyproxy, to the host that the client names.
#[test]
fn what_is_not_mapped_goes_on() {
    let (mapped, other) = (Mirror::start(), Mirror::start());
    // Not by its address: tinyproxy takes that for its own, because it listens there too.
    let (at, elsewhere) = (mapped.0, format!("localhost:{}", other.0.port()));
    let chain = format!(
        "{{ use = \"reverse-path\", paths = [{{ path = \"/app/\", to = \"http://{at}/inner/\" }}], forwarded = false }},\n\
         {{ use = \"forward\" }}"
    );
    let directives = format!("DisableViaHeader Yes\nReversePath \"/app/\" \"http://{at}/inner/\"\n");
    let named = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: {elsewhere}\r\n\r\n");
    let requests = [
        ("a mapped path", named("/app/x")),
        ("another path", named("/x?y")),
        ("without the slash but with a query", named("/app?x")),
        ("a URL whose path is mapped", named(&format!("http://{elsewhere}/app/x"))),
    ];
    Pair::start(&chain, &directives).compare(&requests, &[]);
}

#[test]
fn a_certificate_must_have_the_name_in_the_url() {
    let site = TlsSite::start_at(&Place::Loopback, 0, &["app.example"]).unwrap();
    std::fs::write(site.root().join("page.html"), "a page").unwrap();
    let [ipv4, ipv6] = site.addresses() else { panic!("a TLS site has two addresses") };
    let chain = format!(
        "{{ use = \"reverse-path\", only = true, paths = [\n\
            {{ path = \"/v4/\", to = \"https://{ipv4}/\" }},\n\
            {{ path = \"/v6/\", to = \"https://{ipv6}/\" }},\n\
            {{ path = \"/named/\", to = \"https://localhost:{port}/\" }},\n\
         ] }}",
        port = ipv4.port()
    );
    let directory = scratch_dir().unwrap();
    let file = directory.path().join("lockgate.toml");
    std::fs::write(&file, config(&chain)).unwrap();
    let statuses = |authority: Option<&std::path::Path>| -> Vec<u16> {
        let mut command = Command::new(LOCKGATE);
        command.args(["run", "--config"]).arg(&file);
        if let Some(authority) = authority {
            command.env("SSL_CERT_FILE", authority);
        }
        let mut process = Process::spawn(&command).unwrap();
        let line = process.wait_for_line("a listener", Lockgate::DEADLINE, |line| line.contains("listening")).unwrap();
        let address = line.split_once("address=").unwrap().1.split_whitespace().next().unwrap();
        let address: SocketAddr = address.parse().unwrap();
        // A failure ends its connection.
        let status = |path| Connection::open(address).unwrap().exchange(get(path, "")).unwrap().status;
        ["/v4/page.html", "/v6/page.html", "/named/page.html"].map(status).to_vec()
    };
    assert_eq!(statuses(Some(&site.ca_file())), [200, 200, 502], "`localhost` is not in the certificate");
    assert_eq!(statuses(None), [502, 502, 502], "nobody knows the authority");
}

/// A request that is repeated on a fresh connection is changed as if it were sent the first time.
#[test]
fn a_repeated_request_is_changed_once() {
    let origin = Origin::start().unwrap();
    let chain = format!(
        "{{ use = \"headers\", via = \"lock\", add = [{{ name = \"X-Added\", value = \"1\" }}] }},\n\
         {{ use = \"reverse-path\", only = true, paths = [{{ path = \"/app/\", to = \"http://{}/\" }}] }}",
        origin.address()
    );
    let lockgate = Lockgate::run(LOCKGATE, &config(&chain)).unwrap();
    let mut client = Connection::open(lockgate.address()).unwrap();
    for round in 0..10 {
        assert_eq!(client.exchange(get("/app/reset-idle", "")).unwrap().status, 200);
        // The connection that the first request left behind has been reset, or is being reset.
        let text = client.exchange(get("/app/head", "")).unwrap().text();
        let mut seen: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (name, value) in text.lines().filter_map(|line| line.split_once(": ")) {
            seen.entry(name.to_ascii_lowercase()).or_default().push(value);
        }
        assert!(text.starts_with("GET /head HTTP/1.1\r\n"), "{round}: {text}");
        assert_eq!((&*seen["x-added"], &*seen["via"]), (&["1"][..], &["1.1 lock"][..]), "{round}: {text}");
    }
}

/// Rules hold for every request of a connection, whatever came before it.
#[test]
fn every_request_of_a_connection_is_looked_at() {
    let (mirror, other) = (Mirror::start(), Mirror::start());
    let chain = format!(
        "{{ use = \"headers\", set = [{{ name = \"X-Set\", value = \"1\" }}] }},\n\
         {{ use = \"reverse-path\", only = true, paths = [\n\
            {{ path = \"/a/\", to = \"http://{}/\" }}, {{ path = \"/b/\", to = \"http://{}/sub/\" }} ] }}",
        mirror.0, other.0
    );
    let lockgate = Lockgate::run(LOCKGATE, &config(&chain)).unwrap();
    let mut client = Connection::open(lockgate.address()).unwrap();
    for _ in 0..3 {
        for (target, status, line) in [("/a/x", 200, "GET /x "), ("/secret", 400, ""), ("/b/x", 200, "GET /sub/x ")] {
            let response = client.exchange(get(target, "X-Set: 0\r\n")).unwrap();
            assert_eq!(response.status, status, "{target}");
            let text = response.text();
            if status == 200 {
                assert!(text.starts_with(line), "{text}");
                assert!(text.to_ascii_lowercase().contains("\r\nx-set: 1\r\n") && !text.contains(": 0\r\n"), "{text}");
            } else {
                assert!(text.contains("No mapping found for requested url"), "{text}");
            }
        }
    }
}

#[test]
fn web_sockets_pass_an_anonymous_path() {
    let origin = Origin::start().unwrap();
    let chain = format!(
        "{{ use = \"headers\", keep = [] }},\n\
         {{ use = \"reverse-path\", only = true, paths = [{{ path = \"/app/\", to = \"http://{}/\" }}] }}",
        origin.address()
    );
    let lockgate = Lockgate::run(LOCKGATE, &config(&chain)).unwrap();
    let mut client = Connection::open(lockgate.address()).unwrap();
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n";
    assert_eq!(client.exchange(get("/app/upgrade", upgrade)).unwrap().status, 101);
    client.send("ping").unwrap();
    assert_eq!(client.take(4).unwrap(), b"ping");
}
