//! Proxies in front that announce for whom they speak (PROXY protocol).

use std::{
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use test_support::{Connection, Lockgate, Origin, Place, Process, Signal, scratch_dir};

use super::{lines, reload, told, upstream};
use crate::support::LOCKGATE;

/// HAProxy in front of `behind`, which announces its clients as `how` says.
fn haproxy(how: &str, behind: SocketAddr) -> (Process, SocketAddr, tempfile::TempDir) {
    let directory = scratch_dir().unwrap();
    let reserved = Place::Loopback.reserve(Place::Loopback.ipv4(), 0).unwrap();
    let address = reserved.address();
    let config = format!(
        "defaults\n    mode tcp\n    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n\
         frontend in\n    bind {address}\n    default_backend out\nbackend out\n    server one {behind} {how}\n"
    );
    let file = directory.path().join("haproxy.cfg");
    fs::write(&file, config).unwrap();
    drop(reserved);
    let mut command = Place::Loopback.command("haproxy");
    command.arg("-db").arg("-f").arg(&file);
    let mut process = Process::spawn(&command).unwrap();
    process.wait_for_port(&Place::Loopback, address, Duration::from_secs(20)).unwrap();
    (process, address, directory)
}

fn start(announcers: &str, more: &str) -> (Lockgate, Origin) {
    let origin = Origin::start().unwrap();
    let config = format!(
        "[[listener]]\nname = \"front\"\naddress = [\"127.0.0.1:0\"]\nproxy_protocol = {announcers}\n{more}{}",
        upstream(&origin)
    );
    (Lockgate::run(LOCKGATE, &config).unwrap(), origin)
}

#[test]
fn haproxy_tells_whose_connection_it_is() {
    let (lockgate, _origin) = start("[\"127.0.0.0/8\"]", "");
    for how in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options unique-id,crc32c"] {
        let (_haproxy, address, _directory) = haproxy(how, lockgate.address());
        // The client has another address than HAProxy.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 9], 0)).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        let mut client = Connection::over(socket.into()).unwrap();
        for _ in 0..2 {
            let head = told(&mut client, "");
            assert!(head.contains("x-forwarded-for: 127.0.0.9\r\n"), "{how}: {head}");
        }
    }
}

#[test]
fn rules_are_about_the_client_that_is_announced() {
    let more =
        "[[route]]\nclient = [\"192.0.2.0/24\"]\nchain = [{ use = \"access\", rules = [] }, { use = \"forward\" }]\n";
    let (lockgate, _origin) = start("[\"127.0.0.1\"]", more);
    let status = |announced: &str| {
        let mut client = Connection::open(lockgate.address()).unwrap();
        client.exchange(format!("{announced}GET / HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap().status
    };
    assert_eq!(status("PROXY TCP4 192.0.2.7 10.0.0.1 1 80\r\n"), 403);
    assert_eq!(status("PROXY TCP4 198.51.100.7 10.0.0.1 1 80\r\n"), 200);
    assert_eq!(status("PROXY UNKNOWN\r\n"), 200);
}

/// Who should announce and does not is not served; who is not believed is a client like others.
#[test]
fn without_an_announcement_nothing_is_served() {
    let (lockgate, _origin) = start("[\"127.0.0.1\"]", "[server]\nhead_timeout = \"1s\"\n");
    for bytes in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "PROXY TCP4 nonsense\r\n",
        "\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x01x",
        "PROXY ",
    ] {
        let mut client = Connection::open(lockgate.address()).unwrap();
        client.send(bytes).unwrap();
        assert_eq!(client.rest().unwrap(), b"", "{bytes:?}");
    }
    assert!(lockgate.output().contains("a proxy does not say whom it speaks for"), "{}", lockgate.output());
    let (lockgate, _origin) = start("[\"192.0.2.1\"]", "");
    let mut client = Connection::open(lockgate.address()).unwrap();
    let answer = client.exchange("PROXY TCP4 192.0.2.7 10.0.0.1 1 80\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(answer.status, 400);
    assert_eq!(
        Connection::open(lockgate.address()).unwrap().exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().status,
        200
    );
}

/// A hundred connections that announce nothing, or byte by byte: nobody waits for them, and neither does the end.
#[test]
fn proxies_that_keep_their_word_back_delay_nobody() {
    let (mut lockgate, _origin) = start("[\"127.0.0.1\"]", "[server]\nhead_timeout = \"60s\"\nmax_clients = 4\n");
    let mut idle: Vec<_> = (0..100).map(|_| Connection::open(lockgate.address()).unwrap()).collect();
    for (number, client) in idle.iter_mut().enumerate() {
        client.send(["", "PROXY TCP4 192.", "\r\n\r\n\0\r\nQUIT\n\x21\x11\x08"][number % 3]).unwrap();
    }
    let started = Instant::now();
    for _ in 0..20 {
        let mut client = Connection::open(lockgate.address()).unwrap();
        client.send("PROXY TCP4 192.0.2.7 10.0.0.1 1 80\r\n").unwrap();
        assert!(told(&mut client, "").contains("x-forwarded-for: 192.0.2.7\r\n"));
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    lockgate.signal(Signal::TERM);
    // Far below their own time.
    assert!(lockgate.wait(Duration::from_secs(20)).unwrap().success());
    assert!(lockgate.output().contains("cut=0"), "{}", lockgate.output());
}

#[test]
fn a_proxy_on_a_unix_socket_announces_and_the_log_knows_whom() {
    let origin = Origin::start().unwrap();
    let config = format!(
        "[[listener]]\nname = \"front\"\naddress = [\"unix:s\"]\nproxy_protocol = [\"unix\"]\n[log]\naccess = \"access.log\"\n\
         [[route]]\nname = \"known\"\nclient = [\"192.0.2.0/24\"]\nchain = [{{ use = \"upstream\", servers = [\"{0}\"] }}]\n\
         [[route]]\nname = \"local\"\nclient = [\"unix\"]\nchain = [{{ use = \"upstream\", servers = [\"{0}\"] }}]\n",
        origin.address()
    );
    let mut lockgate = Lockgate::run(LOCKGATE, &config).unwrap();
    let ask = |lockgate: &Lockgate, announced: &str| {
        let mut client = Connection::open_unix(&lockgate.file("s")).unwrap();
        client.exchange(format!("{announced}GET / HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap().status
    };
    assert_eq!(ask(&lockgate, "PROXY TCP4 192.0.2.7 10.0.0.1 1 80\r\n"), 200);
    assert_eq!(ask(&lockgate, "PROXY TCP6 2001:db8::7 ::1 1 80\r\n"), 404, "it has an address now");
    assert_eq!(ask(&lockgate, "PROXY UNKNOWN\r\n"), 200);
    let log = lines(&lockgate.file("access.log"), 3);
    // A line is written when its client has the answer already, so the next request's may come first.
    for (client, route) in [("192.0.2.7 ", " known "), ("2001:db8::7 ", " - "), ("unix: ", " local ")] {
        assert!(log.iter().any(|line| line.starts_with(client) && line.contains(route)), "{client}: {log:?}");
    }
    // The listener takes no announcements any more; the connection that was announced stays whose it is.
    let mut kept = Connection::open_unix(&lockgate.file("s")).unwrap();
    kept.send("PROXY TCP4 192.0.2.8 10.0.0.1 1 80\r\n").unwrap();
    assert!(told(&mut kept, "").contains("x-forwarded-for: 192.0.2.8\r\n"));
    reload(&mut lockgate, &config.replace("proxy_protocol = [\"unix\"]\n", ""), "Reloading config file finished");
    assert!(told(&mut kept, "").contains("x-forwarded-for: 192.0.2.8\r\n"));
    assert_eq!(ask(&lockgate, ""), 200);
    assert_eq!(ask(&lockgate, "PROXY TCP4 192.0.2.7 10.0.0.1 1 80\r\n"), 400);
}
