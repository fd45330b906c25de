//! The way out: parents and servers over TLS, several of them, and those that cannot be connected.

use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use test_support::{
    Authority, Connection, Lockgate, Network, Origin, Place, Process, Reservation, Response, Signal, Squid, Tinyproxy,
    TlsFront, poll, require, scratch_dir,
};

use crate::support::LOCKGATE;

fn config(chain: &str) -> String {
    format!(
        "[log]\naccess = \"access.log\"\nformat = \"json\"\n\
         [[listener]]\nname = \"proxy\"\naddress = [\"127.0.0.1:0\"]\n\
         [[route]]\nname = \"all\"\nchain = [{chain}]\n"
    )
}

fn run(chain: &str) -> Lockgate {
    Lockgate::run(LOCKGATE, &config(chain)).unwrap()
}

fn forward(keys: &str) -> Lockgate {
    run(&format!("{{ use = \"forward\", {keys} }}"))
}

fn ask(lockgate: &Lockgate, request: impl AsRef<[u8]>) -> Response {
    Connection::open(lockgate.address()).unwrap().exchange(request).unwrap()
}

fn get(url: &str) -> String {
    format!("GET {url} HTTP/1.1\r\nHost: site.example\r\n\r\n")
}

fn connect(to: impl std::fmt::Display) -> String {
    format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n")
}

/// An open tunnel.
fn tunnel(lockgate: &Lockgate, to: SocketAddr) -> Connection {
    let mut client = Connection::open(lockgate.address()).unwrap();
    client.send(connect(to)).unwrap();
    let reply = client.take(b"HTTP/1.1 200 ".len()).unwrap();
    assert_eq!(reply, b"HTTP/1.1 200 ", "{}", String::from_utf8_lossy(&reply));
    while client.take(1).unwrap() != b"\r" || client.take(3).unwrap() != b"\n\r\n" {}
    client
}

/// A port of loopback that nobody listens on, and that no other test gets.
fn closed_port() -> Reservation {
    Place::Loopback.reserve(Place::Loopback.ipv4(), 0).unwrap()
}

/// It says this so often, and not more often; its log comes a moment after what it did.
fn assert_told(lockgate: &Lockgate, what: &str, times: usize) {
    let told = || lockgate.output().matches(what).count();
    poll(Duration::from_secs(20), || (told() >= times).then_some(()));
    assert_eq!(told(), times, "{what}: {}", lockgate.output());
}

fn path(path: &Path) -> String {
    format!("\"{}\"", path.display())
}

#[test]
fn an_https_parent_gets_urls_and_tunnels() {
    let authority = Authority::new().unwrap();
    let origin = Origin::start().unwrap();
    let squid = Squid::start_at(&Place::Loopback, 0, "").unwrap();
    let credentials = authority.issue("parent", &[]).unwrap();
    let parent = TlsFront::start(0, &credentials, squid.addresses()[0], None).unwrap();
    let site = TlsFront::start(0, &credentials, origin.address(), None).unwrap();
    let ca = path(&authority.ca_file());
    let lockgate = forward(&format!(
        "ca = {ca}, parents = [{{ use = \"https\", address = \"{}\", ca = {ca} }}]",
        parent.address()
    ));
    let url = |path: &str| get(&format!("http://{}{path}", origin.address()));
    let mut client = Connection::open(lockgate.address()).unwrap();
    for _ in 0..3 {
        let text = client.exchange(url("/head?q")).unwrap().text();
        assert!(text.starts_with("GET /head?q HTTP/1.1\r\n"), "{text}");
        assert!(text.to_lowercase().contains("via: 1.1 squid.example"), "it came through the parent: {text}");
        assert!(text.to_lowercase().contains(&format!("host: {}", origin.address())), "{text}");
    }
    assert_eq!(client.exchange(url("/big")).unwrap().body, &*origin.site().download.1);
    // A URL of `https` goes through a tunnel of the parent, and is TLS within TLS.
    let secure = get(&format!("https://{}/", site.address()));
    for _ in 0..2 {
        assert_eq!(client.exchange(&secure).unwrap().body, &*origin.site().page.1);
    }
    // Tunnels carry much in both directions.
    let mut through = tunnel(&lockgate, origin.address());
    assert_eq!(through.exchange("GET /big HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().body, &*origin.site().download.1);
    let upload = &origin.site().download.1;
    through.send(format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", upload.len())).unwrap();
    through.send(upload).unwrap();
    assert!(through.response(false).unwrap().body == **upload, "what was sent comes back");
}

#[test]
fn each_direction_of_a_tunnel_within_tls_ends_by_itself() {
    let authority = Authority::new().unwrap();
    let origin = Origin::start().unwrap();
    // squid and tinyproxy end both at once.
    let behind = forward("connect_timeout = \"5s\"");
    let parent = TlsFront::start(0, &authority.issue("parent", &[]).unwrap(), behind.address(), None).unwrap();
    let lockgate = forward(&format!(
        "parents = [{{ use = \"https\", address = \"{}\", ca = {} }}]",
        parent.address(),
        path(&authority.ca_file())
    ));
    let mut client = tunnel(&lockgate, origin.address());
    let upload = &origin.site().download.1;
    client.send(format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", upload.len())).unwrap();
    client.send(upload).unwrap();
    client.stream().shutdown(Shutdown::Write).unwrap();
    assert!(client.response(false).unwrap().body == **upload, "what was sent comes back");
    assert_eq!(client.rest().unwrap(), b"", "the end is passed on");
}

#[test]
fn curl_speaks_tls_with_a_site_through_an_https_parent() {
    require("curl").unwrap();
    let authority = Authority::new().unwrap();
    let origin = Origin::start().unwrap();
    let squid = Squid::start_at(&Place::Loopback, 0, "").unwrap();
    let credentials = authority.issue("parent", &["localhost"]).unwrap();
    let parent = TlsFront::start(0, &credentials, squid.addresses()[0], None).unwrap();
    let site = TlsFront::start(0, &credentials, origin.address(), None).unwrap();
    let keys = format!(
        "parents = [{{ use = \"https\", address = \"{}\", ca = {} }}]",
        parent.address(),
        path(&authority.ca_file())
    );
    let lockgate = forward(&keys);
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "20", "--proxytunnel"]);
    curl.args(["--proxy", &format!("http://{}", lockgate.address())]).arg("--cacert").arg(authority.ca_file());
    let output = curl.arg(format!("https://{}/big", site.address())).env("no_proxy", "").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == *origin.site().download.1);
}

#[test]
fn an_https_parent_gets_credentials_and_its_refusal_is_the_answer() {
    let authority = Authority::new().unwrap();
    let origin = Origin::start().unwrap();
    let tinyproxy = Tinyproxy::start_at(&Place::Loopback, 0, "BasicAuth user secret\n").unwrap();
    let parent = TlsFront::start(0, &authority.issue("parent", &[]).unwrap(), tinyproxy.addresses()[0], None).unwrap();
    let with = |password: &str| {
        forward(&format!(
            "parents = [{{ use = \"https\", address = \"{}\", ca = {}, user = \"user\", password = \"{password}\" }}]",
            parent.address(),
            path(&authority.ca_file())
        ))
    };
    let (right, wrong) = (with("secret"), with("wrong"));
    let url = get(&format!("http://{}/", origin.address()));
    assert_eq!(ask(&right, &url).status, 200);
    assert_eq!(tunnel(&right, origin.address()).exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().status, 200);
    for request in [url, connect(origin.address())] {
        let status = ask(&wrong, &request).status;
        assert!(matches!(status, 401 | 407), "{status} for {request}");
    }
    assert_eq!(ask(&right, connect("127.0.0.1:1")).status, 500, "tinyproxy's own");
}

#[test]
fn a_parent_that_is_not_trusted_gets_nothing() {
    let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let origin = Origin::start().unwrap();
    let site = TlsFront::start(0, &authority.issue("site", &[]).unwrap(), origin.address(), None).unwrap();
    // What a parent gets would be seen here.
    let behind = Origin::start().unwrap();
    let front = |credentials| TlsFront::start(0, &credentials, behind.address(), None).unwrap();
    let good = front(authority.issue("good", &["proxy.example"]).unwrap());
    let named = front(authority.issue_for_names("named", &["proxy.example"]).unwrap());
    let expired = front(authority.issue_expired("expired").unwrap());
    let ca = format!("ca = {}", path(&authority.ca_file()));
    for (what, parent, keys) in [
        ("another authority", &good, format!("ca = {}", path(&other.ca_file()))),
        ("the system's authorities", &good, "user = \"u\", password = \"p\"".to_owned()),
        ("another name", &good, format!("{ca}, server_name = \"other.example\"")),
        ("no such address", &named, ca.clone()),
        ("an old certificate", &expired, ca.clone()),
    ] {
        let keys = format!("parents = [{{ use = \"https\", address = \"{}\", {keys} }}], {ca}", parent.address());
        let lockgate = forward(&keys);
        for request in [
            get(&format!("http://{}/", origin.address())),
            get(&format!("https://{}/", site.address())),
            connect(origin.address()),
        ] {
            assert_eq!(ask(&lockgate, &request).status, 502, "{what}: {request}");
        }
    }
    assert_eq!((behind.requests(), origin.requests()), (0, 0));
    // The same parents, with what makes them good.
    for (parent, keys) in [
        (&good, ca.clone()),
        (&named, format!("{ca}, server_name = \"proxy.example\"")),
        (&expired, "verify = false".to_owned()),
    ] {
        let lockgate =
            forward(&format!("parents = [{{ use = \"https\", address = \"{}\", {keys} }}]", parent.address()));
        let before = behind.requests();
        assert_eq!(ask(&lockgate, get(&format!("http://{}/", origin.address()))).status, 404, "{keys}");
        assert_eq!(ask(&lockgate, connect(origin.address())).status, 404, "{keys}");
        assert_eq!(behind.requests(), before + 2);
    }
}

#[test]
fn without_a_file_the_systems_authorities_are_believed() {
    let authority = Authority::new().unwrap();
    let origin = Origin::start().unwrap();
    let squid = Squid::start_at(&Place::Loopback, 0, "").unwrap();
    let credentials = authority.issue("parent", &[]).unwrap();
    let parent = TlsFront::start(0, &credentials, squid.addresses()[0], None).unwrap();
    let directory = scratch_dir().unwrap();
    let file = directory.path().join("lockgate.toml");
    let parents = format!("parents = [{{ use = \"https\", address = \"{}\" }}]", parent.address());
    fs::write(&file, config(&format!("{{ use = \"forward\", {parents} }}"))).unwrap();
    let mut command = Command::new(LOCKGATE);
    command
        .args(["run", "--config"])
        .arg(&file)
        .env("SSL_CERT_FILE", authority.ca_file())
        .current_dir(directory.path());
    let mut process = Process::spawn(&command).unwrap();
    let line = process.wait_for_line("a listener", Lockgate::DEADLINE, |line| line.contains("listening")).unwrap();
    let address: SocketAddr = line.split_once("address=").unwrap().1.trim().parse().unwrap();
    for _ in 0..2 {
        let mut client = Connection::open(address).unwrap();
        client.send(connect(origin.address())).unwrap();
        assert_eq!(client.take(12).unwrap(), b"HTTP/1.1 200", "{}", process.output());
    }
    let url = get(&format!("http://{}/", origin.address()));
    assert_eq!(Connection::open(address).unwrap().exchange(url).unwrap().status, 200);
}

#[test]
fn a_parent_that_asks_for_a_certificate_gets_it() {
    let authority = Authority::new().unwrap();
    let origin = Origin::start().unwrap();
    let squid = Squid::start_at(&Place::Loopback, 0, "").unwrap();
    let credentials = authority.issue("parent", &[]).unwrap();
    let clients = authority.ca_file();
    let parent = TlsFront::start(0, &credentials, squid.addresses()[0], Some(&clients)).unwrap();
    let ours = authority.issue("ours", &["client.example"]).unwrap();
    let strangers = Authority::new().unwrap();
    let stranger = strangers.issue("stranger", &["client.example"]).unwrap();
    for (keys, expected) in [
        (format!("certificate = {}, key = {}", path(&ours.certificate), path(&ours.key)), 200),
        (format!("certificate = {}, key = {}", path(&stranger.certificate), path(&stranger.key)), 502),
        ("user = \"u\", password = \"p\"".to_owned(), 502),
    ] {
        let ca = path(&authority.ca_file());
        let parents =
            format!("parents = [{{ use = \"https\", address = \"{}\", ca = {ca}, {keys} }}]", parent.address());
        let lockgate = forward(&parents);
        assert_eq!(ask(&lockgate, get(&format!("http://{}/", origin.address()))).status, expected, "{keys}");
        match expected {
            200 => assert_eq!(tunnel(&lockgate, origin.address()).exchange(get("/")).unwrap().status, 200),
            _ => assert_eq!(ask(&lockgate, connect(origin.address())).status, expected, "{keys}"),
        }
    }
}

/// One server over TLS that wants a certificate, and the three plugins that may reach it.
#[test]
fn servers_over_tls_are_checked_and_get_a_certificate() {
    let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let origin = Origin::start().unwrap();
    let credentials = authority.issue("server", &["app.example"]).unwrap();
    let clients = authority.ca_file();
    let server = TlsFront::start(0, &credentials, origin.address(), Some(&clients)).unwrap();
    let ours = authority.issue("ours", &["client.example"]).unwrap();
    let to = server.address();
    let ca = format!("ca = {}", path(&authority.ca_file()));
    let identity = format!("certificate = {}, key = {}", path(&ours.certificate), path(&ours.key));
    let all = format!("{ca}, {identity}");
    let upstream = |keys: &str| format!("{{ use = \"upstream\", servers = [\"https://{to}\"], {keys} }}");
    let reverse = |keys: &str| {
        format!(
            "{{ use = \"reverse-path\", only = true, paths = [{{ path = \"/\", to = \"https://{to}/\", {keys} }}] }}"
        )
    };
    let forward = |keys: &str| format!("{{ use = \"forward\", {keys} }}");
    let foreign = format!("ca = {}", path(&other.ca_file()));
    let expired = TlsFront::start(0, &authority.issue_expired("expired").unwrap(), origin.address(), None).unwrap();
    for chain in [upstream(&format!("{all}, server_name = \"127.0.0.1\"")), reverse(&all)] {
        let lockgate = run(&chain.replace(&to.to_string(), &expired.address().to_string()));
        assert_eq!(ask(&lockgate, get("/")).status, 502, "{chain}");
    }
    for (chain, expected) in [
        (upstream(&format!("{all}, server_name = \"app.example\"")), 200),
        (upstream(&format!("{all}, server_name = \"other.example\"")), 502),
        (upstream(&all), 502),
        (upstream(&format!("{ca}, server_name = \"app.example\"")), 502),
        (upstream(&format!("{foreign}, {identity}, server_name = \"app.example\"")), 502),
        (upstream(&format!("verify = false, {identity}")), 200),
        (reverse(&all), 200),
        (reverse(&format!("{all}, server_name = \"app.example\"")), 200),
        (reverse(&format!("{all}, server_name = \"other.example\"")), 502),
        (reverse(&ca), 502),
        (reverse(&format!("{foreign}, {identity}")), 502),
        (reverse(&identity), 502),
        (reverse(&format!("verify = false, {identity}")), 200),
        (forward(&all), 200),
        (forward(&ca), 502),
        (forward(&foreign), 502),
    ] {
        let lockgate = run(&chain);
        let before = origin.requests();
        let target = if chain.contains("forward") { format!("https://{to}/") } else { "/".to_owned() };
        let status = ask(&lockgate, get(&target)).status;
        assert_eq!(status, expected, "{chain}\n{}", lockgate.output());
        assert_eq!(origin.requests() - before, usize::from(expected == 200), "{chain}");
    }
}

#[test]
fn a_server_that_can_be_checked_for_no_name_gets_nothing() {
    let authority = Authority::new().unwrap();
    let origin = Origin::start().unwrap();
    let credentials = authority.issue("server", &["app.example"]).unwrap();
    let server = TlsFront::start(0, &credentials, origin.address(), None).unwrap();
    let servers = format!("use = \"upstream\", servers = [\"https://{}\"]", server.address());
    let ca = path(&authority.ca_file());
    for (keys, nameless, stranger) in [
        (format!("ca = {ca}"), 502, 502),
        (format!("ca = {ca}, server_name = \"app.example\""), 200, 200),
        ("verify = false".to_owned(), 200, 200),
    ] {
        let lockgate = run(&format!("{{ {servers}, {keys} }}"));
        let before = origin.requests();
        assert_eq!(ask(&lockgate, "GET / HTTP/1.0\r\n\r\n").status, nameless, "{keys}");
        let host = |host: &str| ask(&lockgate, format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).status;
        assert_eq!([host("other.example"), host("app.example")], [stranger, 200], "{keys}");
        let served = [nameless, stranger, 200].iter().filter(|status| **status == 200).count();
        assert_eq!(origin.requests() - before, served, "{keys}");
    }
}

#[test]
fn a_connection_is_kept_for_the_settings_that_it_was_made_with() {
    let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let origin = Origin::start().unwrap();
    let credentials = authority.issue("server", &["app.example"]).unwrap();
    let server = TlsFront::start(0, &credentials, origin.address(), None).unwrap();
    let ours = authority.issue("ours", &["client.example"]).unwrap();
    let (ca, foreign) = (path(&authority.ca_file()), path(&other.ca_file()));
    let identity = format!("certificate = {}, key = {}", path(&ours.certificate), path(&ours.key));
    let mut config = "[[listener]]\nname = \"proxy\"\naddress = [\"127.0.0.1:0\"]\n[server]\nshards = 1\n".to_owned();
    for (host, keys) in [
        ("right", format!("ca = {ca}")),
        ("foreign", format!("ca = {foreign}")),
        ("system", String::new()),
        ("unchecked", "verify = false".to_owned()),
        ("shown", format!("ca = {ca}, {identity}")),
    ] {
        let keys = if keys.is_empty() { keys } else { format!(", {keys}") };
        let _ = write!(
            config,
            "[[route]]\nname = \"{host}\"\nhost = [\"{host}.example\"]\nchain = [{{ use = \"upstream\", \
             servers = [\"https://{}\"], server_name = \"app.example\"{keys} }}]\n",
            server.address()
        );
    }
    let lockgate = Lockgate::run(LOCKGATE, &config).unwrap();
    let status = |host: &str| ask(&lockgate, format!("GET / HTTP/1.1\r\nHost: {host}.example\r\n\r\n")).status;
    for (host, expected, connections) in [
        ("right", 200, 1),
        ("right", 200, 1),
        ("foreign", 502, 1),
        ("system", 502, 1),
        ("unchecked", 200, 2),
        ("foreign", 502, 2),
        ("system", 502, 2),
        ("shown", 200, 3),
        ("right", 200, 3),
        ("unchecked", 200, 3),
        ("shown", 200, 3),
    ] {
        assert_eq!((status(host), origin.connections()), (expected, connections), "{host}");
    }
}

/// In tinyproxy's file too: what it refuses to do itself.
#[test]
fn a_reverse_path_of_tinyproxys_file_may_be_https() {
    let authority = Authority::new().unwrap();
    let origin = Origin::start().unwrap();
    let server = TlsFront::start(0, &authority.issue("server", &[]).unwrap(), origin.address(), None).unwrap();
    let reserved = closed_port();
    let listen = reserved.address();
    let directory = scratch_dir().unwrap();
    let file = directory.path().join("tinyproxy.conf");
    let text = format!(
        "Port {}\nListen 127.0.0.1\nAllow 127.0.0.1\nReverseOnly Yes\nReversePath \"/app/\" \"https://{}/\"\n",
        listen.port(),
        server.address()
    );
    fs::write(&file, text).unwrap();
    let mut command = Command::new(LOCKGATE);
    command.args(["tinyproxy", "-d", "-c"]).arg(&file).env("SSL_CERT_FILE", authority.ca_file());
    let mut process = Process::spawn(&command).unwrap();
    process.wait_for_port(&Place::Loopback, listen, Lockgate::DEADLINE).unwrap();
    let answer = Connection::open(listen).unwrap().exchange("GET /app/head HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(answer.status, 200, "{}", process.output());
    assert!(answer.text().to_lowercase().contains(&format!("host: {}", server.address())), "{}", answer.text());
}

#[test]
fn files_that_cannot_be_used_are_found_before_anything_starts() {
    let authority = Authority::new().unwrap();
    let [one, two] = ["one", "two"].map(|name| authority.issue(name, &[]).unwrap());
    let directory = scratch_dir().unwrap();
    let empty = directory.path().join("empty.pem");
    fs::write(&empty, "nothing\n").unwrap();
    let broken = directory.path().join("broken.pem");
    fs::write(&broken, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let missing = directory.path().join("missing.pem");
    let (ca, cert, key) = (path(&authority.ca_file()), path(&one.certificate), path(&one.key));
    for (keys, at, message) in [
        (format!("ca = {}", path(&missing)), "ca", "cannot be read"),
        (format!("ca = {}", path(&empty)), "ca", "there is no certificate in PEM"),
        (format!("ca = {key}"), "ca", "there is no certificate in PEM"),
        (format!("ca = {}", path(&broken)), "ca", "certificate 1 cannot be an authority's"),
        (format!("ca = {ca}, verify = false"), "ca", "would never be used"),
        (format!("certificate = {cert}"), "certificate", "`certificate` and `key` go together"),
        (format!("key = {key}"), "key", "`certificate` and `key` go together"),
        (format!("certificate = {cert}, key = {}", path(&two.key)), "key", "cannot be used with the certificate"),
        (format!("certificate = {cert}, key = {cert}"), "key", "there is no private key"),
        (format!("certificate = {key}, key = {key}"), "certificate", "there is no certificate in PEM"),
        ("server_name = \"a b\"".to_owned(), "server_name", "neither a host name nor an address"),
    ] {
        let upstream = format!("{{ use = \"upstream\", servers = [\"https://127.0.0.1:1\"], {keys} }}");
        let parent =
            format!("{{ use = \"forward\", parents = [{{ use = \"https\", address = \"127.0.0.1:1\", {keys} }}] }}");
        let reverse = format!(
            "{{ use = \"reverse-path\", only = true, paths = [{{ path = \"/\", to = \"https://a/\", {keys} }}] }}"
        );
        for chain in [upstream, parent, reverse] {
            let file = directory.path().join("lockgate.toml");
            fs::write(&file, config(&chain)).unwrap();
            let output = Command::new(LOCKGATE).args(["check", "--config"]).arg(&file).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(!output.status.success() && said.contains(message), "{chain}\n{said}");
            // The key itself is marked, or the entry that holds it.
            assert!(said.contains("lockgate.toml:9:"), "{said}");
            assert!(chain.contains("upstream") || said.contains(&format!("`{at}`: ")), "{said}");
        }
    }
}

#[test]
fn the_next_parent_is_tried_when_one_cannot_be_connected() {
    let origin = Origin::start().unwrap();
    let squid = Squid::start_at(&Place::Loopback, 0, "").unwrap();
    let reserved = closed_port();
    let (dead, live) = (reserved.address(), squid.addresses()[0]);
    let url = get(&format!("http://{}/head", origin.address()));
    for kind in ["http", "socks5"] {
        let nobody = forward(&format!("parents = [{{ use = \"{kind}\", address = [\"{dead}\", \"{dead}\"] }}]"));
        assert_eq!(ask(&nobody, &url).status, 502);
        assert_eq!(ask(&nobody, connect(origin.address())).status, 502);
    }
    let lockgate = forward(&format!(
        "parents = [{{ use = \"http\", address = [\"{dead}\", \"{live}\"], fail_timeout = \"200ms\" }}]"
    ));
    for _ in 0..3 {
        assert!(ask(&lockgate, &url).text().to_lowercase().contains("via: 1.1 squid.example"));
        tunnel(&lockgate, origin.address()).exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    }
    assert_told(&lockgate, "others are tried first", 1);
    assert!(lockgate.output().contains(&dead.to_string()));
    // One that hangs up is no help with a tunnel either.
    let hangs_up = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let rude = hangs_up.local_addr().unwrap();
    std::thread::spawn(move || hangs_up.incoming().for_each(drop));
    let with_rude = forward(&format!("parents = [{{ use = \"http\", address = [\"{rude}\", \"{live}\"] }}]"));
    tunnel(&with_rude, origin.address()).exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    // It comes back, and is the first again.
    let back = Tinyproxy::start_at(&Place::Loopback, dead.port(), "").unwrap();
    let through_it = poll(Duration::from_secs(20), || {
        ask(&lockgate, &url).text().to_lowercase().contains("tinyproxy").then_some(())
    });
    assert!(through_it.is_some(), "{}", lockgate.output());
    assert_told(&lockgate, "can be connected again", 1);
    drop(back);
}

#[test]
fn several_https_parents_have_names_of_their_own() {
    let authority = Authority::new().unwrap();
    let origin = Origin::start().unwrap();
    let squid = Squid::start_at(&Place::Loopback, 0, "").unwrap();
    let front = |file: &str, name: &str| {
        TlsFront::start(0, &authority.issue_for_names(file, &[name]).unwrap(), squid.addresses()[0], None).unwrap()
    };
    // The first has not the name of its address, the second has.
    let (wrong, right) = (front("wrong", "other.example"), front("right", "localhost"));
    let lockgate = forward(&format!(
        "parents = [{{ use = \"https\", address = [\"localhost:{}\", \"localhost:{}\"], ca = {} }}]",
        wrong.address().port(),
        right.address().port(),
        path(&authority.ca_file())
    ));
    assert_eq!(ask(&lockgate, get(&format!("http://{}/", origin.address()))).status, 200, "{}", lockgate.output());
    tunnel(&lockgate, origin.address()).exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
}

/// A namespace in which what is sent to port 81 disappears.
fn black_hole() -> Network<1> {
    let network = Network::new(["proxy"]).unwrap();
    let mut nft = network.hosts()[0].command("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let rules = "table inet hole {\nchain arriving {\ntype filter hook input priority 0\ntcp dport 81 drop\n}\n}\n";
    nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success());
    network
}

/// One second.
const CONNECT: &str = "connect_timeout = \"1s\"";

#[test]
fn a_server_that_does_not_answer_costs_one_connect_timeout() {
    let network = black_hole();
    let place = Place::from(&network.hosts()[0]);
    for (what, chain, request, expected) in [
        ("upstream", format!("{{ use = \"upstream\", servers = [\"127.0.0.1:81\"], {CONNECT} }}"), get("/"), 504),
        (
            "reverse",
            format!(
                "{{ use = \"reverse-path\", only = true, {CONNECT}, paths = [{{ path = \"/\", to = \"http://127.0.0.1:81/\" }}] }}"
            ),
            get("/"),
            504,
        ),
        ("URL", format!("{{ use = \"forward\", {CONNECT} }}"), get("http://127.0.0.1:81/"), 504),
        ("URL by TLS", format!("{{ use = \"forward\", {CONNECT} }}"), get("https://127.0.0.1:81/"), 504),
        ("tunnel", format!("{{ use = \"forward\", {CONNECT} }}"), connect("127.0.0.1:81"), 504),
        (
            "parent",
            format!("{{ use = \"forward\", {CONNECT}, parents = [{{ use = \"http\", address = \"127.0.0.1:81\" }}] }}"),
            connect("a.example:443"),
            502,
        ),
        (
            "parent for a URL",
            format!("{{ use = \"forward\", {CONNECT}, parents = [{{ use = \"http\", address = \"127.0.0.1:81\" }}] }}"),
            get("http://a.example/"),
            502,
        ),
        (
            "SOCKS parent",
            format!(
                "{{ use = \"forward\", {CONNECT}, parents = [{{ use = \"socks5\", address = \"127.0.0.1:81\" }}] }}"
            ),
            get("http://a.example/"),
            502,
        ),
        (
            "https parent",
            format!(
                "{{ use = \"forward\", {CONNECT}, parents = [{{ use = \"https\", address = \"127.0.0.1:81\", verify = false }}] }}"
            ),
            connect("a.example:443"),
            502,
        ),
    ] {
        let lockgate = Lockgate::run_at(&place, LOCKGATE, &config(&chain)).unwrap();
        let mut client = Connection::over(place.connect(lockgate.address()).unwrap()).unwrap();
        let started = Instant::now();
        assert_eq!(client.exchange(&request).unwrap().status, expected, "{what}");
        let took = started.elapsed();
        assert!((Duration::from_millis(900)..Duration::from_secs(4)).contains(&took), "{what} took {took:?}");
    }
}

#[test]
fn one_of_several_servers_that_does_not_answer_is_avoided() {
    let network = black_hole();
    let place = Place::from(&network.hosts()[0]);
    let origin = place.enter(|| Origin::start().unwrap()).unwrap();
    let live = origin.address();
    let chain = |servers: &str| {
        let keys = "connect_timeout = \"1s\", fail_timeout = \"5m\"";
        let metrics = "{ use = \"stats\", path = \"/metrics\", format = \"prometheus\" }";
        config(&format!("{metrics}, {{ use = \"upstream\", servers = [{servers}], {keys} }}"))
    };
    let mut lockgate =
        Lockgate::run_at(&place, LOCKGATE, &chain(&format!("\"127.0.0.1:81\", \"{live}\", \"127.0.0.1:82\""))).unwrap();
    let ask = |lockgate: &Lockgate| {
        let mut client = Connection::over(place.connect(lockgate.address()).unwrap()).unwrap();
        let started = Instant::now();
        let status = client.exchange(get("/")).unwrap().status;
        (status, started.elapsed() >= Duration::from_millis(900))
    };
    let answers: Vec<_> = (0..12).map(|_| ask(&lockgate)).collect();
    assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    assert_eq!(answers.iter().filter(|(_, is_slow)| *is_slow).count(), 1, "{answers:?}");
    assert_told(&lockgate, "others are tried first", 2);
    let mut client = Connection::over(place.connect(lockgate.address()).unwrap()).unwrap();
    let metrics = client.exchange(get("/metrics")).unwrap().text();
    assert!(metrics.contains("\nlockgate_upstream_servers_down_total 2\n"), "{metrics}");
    // A new configuration knows what the old one learned.
    fs::write(lockgate.file("lockgate.toml"), chain(&format!("\"{live}\", \"127.0.0.1:81\""))).unwrap();
    lockgate.signal(Signal::HUP);
    poll(Duration::from_secs(20), || lockgate.output().contains("Reloading config file finished").then_some(()))
        .expect("it reloads");
    let answers: Vec<_> = (0..6).map(|_| ask(&lockgate)).collect();
    assert_eq!(answers, [(200, false); 6], "{}", lockgate.output());
    // Where all have failed, all are tried.
    let lockgate = Lockgate::run_at(&place, LOCKGATE, &chain("\"127.0.0.1:82\", \"127.0.0.1:83\"")).unwrap();
    assert_eq!([ask(&lockgate).0, ask(&lockgate).0], [502, 502]);
    let late = place.enter(|| std::net::TcpListener::bind("127.0.0.1:83").unwrap()).unwrap();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = late.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi").unwrap();
    });
    assert_eq!(ask(&lockgate).0, 200, "{}", lockgate.output());
    served.join().unwrap();
}

#[test]
fn a_silent_tunnel_outlives_the_connect_timeout_and_not_the_idle_timeout() {
    let authority = Authority::new().unwrap();
    let origin = Origin::start().unwrap();
    let squid = Squid::start_at(&Place::Loopback, 0, "").unwrap();
    let parent = TlsFront::start(0, &authority.issue("parent", &[]).unwrap(), squid.addresses()[0], None).unwrap();
    let parents = format!(
        "parents = [{{ use = \"https\", address = \"{}\", ca = {} }}]",
        parent.address(),
        path(&authority.ca_file())
    );
    for keys in ["transparent = false", &parents] {
        let lockgate = forward(&format!("{keys}, connect_timeout = \"400ms\", idle_timeout = \"2s\""));
        let mut client = tunnel(&lockgate, origin.address());
        // Silence is what is tested.
        std::thread::sleep(Duration::from_millis(1200));
        assert_eq!(client.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().status, 200, "{keys}");
        let started = Instant::now();
        assert_eq!(client.rest().unwrap(), b"", "{keys}");
        let took = started.elapsed();
        assert!((Duration::from_millis(1800)..Duration::from_secs(10)).contains(&took), "{keys}: {took:?}");
    }
}

/// Answers every request with the address that it came from.
fn mirror() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for accepted in listener.incoming() {
            let mut stream = accepted.unwrap();
            std::thread::spawn(move || {
                let from = stream.peer_addr().unwrap().to_string();
                let mut head = Vec::new();
                let mut byte = [0];
                while stream.read(&mut byte).unwrap_or(0) == 1 {
                    head.push(byte[0]);
                    if head.ends_with(b"\r\n\r\n") {
                        head.clear();
                        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{from}", from.len());
                        stream.write_all(answer.as_bytes()).unwrap();
                    }
                }
            });
        }
    });
    address
}

#[test]
fn source_addresses_take_turns_and_keep_their_connections() {
    let server = mirror();
    let addresses = "bind = [\"::1\", \"127.0.0.2\", \"127.0.0.3\", \"127.0.0.4\"]";
    let config = |order: &str| {
        let shards = "[server]\nshards = 1\n";
        format!("{shards}{}", config(&format!("{{ use = \"forward\", {addresses}, bind_order = \"{order}\" }}")))
    };
    let in_turn = Lockgate::run(LOCKGATE, &config("turn")).unwrap();
    let ip = |text: &str| text.rsplit_once(':').unwrap().0.to_owned();
    let seen: Vec<String> = (0..6).map(|_| ask(&in_turn, get(&format!("http://{server}/"))).text()).collect();
    let sources: Vec<String> = seen.iter().map(|text| ip(text)).collect();
    assert_eq!(sources, ["127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.2", "127.0.0.3", "127.0.0.4"]);
    assert_eq!(seen[..3], seen[3..], "each has its own connection, which is used again");
    let tunnels: Vec<String> =
        (0..3).map(|_| ip(&tunnel(&in_turn, server).exchange(get("/")).unwrap().text())).collect();
    assert_eq!(tunnels, ["127.0.0.2", "127.0.0.3", "127.0.0.4"]);
    let first = Lockgate::run(LOCKGATE, &config("first")).unwrap();
    for _ in 0..3 {
        assert_eq!(ip(&ask(&first, get(&format!("http://{server}/"))).text()), "127.0.0.2");
    }
}
