//! The forward proxy: what it lets through, what it keeps to itself, and the proxies that it goes through.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    process::Command,
    time::{Duration, Instant},
};

use test_support::{Connection, HostsFile, Lockgate, Network, Origin, Place, Process, Signal, Tinyproxy, require};

use crate::support::LOCKGATE;

/// A proxy whose `forward` has these keys.
fn proxy(keys: &str) -> Lockgate {
    Lockgate::run(LOCKGATE, &config(keys)).unwrap()
}

fn config(keys: &str) -> String {
    let keys = if keys.is_empty() { String::new() } else { format!(", {keys}") };
    format!(
        "[log]\naccess = \"access.log\"\nformat = \"json\"\n\
         [server]\nhead_timeout = \"500ms\"\ndrain_timeout = \"1s\"\n\
         [[listener]]\nname = \"proxy\"\naddress = [\"127.0.0.1:0\", \"[::1]:0\"]\n\
         [[route]]\nname = \"all\"\nchain = [{{ use = \"forward\"{keys} }}]\n"
    )
}

fn open(lockgate: &Lockgate) -> Connection {
    Connection::open(lockgate.address()).unwrap()
}

fn get(url: &str) -> String {
    format!("GET {url} HTTP/1.1\r\nHost: ignored.example\r\n\r\n")
}

fn connect(to: impl std::fmt::Display) -> String {
    format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n")
}

/// Opens a tunnel and asks for the page through it.
fn page_through_tunnel(client: &mut Connection, origin: SocketAddr) -> Vec<u8> {
    client.send(connect(origin)).unwrap();
    let reply = client.take(b"HTTP/1.1 200 ".len()).unwrap();
    assert_eq!(reply, b"HTTP/1.1 200 ", "{}", String::from_utf8_lossy(&reply));
    while client.take(1).unwrap() != b"\r" || client.take(3).unwrap() != b"\n\r\n" {}
    client.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().body
}

#[test]
fn each_request_goes_to_its_own_server() {
    let origins = [Origin::start().unwrap(), Origin::start().unwrap()];
    let lockgate = proxy("");
    let mut client = open(&lockgate);
    for origin in origins.iter().chain(&origins) {
        let text = client.exchange(get(&format!("http://{}/head?q=1", origin.address()))).unwrap().text();
        assert!(text.starts_with("GET /head?q=1 HTTP/1.1\r\n"), "{text}");
        assert!(text.to_lowercase().contains(&format!("host: {}\r\n", origin.address())), "{text}");
    }
    let v6 = origins[0].addresses().iter().find(|address| address.is_ipv6()).unwrap();
    assert_eq!(client.exchange(get(&format!("http://{v6}/"))).unwrap().status, 200);
    // A name, and the address that the proxy was reached by, say the same without an absolute URL.
    let port = origins[0].address().port();
    let transparent = format!("GET / HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
    assert_eq!(client.exchange(transparent).unwrap().status, 200);
    assert_eq!((origins[0].connections() <= 3, origins[1].connections()), (true, 1), "connections to origins are kept");
}

#[test]
fn what_is_between_client_and_proxy_stays_there() {
    let origin = Origin::start().unwrap();
    let lockgate = proxy("");
    let request = format!(
        "GET http://{0}/head HTTP/1.1\r\nHost: {0}\r\nProxy-Authorization: Basic c2VjcmV0\r\nProxy-Connection: keep-alive\r\n\
         Connection: keep-alive, x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\nX-Stays: 1\r\n\r\n",
        origin.address()
    );
    let text = open(&lockgate).exchange(request).unwrap().text().to_lowercase();
    for gone in
        ["proxy-authorization", "c2vjcmv0", "proxy-connection", "x-hop", "keep-alive:", "x-forwarded", "forwarded:"]
    {
        assert!(!text.contains(gone), "{gone} is in\n{text}");
    }
    assert!(text.contains("x-stays: 1"), "{text}");
}

#[test]
fn a_later_request_is_bound_by_the_same_rules() {
    let allowed = Origin::start().unwrap();
    let config = config("").replace("name = \"all\"\n", "name = \"all\"\nhost = [\"127.0.0.1\"]\n");
    let lockgate = Lockgate::run(LOCKGATE, &config).unwrap();
    let good = get(&format!("http://{}/", allowed.address()));
    let bad = get(&format!("http://localhost:{}/", allowed.address().port()));
    let mut client = open(&lockgate);
    assert_eq!(client.exchange(&good).unwrap().status, 200);
    assert_eq!(client.exchange(&bad).unwrap().status, 404);
    assert_eq!(client.exchange(&good).unwrap().status, 200);
    // The same in one packet, and behind a body.
    client.send(format!("{good}{bad}{good}")).unwrap();
    let statuses: Vec<_> = (0..3).map(|_| client.response(false).unwrap().status).collect();
    assert_eq!(statuses, [200, 404, 200]);
    let post =
        format!("POST http://{}/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi{bad}", allowed.address());
    client.send(post).unwrap();
    assert_eq!((client.response(false).unwrap().body, client.response(false).unwrap().status), (b"hi".to_vec(), 404));
    assert_eq!(allowed.requests(), 5, "nothing of the refused requests arrived");
}

#[test]
fn doubtful_framing_and_ports_are_refused() {
    let origin = Origin::start().unwrap();
    let lockgate = proxy("");
    let to = origin.address();
    let head = format!("POST http://{to}/echo HTTP/1.1\r\nHost: {to}\r\n");
    for fields in [
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Transfer-Encoding: chunked,\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 3\r\nContent-Length: 3\r\n",
        "Content-Length: +3\r\n",
        "Content-Length : 3\r\n",
    ] {
        let mut client = open(&lockgate);
        client.send(format!("{head}{fields}\r\n0\r\n\r\n")).unwrap();
        let status = client.response(false).unwrap().status;
        assert_eq!((status, client.rest().unwrap().len()), (400, 0), "{fields}");
    }
    let port = to.port();
    let overflown = u32::from(port) + 65536;
    for (request, expected) in [
        (connect(format!("127.0.0.1:{overflown}")), 400),
        (connect("127.0.0.1:0"), 400),
        (connect("127.0.0.1"), 400),
        (connect(format!("user@127.0.0.1:{port}")), 400),
        (get(&format!("http://127.0.0.1:{overflown}/")), 400),
        (get(&format!("http://user:pass@127.0.0.1:{port}/")), 400),
        (get("ftp://127.0.0.1/"), 400),
        (get("http:///"), 400),
        (" GET http://127.0.0.1/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), 400),
    ] {
        assert_eq!(open(&lockgate).exchange(&request).unwrap().status, expected, "{request}");
    }
    assert_eq!(origin.requests(), 0);
}

#[test]
fn tunnels_carry_bytes_and_are_logged() {
    let origin = Origin::start().unwrap();
    let lockgate = proxy("");
    let mut client = open(&lockgate);
    assert_eq!(page_through_tunnel(&mut client, origin.address()), &*origin.site().page.1);
    // What is in the tunnel is nobody's business: a request of a form that the proxy would refuse passes.
    assert_eq!(client.exchange("GET /head HTTP/1.1\r\nX-No-Host: 1\r\n\r\n").unwrap().status, 200);
    drop(client);
    let logged = test_support::poll(Duration::from_secs(10), || {
        let log = std::fs::read_to_string(lockgate.file("access.log")).ok()?;
        log.contains("CONNECT").then_some(log)
    });
    let logged = logged.expect("the tunnel is logged");
    assert!(
        logged.contains(&format!("\"upstream\":\"{}\"", origin.address())) && logged.contains("\"status\":200"),
        "{logged}"
    );
}

#[test]
fn tunnels_lead_to_allowed_ports_only() {
    let origin = Origin::start().unwrap();
    let port = origin.address().port();
    let lockgate = proxy(&format!("connect_ports = [{port}]"));
    assert_eq!(page_through_tunnel(&mut open(&lockgate), origin.address()), &*origin.site().page.1);
    assert_eq!(open(&lockgate).exchange(connect("127.0.0.1:1")).unwrap().status, 403);
    let closed = proxy("connect_ports = []");
    assert_eq!(open(&closed).exchange(connect(origin.address())).unwrap().status, 403);
}

#[test]
fn a_server_that_cannot_be_reached_is_an_answer() {
    let lockgate = proxy("");
    for request in
        [get("http://127.0.0.1:1/"), connect("127.0.0.1:1"), get("http://nobody.invalid/"), connect("nobody.invalid:1")]
    {
        assert_eq!(open(&lockgate).exchange(&request).unwrap().status, 502, "{request}");
    }
    let like_tinyproxy = proxy("unreachable_status = 500");
    for request in [get("http://127.0.0.1:1/"), connect("127.0.0.1:1")] {
        assert_eq!(open(&like_tinyproxy).exchange(&request).unwrap().status, 500, "{request}");
    }
}

/// Somebody may wait for the first bytes of an answer before doing what completes it.
#[test]
fn an_answer_is_passed_on_as_it_comes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let (go_on, wait) = std::sync::mpsc::channel();
    let origin = std::thread::spawn(move || {
        let mut client = listener.accept().unwrap().0;
        let mut request = [0; 4096];
        assert!(client.read(&mut request).unwrap() > 0);
        client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n").unwrap();
        for byte in b"abc" {
            wait.recv_timeout(Connection::DEADLINE).unwrap();
            client.write_all(&[*byte]).unwrap();
        }
    });
    let lockgate = proxy("");
    let mut client = open(&lockgate);
    client.send(get(&format!("http://{to}/"))).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.take(1).unwrap());
    }
    for byte in b"abc" {
        go_on.send(()).unwrap();
        assert_eq!(client.take(1).unwrap(), [*byte]);
    }
    origin.join().unwrap();
}

#[test]
fn hosts_can_be_led_nowhere() {
    let origin = Origin::start().unwrap();
    let nowhere =
        "parents = [{ use = \"http\", address = \"0.0.0.0:0\", to = [\"127.0.0.0/8\"] }], unreachable_status = 500";
    let lockgate = proxy(nowhere);
    let port = origin.address().port();
    for request in [get(&format!("http://127.0.0.1:{port}/")), connect(format!("127.0.0.1:{port}"))] {
        assert_eq!(open(&lockgate).exchange(&request).unwrap().status, 502, "{request}");
    }
    assert_eq!(open(&lockgate).exchange(get(&format!("http://localhost:{port}/"))).unwrap().status, 200);
}

#[test]
fn only_public_addresses_when_told_so() {
    let origin = Origin::start().unwrap();
    let port = origin.address().port();
    let lockgate = proxy("public_only = true");
    // 2130706433 is 127.0.0.1 to inet_aton(3), and so to the system's resolver.
    let hosts = [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "0.0.0.0",
        "169.254.169.254",
        "10.0.0.1",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "127.1",
    ];
    for host in hosts {
        for request in [get(&format!("http://{host}:{port}/")), connect(format!("{host}:{port}"))] {
            let status = open(&lockgate).exchange(&request).unwrap().status;
            assert_eq!(status, 403, "{request}");
        }
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_request_that_comes_round_is_stopped() {
    let lockgate = proxy("");
    let own = lockgate.address();
    assert_eq!(open(&lockgate).exchange(get(&format!("http://{own}/"))).unwrap().status, 508);
    assert_eq!(open(&lockgate).exchange(format!("GET / HTTP/1.1\r\nHost: {own}\r\n\r\n")).unwrap().status, 508);
    assert_eq!(open(&lockgate).exchange(connect(own)).unwrap().status, 508);
    let port = own.port();
    assert_eq!(open(&lockgate).exchange(get(&format!("http://0.0.0.0:{port}/"))).unwrap().status, 508);
}

#[test]
fn the_source_address_is_chosen() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let source = |request: String, keys: &str, via: IpAddr| {
        let config = config(keys).replace("[\"127.0.0.1:0\", \"[::1]:0\"]", "[\"0.0.0.0:0\"]");
        let lockgate = Lockgate::run(LOCKGATE, &config).unwrap();
        let mut client = Connection::open((via, lockgate.address().port()).into()).unwrap();
        client.send(request).unwrap();
        let (mut accepted, from) = listener.accept().unwrap();
        accepted.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        from.ip()
    };
    let (local, bound, same): (IpAddr, IpAddr, IpAddr) =
        (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(127, 0, 0, 9).into(), Ipv4Addr::new(127, 0, 0, 7).into());
    for request in [get(&format!("http://{to}/")), connect(to)] {
        assert_eq!(source(request.clone(), "bind = [\"::1\", \"127.0.0.9\"]", local), bound);
        assert_eq!(source(request.clone(), "bind_same = true", same), same);
    }
}

#[test]
fn who_comes_when_all_places_are_taken_waits() {
    let origin = Origin::start().unwrap();
    let config = config("").replace("[server]\n", "[server]\nmax_clients = 2\n");
    let lockgate = Lockgate::run(LOCKGATE, &config).unwrap();
    let request = get(&format!("http://{}/", origin.address()));
    // Connections without a request take no place.
    let mut idle: Vec<_> = (0..10).map(|_| open(&lockgate)).collect();
    for client in &mut idle {
        assert_eq!(client.exchange(&request).unwrap().status, 200);
    }
    let mut inside: Vec<_> = (0..2).map(|_| open(&lockgate)).collect();
    for client in &mut inside {
        page_through_tunnel(client, origin.address());
    }
    let mut waiting = open(&lockgate);
    waiting.send(&request).unwrap();
    waiting.stream().set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let early = waiting.response(false).unwrap_err().kind();
    assert!(matches!(early, std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{early}");
    waiting.stream().set_read_timeout(Some(Connection::DEADLINE)).unwrap();
    inside.pop();
    assert_eq!(waiting.response(false).unwrap().status, 200);
}

/// Clients that send half a request and a name server that does not answer cost the others nothing.
#[test]
fn the_stalled_delay_nobody() {
    let network = Network::new(["slow"]).unwrap();
    let [namespace] = network.hosts();
    let place = Place::from(namespace);
    let _hosts = HostsFile::new(namespace, &[("known.example", namespace.ipv4().into())]).unwrap();
    let _silent = place.enter(|| UdpSocket::bind("127.0.0.1:53")).unwrap().unwrap();
    let origin = Origin::start_at(&place, 0).unwrap();
    let lockgate = Lockgate::run_at(&place, LOCKGATE, &config("").replace("500ms", "20s")).unwrap();
    let dial = || Connection::over(place.connect(lockgate.address()).unwrap()).unwrap();
    let mut stalled: Vec<_> = (0..600).map(|_| dial()).collect();
    for (index, client) in stalled.iter_mut().enumerate() {
        client
            .send(match index % 3 {
                0 => "GET http://known.example/ HT".to_owned(),
                1 => get(&format!("http://unknown{index}.example/")),
                _ => connect(format!("unknown{index}.example:443")),
            })
            .unwrap();
    }
    let port = origin.address().port();
    for host in [namespace.ipv4().to_string(), "known.example".to_owned()] {
        let started = Instant::now();
        assert_eq!(dial().exchange(get(&format!("http://{host}:{port}/"))).unwrap().status, 200);
        assert!(started.elapsed() < Duration::from_secs(1), "{host} took {:?}", started.elapsed());
    }
}

#[test]
fn a_stop_cuts_tunnels_at_its_deadline() {
    let origin = Origin::start().unwrap();
    let mut lockgate = proxy("");
    let mut client = open(&lockgate);
    page_through_tunnel(&mut client, origin.address());
    let started = Instant::now();
    lockgate.signal(Signal::TERM);
    assert_eq!(client.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().status, 200, "it goes on until then");
    assert!(lockgate.wait(Duration::from_secs(5)).unwrap().success());
    assert!(started.elapsed() >= Duration::from_millis(900), "{:?}", started.elapsed());
}

#[test]
fn an_http_parent_gets_urls_tunnels_and_credentials() {
    let origin = Origin::start().unwrap();
    let parent = Tinyproxy::start_at(&Place::Loopback, 0, "BasicAuth user secret\nXTinyproxy Yes\n").unwrap();
    let parents = |password: &str| {
        let address = parent.addresses()[0];
        format!("parents = [{{ use = \"http\", address = \"{address}\", user = \"user\", password = \"{password}\" }}]")
    };
    let lockgate = proxy(&parents("secret"));
    let text = open(&lockgate).exchange(get(&format!("http://{}/head?q", origin.address()))).unwrap().text();
    assert!(
        text.starts_with("GET /head?q HTTP/1.1\r\n") && text.to_lowercase().contains("x-tinyproxy: 127.0.0.1"),
        "{text}"
    );
    assert!(!text.to_lowercase().contains("proxy-authorization"), "{text}");
    assert_eq!(page_through_tunnel(&mut open(&lockgate), origin.address()), &*origin.site().page.1);
    // The parent's refusal is the client's answer, with a wrong password and with a server that it cannot reach.
    let wrong = proxy(&parents("wrong"));
    for request in [get(&format!("http://{}/", origin.address())), connect(origin.address())] {
        let status = open(&wrong).exchange(&request).unwrap().status;
        assert!(matches!(status, 401 | 407), "{status} for {request}");
    }
    assert_eq!(open(&lockgate).exchange(connect("127.0.0.1:1")).unwrap().status, 500, "tinyproxy's own");
}

/// What a client says goes along to the proxy that opens its tunnel, as `AddHeader` and the like change it for servers.
#[test]
fn an_http_parent_is_told_what_servers_are_told() {
    let parent = TcpListener::bind("127.0.0.1:0").unwrap();
    let chain = format!(
        "{{ use = \"headers\", via = \"me\", add = [{{ name = \"X-Added\", value = \"1\" }}] }},\n\
         {{ use = \"forward\", parents = [{{ use = \"http\", address = \"{}\" }}] }}",
        parent.local_addr().unwrap()
    );
    let config =
        format!("[[listener]]\nname = \"proxy\"\naddress = [\"127.0.0.1:0\"]\n[[route]]\nchain = [\n{chain}\n]\n");
    let lockgate = Lockgate::run(LOCKGATE, &config).unwrap();
    let mut client = open(&lockgate);
    let fields = "User-Agent: test\r\nProxy-Authorization: Basic eA==\r\nConnection: X-Secret\r\nX-Secret: 1\r\n";
    client.send(format!("CONNECT site.example:443 HTTP/1.1\r\nHost: site.example:443\r\n{fields}\r\n")).unwrap();
    let (mut stream, _) = parent.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    let expected = "CONNECT site.example:443 HTTP/1.1\r\nHost: site.example:443\r\nUser-Agent: test\r\nX-Added: 1\r\n\
                    Via: 1.1 me\r\n\r\n";
    assert_eq!(String::from_utf8(head).unwrap(), expected);
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nearly").unwrap();
    assert!(client.take(b"HTTP/1.1 200 Connection established\r\n".len()).unwrap().starts_with(b"HTTP/1.1 200 "));
}

#[test]
fn a_socks5_parent_is_asked_for_names() {
    require("microsocks").unwrap();
    let origin = Origin::start().unwrap();
    let reservation = Place::Loopback.reserve(Ipv4Addr::LOCALHOST, 0).unwrap();
    let address = reservation.address();
    drop(reservation);
    let mut command = Command::new("microsocks");
    command.args(["-i", "127.0.0.1", "-u", "user", "-P", "secret", "-p", &address.port().to_string()]);
    let mut socks = Process::spawn(&command).unwrap();
    socks.wait_for_port(&Place::Loopback, address, Duration::from_secs(10)).unwrap();
    let parents = |password: &str| {
        format!(
            "parents = [{{ use = \"socks5\", address = \"{address}\", user = \"user\", password = \"{password}\" }}]"
        )
    };
    let lockgate = proxy(&parents("secret"));
    let port = origin.address().port();
    let mut client = open(&lockgate);
    for host in ["127.0.0.1", "localhost"] {
        assert_eq!(client.exchange(get(&format!("http://{host}:{port}/"))).unwrap().status, 200, "{host}");
    }
    assert_eq!(page_through_tunnel(&mut open(&lockgate), origin.address()), &*origin.site().page.1);
    for request in [get("http://127.0.0.1:1/"), connect("127.0.0.1:1")] {
        assert_eq!(open(&lockgate).exchange(&request).unwrap().status, 502, "{request}");
    }
    let wrong = proxy(&parents("wrong"));
    assert_eq!(open(&wrong).exchange(connect(origin.address())).unwrap().status, 502);
}

/// No SOCKS 4A server is packaged for Debian that runs without set-up, so this one checks the bytes.
#[test]
fn a_socks4a_parent_gets_the_name() {
    let origin = Origin::start().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = origin.address();
    std::thread::spawn(move || {
        for accepted in listener.incoming() {
            let mut client = accepted.unwrap();
            let mut request = [0; 9];
            client.read_exact(&mut request).unwrap();
            let expected = [&[4, 1][..], &server.port().to_be_bytes(), &[0, 0, 0, 1, 0]].concat();
            assert_eq!(request, *expected);
            let mut name = [0; 10];
            client.read_exact(&mut name).unwrap();
            assert_eq!(&name, b"localhost\0");
            client.write_all(&[0, 90, 0, 0, 0, 0, 0, 0]).unwrap();
            let mut up = std::net::TcpStream::connect(server).unwrap();
            let (mut from, mut to) = (client.try_clone().unwrap(), up.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            std::thread::spawn(move || std::io::copy(&mut up, &mut client));
        }
    });
    let lockgate = proxy(&format!("parents = [{{ use = \"socks4a\", address = \"{address}\" }}]"));
    let port = server.port();
    assert_eq!(open(&lockgate).exchange(get(&format!("http://localhost:{port}/"))).unwrap().status, 200);
    let mut client = open(&lockgate);
    client.send(format!("CONNECT localhost:{port} HTTP/1.0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
    assert!(client.take(b"HTTP/1.0 200".len()).unwrap() == b"HTTP/1.0 200");
    while client.take(1).unwrap() != b"\r" || client.take(3).unwrap() != b"\n\r\n" {}
    assert_eq!(client.response(false).unwrap().status, 200, "what was sent with the request goes through");
}
