//! How connections arrive on which TLS is to be spoken: slowly, announced by a proxy, and on a unix socket.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};
use test_support::{
    Authority, Connection, Http2, Lockgate, Origin, Place, Process, TlsClient, http2::Ending, poll, scratch_dir,
};

use super::{DEADLINE, GET, LOCKGATE, Secure, route};

#[test]
fn handshakes_that_do_not_end_take_nobodys_place() {
    let secure = Secure::start_with("", &["a.example"], "[server]\nmax_clients = 2\nhead_timeout = \"3s\"\n");
    let hello = [22, 3, 1, 2, 0, 1];
    let slow: Vec<TcpStream> = (0..50)
        .map(|number| {
            let mut stream = TcpStream::connect(secure.address()).unwrap();
            stream.write_all(&hello[..number % hello.len()]).unwrap();
            stream
        })
        .collect();
    let ca = secure.authority.ca_file();
    let since = Instant::now();
    for _ in 0..5 {
        let mut client = Http2::open(secure.address(), &ca, &[]).unwrap();
        assert!(matches!(client.exchange(1, "/").unwrap(), Ending::Answered(200, _)));
    }
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    for mut stream in slow {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
}

/// A connection from another address of this machine.
fn from_elsewhere(to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 9], 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

#[test]
fn a_proxy_announces_clients_before_they_shake_hands() {
    let more = "[log]\naccess = \"access.log\"\nformat = \"json\"\n";
    let secure = Secure::start_with("proxy_protocol = [\"127.0.0.0/8\"]", &["a.example"], more);
    let (directory, ca) = (scratch_dir().unwrap(), secure.authority.ca_file());
    for how in ["send-proxy", "send-proxy-v2"] {
        let reserved = Place::Loopback.reserve(Place::Loopback.ipv4(), 0).unwrap();
        let address = reserved.address();
        let config = format!(
            "defaults\n    mode tcp\n    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n\
             frontend in\n    bind {address}\n    default_backend out\nbackend out\n    server one {} {how}\n",
            secure.address()
        );
        let file = directory.path().join("haproxy.cfg");
        fs::write(&file, config).unwrap();
        drop(reserved);
        let mut command = Place::Loopback.command("haproxy");
        command.arg("-db").arg("-f").arg(&file);
        let mut haproxy = Process::spawn(&command).unwrap();
        haproxy.wait_for_port(&Place::Loopback, address, DEADLINE).unwrap();
        let mut client = TlsClient::over(from_elsewhere(address), &ca, "a.example", &["http/1.1"]).unwrap();
        client.write_all(GET.replace("GET / ", "GET /head ").replace("\\r\\n", "\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        let answer = answer.to_ascii_lowercase();
        assert!(
            answer.contains("x-forwarded-for: 127.0.0.9\r\n") && answer.contains("proto: https"),
            "{how}: {answer}"
        );
        let mut client = Http2::over(from_elsewhere(address), &ca).unwrap();
        client.begin(&[]).unwrap();
        assert!(matches!(client.exchange(1, "/status/404").unwrap(), Ending::Answered(404, _)));
        let log = secure.lockgate.file("access.log");
        let told = || fs::read_to_string(&log).unwrap().lines().filter(|line| line.contains("127.0.0.9:")).count();
        poll(DEADLINE, || (told() >= 2).then_some(())).unwrap_or_else(|| panic!("{how}: {}", secure.lockgate.output()));
        fs::write(&log, "").unwrap();
    }
    // One that is to announce somebody and shakes hands instead is not believed.
    assert!(TlsClient::connect(secure.address(), &ca, "a.example", &[]).is_err());
}

#[test]
fn a_unix_socket_speaks_tls_too() {
    let (authority, origin, directory) = (Authority::new().unwrap(), Origin::start().unwrap(), scratch_dir().unwrap());
    let (made, path) = (authority.issue_for_names("a", &["a.example"]).unwrap(), directory.path().join("tls.sock"));
    let config = format!(
        "[[listener]]\nname = \"tcp\"\naddress = [\"127.0.0.1:0\"]\n\
         [[listener]]\nname = \"local\"\naddress = [\"unix:{}\"]\ntls = true\n\
         [[certificate]]\ncertificate = \"{}\"\nkey = \"{}\"\n{}",
        path.display(),
        made.certificate.display(),
        made.key.display(),
        route(&origin)
    );
    let lockgate = Lockgate::run(LOCKGATE, &config).unwrap();
    poll(DEADLINE, || path.exists().then_some(())).unwrap_or_else(|| panic!("{}", lockgate.output()));
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let mut command = Place::Loopback.command("curl");
        command
            .args(["-sS", "--max-time", "20", flag, "--unix-socket"])
            .arg(&path)
            .arg("--cacert")
            .arg(authority.ca_file());
        command.args(["-o", "/dev/null", "-w", "%{http_version} %{http_code}", "https://a.example/"]);
        let mut curl = Process::spawn(&command).unwrap();
        let _ = curl.wait(DEADLINE).unwrap();
        assert_eq!(curl.output(), format!("{version} 200"));
    }
    let mut plain = Connection::open_unix(&path).unwrap();
    assert_eq!(plain.exchange("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap().status, 400);
}
