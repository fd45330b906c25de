//! What a client sees on the wire, byte by byte.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use test_support::{Connection, Origin, Place, WebSocketEcho, poll};

use super::{Running, Stage, Through, noise};

fn proxy() -> (Running, SocketAddr) {
    let running = Running::start(Through::Lockgate, &Place::Loopback, 0);
    let address = running.addresses()[0];
    (running, address)
}

/// A server for one connection.
fn server<T: Send + 'static>(
    work: impl FnOnce(TcpStream) -> io::Result<T> + Send + 'static,
) -> (SocketAddr, JoinHandle<io::Result<T>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let (stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(Connection::DEADLINE))?;
        stream.set_write_timeout(Some(Connection::DEADLINE))?;
        work(stream)
    });
    (address, thread)
}

/// Reads until `end` has come, that included.
fn read_until(stream: &mut impl Read, end: &str) -> io::Result<String> {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        text.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn connect(to: SocketAddr) -> String {
    format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n")
}

/// A tunnel that is open, as a stream of bytes.
fn tunnel(proxy: SocketAddr, to: SocketAddr) -> TcpStream {
    let mut stream = Connection::open(proxy).unwrap().stream().try_clone().unwrap();
    stream.write_all(connect(to).as_bytes()).unwrap();
    let head = read_until(&mut stream, "\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    // RFC 9110, section 9.3.6: no framing of content in an answer to CONNECT.
    let lower = head.to_ascii_lowercase();
    assert!(!lower.contains("content-length") && !lower.contains("transfer-encoding"), "{head}");
    stream
}

fn get(origin: SocketAddr, path: &str) -> String {
    format!("GET http://{origin}{path} HTTP/1.1\r\nHost: {origin}\r\n\r\n")
}

#[test]
fn each_request_of_a_connection_goes_to_its_own_origin() {
    let (one, two) = (Origin::start().unwrap(), Origin::start().unwrap());
    let (_running, proxy) = proxy();
    let mut client = Connection::open(proxy).unwrap();
    for number in 0..10 {
        let origin = if number % 2 == 0 { &one } else { &two };
        // Whoever forwards by `Host` alone is fooled by another one (RFC 9112, section 3.2.2).
        let request = format!("GET http://{}/head?{number} HTTP/1.1\r\nHost: other.example\r\n\r\n", origin.address());
        let head = client.exchange(request).unwrap().text();
        assert!(head.starts_with(&format!("GET /head?{number} HTTP/1.1\r\n")), "{head}");
        assert!(head.to_ascii_lowercase().contains(&format!("\r\nhost: {}\r\n", origin.address())), "{head}");
    }
    assert_eq!((one.requests(), two.requests()), (5, 5));
    assert_eq!((one.connections(), two.connections()), (1, 1), "connections to origins are kept");
    client.send(connect(two.address())).unwrap();
    let head = read_until(&mut client.stream(), "\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(client.exchange("GET /head HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().status, 200);
    assert_eq!((one.requests(), two.requests()), (5, 6));
}

#[test]
fn pipelined_requests_for_several_origins_are_answered_in_order() {
    let origins = [Origin::start().unwrap(), Origin::start().unwrap(), Origin::start().unwrap()];
    let (_running, proxy) = proxy();
    let mut client = Connection::open(proxy).unwrap();
    let all: String = (0..30).map(|number| get(origins[number % 3].address(), &format!("/head?{number}"))).collect();
    client.send(all).unwrap();
    for number in 0..30 {
        let head = client.response(false).unwrap().text();
        assert!(head.starts_with(&format!("GET /head?{number} ")), "{head}");
        let host = format!("\r\nhost: {}\r\n", origins[number % 3].address());
        assert!(head.to_ascii_lowercase().contains(&host), "{head}");
    }
}

#[test]
fn a_web_socket_is_opened_by_an_upgrade() {
    let echo = WebSocketEcho::start_at(&Place::Loopback, 0).unwrap();
    let (_running, proxy) = proxy();
    let mut client = Connection::open(proxy).unwrap();
    let to = echo.addresses()[0];
    // Key and answer of RFC 6455, section 1.3; the masked frame of section 5.7.
    let response = client
        .exchange(format!(
            "GET http://{to}/ HTTP/1.1\r\nHost: {to}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ))
        .unwrap();
    assert_eq!((response.status, response.header("upgrade")), (101, Some("websocket")));
    assert_eq!(response.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(client.take(11).unwrap(), b"\x81\x09welcome 1");
    client.send(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58").unwrap();
    assert_eq!(client.take(7).unwrap(), b"\x81\x05Hello");
}

/// pingora drops them, as RFC 9110, section 6.5.1, allows; squid does so too. They must not turn into something else.
#[test]
fn trailers_are_no_part_of_what_follows() {
    let (origin, thread) = server(|mut stream| {
        let mut heard = Vec::new();
        for number in 0..3 {
            let head = read_until(&mut stream, "\r\n\r\n")?;
            heard.push((head, read_until(&mut stream, "\r\n\r\n")?));
            let body = format!("3\r\n{number}bc\r\n0\r\nX-Sum: 294\r\nContent-Length: 5\r\n\r\n");
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n";
            stream.write_all(format!("{head}{body}").as_bytes())?;
        }
        Ok(heard)
    });
    let (_running, proxy) = proxy();
    let mut client = Connection::open(proxy).unwrap();
    let request = format!(
        "POST http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\nTE: trailers\r\nTrailer: X-Check\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\nX-Check: 532\r\nContent-Length: 5\r\n\r\n"
    );
    for number in 0..3 {
        let response = client.exchange(&request).unwrap();
        assert_eq!((response.status, response.text()), (200, format!("{number}bc")));
        assert_eq!(response.header("content-length"), None);
    }
    for (head, body) in thread.join().unwrap().unwrap() {
        assert!(head.starts_with("POST / HTTP/1.1\r\n") && !head.contains("Content-Length"), "{head}");
        assert!(body.starts_with("5\r\nhello\r\n0\r\n"), "{body}");
    }
}

#[test]
fn bodies_are_relayed_as_they_come() {
    let (origin, thread) = server(|mut stream| {
        read_until(&mut stream, "\r\n\r\n")?;
        // Each side waits for the other's part: a proxy that collects a body first would never get on.
        read_until(&mut stream, "one")?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\neins\r\n")?;
        read_until(&mut stream, "two")?;
        stream.write_all(b"3\r\nzwo\r\n0\r\n\r\n")
    });
    let (_running, proxy) = proxy();
    let mut client = Connection::open(proxy).unwrap();
    client.send(format!("POST http://{origin}/ HTTP/1.1\r\nHost: {origin}\r\nContent-Length: 6\r\n\r\none")).unwrap();
    read_until(&mut client.stream(), "eins").unwrap();
    client.send("two").unwrap();
    read_until(&mut client.stream(), "zwo").unwrap();
    thread.join().unwrap().unwrap();
}

#[test]
fn who_has_said_all_still_hears_the_answer() {
    let (to, thread) = server(|mut stream| {
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard)?;
        stream.write_all(&heard)?;
        stream.write_all(b" was heard")
    });
    let (_running, proxy) = proxy();
    let mut tunnel = tunnel(proxy, to);
    let words = noise(1_000_000);
    tunnel.write_all(&words).unwrap();
    tunnel.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    tunnel.read_to_end(&mut answer).unwrap();
    assert!(answer.strip_suffix(b" was heard") == Some(&words[..]), "{} bytes came back", answer.len());
    thread.join().unwrap().unwrap();
}

#[test]
fn who_has_answered_all_still_listens() {
    let (to, thread) = server(|mut stream| {
        stream.write_all(b"all that I say")?;
        stream.shutdown(Shutdown::Write)?;
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard)?;
        Ok(heard)
    });
    let (_running, proxy) = proxy();
    let mut tunnel = tunnel(proxy, to);
    let mut answer = String::new();
    tunnel.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "all that I say");
    let words = noise(1_000_000);
    tunnel.write_all(&words).unwrap();
    tunnel.shutdown(Shutdown::Write).unwrap();
    assert!(thread.join().unwrap().unwrap() == words);
}

#[test]
fn bytes_behind_connect_belong_to_the_tunnel() {
    let (to, thread) = server(|mut stream| {
        stream.write_all(b"greeting;")?;
        read_until(&mut stream, "early;late;")
    });
    let (_running, proxy) = proxy();
    let mut client = Connection::open(proxy).unwrap();
    client.send(format!("{}early;", connect(to))).unwrap();
    let head = read_until(&mut client.stream(), "\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(client.take(9).unwrap(), b"greeting;");
    client.send("late;").unwrap();
    assert_eq!(thread.join().unwrap().unwrap(), "early;late;");
}

#[test]
fn a_tunnel_to_nobody_is_an_http_error() {
    let (_running, proxy) = proxy();
    let closed = Place::Loopback.reserve(Ipv4Addr::LOCALHOST, 0).unwrap();
    for request in [connect(closed.address()), get(closed.address(), "/")] {
        let mut client = Connection::open(proxy).unwrap();
        assert_eq!(client.exchange(&request).unwrap().status, 502, "{request}");
    }
}

#[test]
fn both_directions_of_a_tunnel_are_whole() {
    let (to, thread) = server(|mut stream| {
        let mut back = stream.try_clone()?;
        let writer = thread::spawn(move || {
            back.write_all(&noise(30_000_000))?;
            back.shutdown(Shutdown::Write)
        });
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard)?;
        writer.join().unwrap()?;
        Ok(heard)
    });
    let (_running, proxy) = proxy();
    let mut tunnel = tunnel(proxy, to);
    let mut upward = tunnel.try_clone().unwrap();
    let writer = thread::spawn(move || {
        upward.write_all(&noise(20_000_000))?;
        upward.shutdown(Shutdown::Write)
    });
    let mut heard = Vec::new();
    tunnel.read_to_end(&mut heard).unwrap();
    writer.join().unwrap().unwrap();
    assert!(heard == noise(30_000_000), "{} bytes came down", heard.len());
    let up = thread.join().unwrap().unwrap();
    assert!(up == noise(20_000_000), "{} bytes went up", up.len());
}

#[test]
fn a_listener_that_reads_nothing_stops_the_sender() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (to, thread) = server(move |mut stream| {
        let _ = wait.recv();
        io::copy(&mut stream, &mut io::sink())
    });
    let (_running, proxy) = proxy();
    let mut tunnel = tunnel(proxy, to);
    tunnel.set_nonblocking(true).unwrap();
    let piece = noise(64 * 1024);
    let (mut sent, mut progress) = (0_u64, Instant::now());
    while progress.elapsed() < Duration::from_secs(1) {
        match tunnel.write(&piece) {
            Ok(written) => (sent, progress) = (sent + written as u64, Instant::now()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(5)),
            Err(error) => panic!("{error}"),
        }
        // Four socket buffers of the system (tcp_wmem, tcp_rmem: 6 MiB at most) and what the proxy holds.
        assert!(sent < 64 << 20, "{sent} bytes were taken and nobody read them");
    }
    tunnel.set_nonblocking(false).unwrap();
    tunnel.shutdown(Shutdown::Write).unwrap();
    go.send(()).unwrap();
    assert_eq!(thread.join().unwrap().unwrap(), sent);
}

#[test]
fn an_end_of_one_side_reaches_the_other() {
    for reset in [false, true] {
        let (to, thread) = server(|mut stream| {
            stream.write_all(b"x")?;
            stream.read(&mut [0])
        });
        let (_running, proxy) = proxy();
        let mut tunnel = tunnel(proxy, to);
        tunnel.read_exact(&mut [0]).unwrap();
        if reset {
            socket2::SockRef::from(&tunnel).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(tunnel);
        let ended = poll(Duration::from_secs(5), || thread.is_finished().then_some(()));
        assert!(ended.is_some(), "the origin still waits for a client that is gone (reset: {reset})");
        let _ = thread.join().unwrap();
    }
}

#[test]
fn doubtful_framing_is_not_forwarded() {
    let origin = Origin::start().unwrap();
    let (_running, proxy) = proxy();
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "Content-Length : 5",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: +5",
        "Content-Length: 5, 6",
    ] {
        let mut client = Connection::open(proxy).unwrap();
        let to = origin.address();
        let request = format!("POST http://{to}/echo HTTP/1.1\r\nHost: {to}\r\n{fields}\r\n\r\n0\r\n\r\n");
        let status = client.exchange(request).unwrap().status;
        assert!([400, 501].contains(&status), "{fields}: {status}");
    }
    assert_eq!(origin.requests(), 0);
}

#[test]
fn a_port_does_not_overflow() {
    let origin = Origin::start().unwrap();
    let (_running, proxy) = proxy();
    let port = u32::from(origin.address().port()) + 65_536;
    for request in [
        format!("CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"),
        format!("GET http://127.0.0.1:{port}/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"),
    ] {
        let mut client = Connection::open(proxy).unwrap();
        assert_eq!(client.exchange(&request).unwrap().status, 400, "{request}");
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn what_is_for_the_proxy_stays_there() {
    let origin = Origin::start().unwrap();
    let (_running, proxy) = proxy();
    let to = origin.address();
    let mut client = Connection::open(proxy).unwrap();
    let request = format!(
        "GET http://{to}/head HTTP/1.1\r\nHost: {to}\r\nProxy-Authorization: Basic c2VjcmV0\r\n\
         Proxy-Connection: keep-alive\r\nConnection: x-mine\r\nX-Mine: 1\r\nAuthorization: Basic b3JpZ2lu\r\n\r\n"
    );
    let head = client.exchange(request).unwrap().text().to_ascii_lowercase();
    assert!(!head.contains("proxy-") && !head.contains("x-mine"), "{head}");
    assert!(head.contains("authorization: basic b3jpz2lu"), "{head}");
}

#[test]
fn a_request_in_origin_form_goes_to_its_host() {
    let origin = Origin::start().unwrap();
    let (_running, proxy) = proxy();
    let mut client = Connection::open(proxy).unwrap();
    let request = format!("GET /head?x HTTP/1.1\r\nHost: {}\r\n\r\n", origin.address());
    let head = client.exchange(request).unwrap().text();
    assert!(head.starts_with("GET /head?x HTTP/1.1\r\n"), "{head}");
}

#[test]
fn ipv6_literals_are_dialled() {
    let origin = Origin::start().unwrap();
    let (running, _) = proxy();
    let to = origin.addresses()[1];
    for proxy in running.addresses() {
        let mut client = Connection::open(*proxy).unwrap();
        assert_eq!(client.exchange(get(to, "/")).unwrap().status, 200);
        let mut tunnel = Connection::over(tunnel(*proxy, to)).unwrap();
        let response = tunnel.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(response.header("x-served-at"), Some("::1"));
    }
}

#[test]
fn nobody_waits_for_a_stalled_neighbour() {
    let origin = Origin::start().unwrap();
    let (_running, proxy) = proxy();
    let mut stalled: Vec<Connection> = (0..200).map(|_| Connection::open(proxy).unwrap()).collect();
    for (number, client) in stalled.iter_mut().enumerate() {
        let to = origin.address();
        let beginning = match number % 4 {
            0 => "GET http://site.exam".to_owned(),
            1 => get(to, "/hang"),
            2 => format!("POST http://{to}/echo HTTP/1.1\r\nHost: {to}\r\nContent-Length: 10\r\n\r\nx"),
            // A large answer that is not read.
            _ => get(to, "/big"),
        };
        client.send(beginning).unwrap();
    }
    for _ in 0..20 {
        let since = Instant::now();
        let mut client = Connection::open(proxy).unwrap();
        assert_eq!(client.exchange(get(origin.address(), "/")).unwrap().status, 200);
        assert!(since.elapsed() < Duration::from_secs(3), "it took {:?}", since.elapsed());
    }
}

#[test]
fn nobody_waits_for_a_slow_name_server() {
    let stage = Stage::new(Through::Lockgate);
    let proxy = Place::from(&stage.network.hosts()[1]);
    let client = Place::from(stage.client());
    let _origin = Origin::start_at(&stage.site(), 80).unwrap();
    // It takes questions, and says nothing.
    let name_server = proxy.enter(|| UdpSocket::bind("127.0.0.1:53")).unwrap().unwrap();
    let address = stage.proxy_addresses()[0];
    let open = || Connection::over(client.connect(address).unwrap()).unwrap();
    let mut waiting: Vec<Connection> = (0..100).map(|_| open()).collect();
    for (number, connection) in waiting.iter_mut().enumerate() {
        connection.send(format!("GET http://unknown{number}.example/ HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
    }
    name_server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    name_server.recv(&mut [0; 512]).expect("somebody asks the name server");
    for host in ["site.example", "www.site.example"] {
        let since = Instant::now();
        let response = open().exchange(format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n")).unwrap();
        assert_eq!(response.status, 200);
        assert!(since.elapsed() < Duration::from_secs(3), "{host} took {:?}", since.elapsed());
    }
    for connection in &mut waiting {
        let status = connection.response(false).unwrap().status;
        assert!([502, 504].contains(&status), "{status}");
    }
}
